"""`outward check`: every error and smell of a configuration at once."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from stat import S_IROTH

import click

from outward import __version__
from outward.cli.common import INVALID, load_configuration, require_config
from outward.cli.options import config_option
from outward.cli.review import review, review_use
from outward.cli.trusting import mention
from outward.cli.when import When
from outward.config.confines import MAY
from outward.config.diagnostics import Finding, Level
from outward.config.discovery import Choice
from outward.config.loaded import Loaded
from outward.config.render import render_json, render_sarif, render_text, summary
from outward.core.policy import Policy, layers
from outward.ops.principals import from_environment

_UNUSED = 30 * 86_400.0  # seconds


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@config_option
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", help="Form of output.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--as", "under", metavar="PATH", help="Judge FILE alone, as one that is confined to the group PATH.")
@click.option("--may", type=click.Choice(MAY), multiple=True, help="With --as: what FILE may hold beside the usual.")
@click.option("--strict", is_flag=True, help="Let warnings count as errors.")
@click.option("--records", type=click.Path(dir_okay=False, path_type=Path), help="Configuration that names the store.")
@click.option("--unused", type=When(), help="Warn of rules not used since then; with --records: 30d.")
def check(
    file: Path | None, *, config: Path | None, form: str, as_json: bool, strict: bool, records: Path | None,
    unused: float | None, under: str | None, may: tuple[str, ...],
) -> None:  # fmt: skip
    """Check a configuration file (`-` reads standard input): every error and smell, each with its place and a cure.

    With --as it judges one file of a team, as CI and admission do: what it may hold, its groups, its tests. With
    --config it lies below that file, whose ceilings and `may` count; other teams' files are left out.

    Exits with 0 when it can be used, and with 3 when it cannot.
    """
    if under is not None:
        loaded = _confined(file, under, may, config)
    elif may:
        raise click.UsageError("--may needs --as")
    else:
        loaded = _load(Choice(file, named=True) if file else require_config(config))
        mention(loaded)
        loaded = replace(loaded, findings=loaded.all_findings, sources=loaded.texts)
    if unused is None and records is not None:
        unused = time.time() - _UNUSED
    if unused is not None and loaded.policy is not None:
        loaded = replace(loaded, findings=(*loaded.findings, *review_use(loaded, loaded.policy, records, unused)))
    if under is None:
        loaded = replace(loaded, findings=(*loaded.findings, *_admin_token()))
    form = "json" if as_json else form
    if form == "json":
        click.echo(render_json(loaded.findings))
    elif form == "sarif":
        click.echo(render_sarif(loaded.findings, __version__))
    else:
        _text(loaded)
    if not loaded.ok or (strict and loaded.findings):
        sys.exit(INVALID)


def _confined(file: Path | None, under: str, may: tuple[str, ...], config: Path | None) -> Loaded:
    """Judge one confined file; findings of others are told only where they keep it from being judged."""
    from outward.config.load import load_confined  # noqa: PLC0415 - the schema takes a while to import
    from outward.search.registry import adapters, governed, vendor_of  # noqa: PLC0415 - goes with it

    if file is None or (may and config):
        raise click.UsageError("--as needs FILE; what it may hold is said by --may, or by the file of --config")
    alone = str(file) == "-"
    path, data = (Path("<stdin>"), sys.stdin.buffer.read()) if alone else (file, None)
    try:
        loaded = load_confined(
            path, under, may, data=data, main=config, vendor_of=vendor_of, adapters=adapters(), governed=governed()
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if loaded.ok:
        named = {str(name) for each in loaded.subtrees for name in each.latest.files}
        found = [each for each in _whole(loaded).all_findings if each.place and each.place.file in named]
        loaded = replace(loaded, findings=tuple(each for each in found if each.ident != "W105"))
    return replace(loaded, sources=loaded.texts)


def _load(choice: Choice) -> Loaded:
    return (
        checked(sys.stdin.buffer.read(), "<stdin>") if str(choice.base) == "-" else _whole(load_configuration(choice))
    )


def checked(text: bytes | str, name: str) -> Loaded:
    """Load a text that lies in no folder, and find in it what `check` finds."""
    from outward.config.load import load_text  # noqa: PLC0415 - the schema takes a while to import
    from outward.search.registry import adapters, governed, vendor_of  # noqa: PLC0415 - goes with it

    return _whole(load_text(text, name, vendor_of=vendor_of, adapters=adapters(), governed=governed()))


def _whole(loaded: Loaded) -> Loaded:
    if loaded.policy is None:
        return loaded
    more = (
        *_secret_files(loaded),
        *_mute(loaded.policy),
        *_ungoverned(loaded.policy),
        *_tables(loaded),
        *review(loaded, loaded.policy),
    )
    return replace(loaded, findings=(*loaded.findings, *more))


def _admin_token() -> Iterator[Finding]:
    """Yield an error where the environment's administrator token is one that `serve` does not start with."""
    try:
        from_environment()
    except (OSError, ValueError) as error:
        yield Finding(Level.ERROR, "E030", f"the admin token cannot be used: {error}", None, 0)


def _mute(policy: Policy) -> Iterator[Finding]:
    """Yield the groups that may search, and whose list holds nothing that a vendor can be sent."""
    searching = [group for group in policy.groups.values() if group.web_search.enabled]
    if not searching:
        return
    from outward.search.explain import mute  # noqa: PLC0415 - loads the public suffix list

    for group in searching:
        if (rule := mute(policy, group)) is not None:
            message = f"web search of `{group.path}` finds nothing: its list names no host that a vendor can be sent"
            cure = f"give `web_search` of `{group.path}` its own `sources`, with `h` beside each `*.h`"
            yield Finding(Level.WARNING, "W122", message, rule.place, len(str(rule.pattern)), cure)


def _tables(loaded: Loaded) -> Iterator[Finding]:
    """Yield what is wrong with the tables that the configuration lays over the shipped ones."""
    folders = loaded.settings.vendor_tables if loaded.settings is not None else ()
    if not folders:
        return
    from outward.search.tables import TableError, overlaid  # noqa: PLC0415 - no other verb reads them all

    try:
        overlaid(folders)
    except TableError as error:
        yield Finding(Level.ERROR, "E032", f"`vendor_tables`: {error}", None, 1, "mend the table, or leave it out")


def _secret_files(loaded: Loaded) -> Iterator[Finding]:
    """Yield the files of secrets that every user of this machine can read."""
    for entry in loaded.settings.secrets if loaded.settings is not None else ():
        try:
            readable = entry.file is not None and entry.file.stat().st_mode & S_IROTH
        except OSError:  # it may be on another machine
            continue
        if readable:
            message = f"every user of this machine can read {entry.file}, which holds the secret `{entry.name}`"
            yield Finding(Level.WARNING, "W137", message, entry.place, len(entry.name), f"chmod 600 {entry.file}")


def _ungoverned(policy: Policy) -> Iterator[Finding]:
    """Yield the allowed hosts that are known to search and that nothing governs."""
    from outward.search.ungoverned import allowed  # noqa: PLC0415 - no other verb needs the list

    for rule, host, what in allowed(policy):
        message = f"{host} can search the web, or fronts models that do, and nothing here governs it ({what})"
        cure = f"leave it out, or say whose format it speaks: `vendors: {{{host}: openai}}`"
        yield Finding(Level.WARNING, "W128", message, rule.place, len(str(rule.pattern)), cure)


def _text(loaded: Loaded) -> None:
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if loaded.findings:
        click.echo(render_text(loaded.findings, loaded.sources, color=color) + "\n", color=color)
    policy = loaded.policy
    told = summary(loaded.findings)
    if policy is not None:
        rules = sum(len(group.allow.all) + len(group.deny.all) for group in layers(policy.groups.values()))
        told += f"; {_count(len(policy.groups), 'group')}, {_count(rules, 'rule')}, generation {policy.generation}"
    click.echo(told)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

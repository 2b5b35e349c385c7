"""`outward suggest`: the smallest change of the policy that would have allowed what was blocked."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from outward.cli.common import load_or_exit, load_starter, records_of
from outward.cli.inside import refuse_inside
from outward.cli.options import config_option
from outward.cli.suggestions import ProposalText, as_diff, as_json, as_text, as_yaml
from outward.cli.traffic import Groups, read_log
from outward.cli.when import When
from outward.cli.write import Draft, Drafts, store
from outward.config import known
from outward.config.discovery import Choice, choose, project
from outward.config.loaded import Loaded
from outward.config.machine import discoveries
from outward.config.places import FILE_NAME, run_state
from outward.config.settings import Settings
from outward.config.suffixes import registrable
from outward.core.evidence import Demand, Evidence
from outward.core.names import MalformedHostError, canonical_host
from outward.core.openings import Met, open_addresses
from outward.core.policy import Policy, within
from outward.core.proposal import Known, propose
from outward.core.reasons import Reason
from outward.core.widen import offered, sets_for, taken, wildcards_for
from outward.records.database import StoreAwayError, open_database
from outward.records.events.demands import REASONS, demands
from outward.records.events.traffic import FORMATS, recorded
from outward.search.registry import governed

_OFFERS = 3


IN_FORCE = Path("-")


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@config_option
@click.option("--group", "-g", help="Only this group and those below it.")
@click.option("--since", type=When(), default="7d", show_default=True, help="From this time on: 2h, 7d, or RFC 3339.")
@click.option(
    "--from",
    "form",
    type=click.Choice(list(FORMATS)),
    help="Read FILE, a log of this format, instead of the store; `-` reads standard input.",
)
@click.option("--include", multiple=True, metavar="HOST", help="Propose this host although it would be left out.")
@click.option("--wide", is_flag=True, help="Write the sets and wildcards that are offered, although they allow more.")
@click.option("--format", "kind", type=click.Choice(["text", "yaml", "diff", "json"]), default="text", help="Form.")
@click.option("--json", "is_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--write",
    metavar="[FILE]",
    is_flag=False,
    flag_value=str(IN_FORCE),
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add the lines to this policy file, or to the one in force.",
)
def suggest(
    file: Path | None, *, config: Path | None, group: str | None, since: float, form: str | None,
    include: tuple[str, ...], wide: bool, kind: str, is_json: bool, write: Path | None,
) -> None:  # fmt: skip
    """Propose the smallest change of the policy that would have allowed what was blocked, or reported.

    Exact hosts, and the methods and paths that were asked for where they were seen; never what a deny rule refuses.
    Hosts through which anybody can send data, and look-alikes, are left out unless they are named with --include.
    """
    if (form is None) != (file is None):
        raise click.UsageError("give --from FORMAT and FILE together, or neither for the store")
    if write is not None:
        refuse_inside("suggest --write")
    is_json = is_json or kind == "json"
    found = _policy(config, as_json=is_json)
    named = frozenset(host_named(each) for each in include)
    asked = _logged(file, form, found, group) if file and form else _stored(found, config, since, group, is_json)
    told = told_of(found, asked, named, wide=wide)
    if write is not None:
        write = (found.choice.file or Path(FILE_NAME)) if write == IN_FORCE else write
        click.echo(store(write, told.proposed.proposals, found.drafts, found.loaded, found.choice))
    elif kind == "diff":
        click.echo(as_diff(found.drafts.changed(told.proposed.proposals)), nl=False)
    else:
        click.echo(as_json(told) if is_json else as_yaml(told) if kind == "yaml" else as_text(told), nl=is_json)


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """A configuration, and its files that hold groups."""

    choice: Choice
    loaded: Loaded
    policy: Policy
    drafts: Drafts


def _policy(config: Path | None, *, as_json: bool) -> PolicyFiles:
    choice = choose(config, os.environ)
    loaded = load_starter() if choice.file is None else load_or_exit(choice, as_json=as_json)
    if loaded.policy is None:
        raise click.ClickException("the configuration has no policy")
    return PolicyFiles(choice, loaded, loaded.policy, Drafts(drafts_of(loaded, choice)))


def drafts_of(loaded: Loaded, choice: Choice) -> Iterator[Draft]:
    """Yield the files that hold groups, those of the working tree first."""
    folder = choice.found.folder if choice.found else None
    texts = loaded.texts
    paths = [path for path in loaded.files if str(path) in texts]
    paths.sort(key=lambda path: folder is None or not path.resolve().is_relative_to(folder))
    yield from (Draft(path, texts[str(path)]) for path in paths)


def host_named(text: str) -> str:
    """Return the canonical name of a host that `--include` names; ends the verb where it is none."""
    try:
        return canonical_host(f"[{text}]" if text.count(":") > 1 and "[" not in text else text).name
    except MalformedHostError as error:
        raise click.UsageError(f"--include {text}: {error}") from error


def told_of(
    found: PolicyFiles, asked: Iterable[Demand], include: frozenset[str], *, wide: bool = False, met: Met | None = None
) -> ProposalText:
    """Return what is proposed.

    Args:
        found: the configuration.
        asked: what was blocked.
        include: canonical names of hosts to propose although they are left out otherwise.
        wide: take what allows more, too.
        met: the addresses behind names, where they are known.
    """
    beside = _known(found)
    proposed = propose(found.policy, asked, beside, include)
    open_addresses(found.policy, proposed, met or {})
    sets = sets_for(found.policy, proposed, beside)
    list(taken(proposed, [each for each in sets if wide or each.adds == 0]))
    wildcards = wildcards_for(found.policy, proposed, beside)
    if wide:
        list(taken(proposed, wildcards))
    return ProposalText(proposed, offered(proposed, [*wildcards, *sets], _OFFERS), found.drafts, found.policy)


def _known(found: PolicyFiles) -> Known:
    settings = found.loaded.settings or Settings()
    own = (*governed(), *settings.vendors, *(server.host for server in settings.mcp))
    today = datetime.now(UTC).date()
    shared = found.loaded.sources  # the sets of a confined file are for itself alone
    texts = [draft.text for draft in found.drafts.all if str(draft.path) in shared]
    return Known(
        sets=known.named(texts, discoveries(os.environ), today),
        exits=known.exits(),
        writable=known.writable(),
        telemetry=known.telemetry(),
        governed=own,
        registrable=registrable,
        amendable=found.drafts.amendable,
    )


def _stored(
    found: PolicyFiles, config: Path | None, since: float, group: str | None, as_json: bool
) -> tuple[Demand, ...]:
    settings = found.loaded.settings or Settings()
    of_run = config is None
    if of_run:  # then what `outward run` recorded, of the commands in this folder
        settings, _ = records_of(None, as_json=as_json, group=group)
    if found.choice.file is None and run_state(os.environ) is None:
        raise click.UsageError("no records: give --config, or HOME for those of `outward run`")
    try:
        database = open_database(settings.records_url, settings.state, read_only=True)
        try:
            return tuple(demands(database, since, group, project(os.environ) if of_run else None))
        finally:
            database.close()
    except StoreAwayError as error:
        raise click.ClickException(f"the records cannot be read: {error}") from error


def _logged(file: Path, form: str, found: PolicyFiles, group: str | None) -> Iterator[Demand]:
    facts, _ = read_log(file, form)
    foreign = Groups(found.policy, group)

    def group_of(path: str | None) -> str | None:
        """Return the recorded group; our own log names none for strangers, and another program's for everybody."""
        return foreign(None) if path is None and form != "jsonl" else path

    traffic, _ = recorded(facts, group_of)
    for each in traffic:
        cured = each.reason is None or each.reason in (*REASONS, Reason.REPORT_ONLY)
        if cured and not each.allowed and within(each.question.group or "", group):
            yield Demand(each.question, Evidence(each.count))

"""What several verbs share: finding, loading and refusing a configuration."""

import os
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from outward.config.discovery import Choice, choose, describe
from outward.config.environment import SETTINGS
from outward.config.loaded import Loaded
from outward.config.places import FILE_NAME, SYSTEM_FILE, own_file, run_state
from outward.config.settings import Settings
from outward.core.policy import Policy
from outward.search.registry import adapters, governed, vendor_of

INVALID = 3  # exit code
WITHOUT = "to go on without it, or to use a file as a whole: --config with a file of your own"


def called() -> str:
    """Return the command that started this, as a person would type it again."""
    return os.environ.get("OUTWARD_AS") or "outward"


def find_config(given: Path | None, *, quiet: bool = False) -> Choice:
    """Return the configuration to use, and say on standard error which it is where that is not obvious.

    Args:
        given: the file named on the command line; it is trusted as a whole.
        quiet: say nothing: standard error is a document of the caller's.
    """
    choice = choose(given, os.environ)
    told = describe(choice)
    if told and not quiet:
        click.echo(f"outward: {told}", err=True)
    return choice


def require_config(given: Path | None) -> Choice:
    """Return the configuration to use; ends with a usage error where there is none."""
    choice = find_config(given)
    if choice.file is None:
        own = own_file(os.environ) or FILE_NAME
        raise click.UsageError(
            f"no configuration: give --config, or write {FILE_NAME} in this folder, {own} or {SYSTEM_FILE}"
        )
    return choice


def load_configuration(
    choice: Choice, *, hold: bool = True, before: Loaded | None = None, restless: Collection[str] = ()
) -> Loaded:
    """Load a configuration with the shipped registry of governed vendors; whether it is trusted is not asked.

    Args:
        choice: the files.
        hold: whether a failing test of the file is an error.
        before: what is in force; see `load`.
        restless: names of confined files; see `load`.
    """
    from outward.config.load import load  # noqa: PLC0415 - `run` without a file needs no loader

    return load(
        choice.base,
        found=choice.found,
        vendor_of=vendor_of,
        adapters=adapters(),
        governed=governed(),
        hold=hold,
        before=before,
        restless=restless,
    )


def load_or_exit(choice: Choice | Path, *, as_json: bool = False, hold: bool = True) -> Loaded:
    """Load a configuration; on errors print every finding and exit with 3.

    Args:
        choice: the files, or one that is named.
        as_json: how to print findings.
        hold: as for `load_configuration`.
    """
    choice = Choice(choice, named=True) if isinstance(choice, Path) else choice
    loaded = load_configuration(choice, hold=hold)
    if not loaded.ok:
        if choice.found is not None:
            click.echo(f"outward: {choice.found.path} came with this folder; {WITHOUT}", err=True)
        refuse(loaded, as_json=as_json)
    for told in loaded.kept_back:
        click.echo(f"outward: warning: {told}", err=True)
    return loaded


def load_for_operator(choice: Choice, *, as_json: bool, needs_policy: bool = False) -> tuple[Settings, Policy | None]:
    """Load a configuration for a verb that needs its settings, whatever became of its policy.

    A proxy goes on with its last good policy while the file has an error: asking it, and taking something back, must go
    on too. Errors in the settings end the verb like `load_or_exit`; others are a line on stderr.
    """
    loaded = load_configuration(choice)
    if loaded.settings is None or (needs_policy and loaded.policy is None):
        refuse(loaded, as_json=as_json)
    if not loaded.ok:
        check = f"outward check {choice.file}" if choice.named else "outward check"  # a name would trust it as a whole
        click.echo(f"outward: warning: the policy does not load; `{check}` says why", err=True)
    return loaded.settings, loaded.policy


def settings_of(given: Path | None, *, as_json: bool, group: str | None = None) -> Settings:
    """Return the settings of a configuration, like `judged_by`."""
    return judged_by(given, as_json=as_json, group=group)[0]


def judged_by(given: Path | None, *, as_json: bool, group: str | None = None) -> tuple[Settings, Policy | None]:
    """Return the settings of a configuration and its policy, where that loads; without a file the defaults of `run`.

    Args:
        given: the file named on the command line.
        as_json: how to print findings that end the verb.
        group: a path whose records are asked for. One that is not in the policy is a line on stderr and no error:
            records outlive their group.
    """
    choice = find_config(given)
    if choice.file is None:
        return Settings(), None
    settings, policy = load_for_operator(choice, as_json=as_json)
    known = sorted(policy.groups) if policy else []
    if group is not None and known and not any(f"{each}/".startswith(f"{group}/") for each in known):
        listed = ", ".join(known)
        click.echo(f"outward: warning: the configuration has no group `{group}`; there are {listed}", err=True)
    return settings, policy


def records_of(
    given: Path | None, *, as_json: bool, group: str | None = None, administers: bool = False
) -> tuple[Settings, Policy | None]:
    """Return the settings with which to read records, those of `outward run` where no file is named; and the policy.

    Args:
        given: the file named on the command line.
        as_json: how to print findings that end the verb.
        group: as for `judged_by`.
        administers: whether the verb is about a proxy first: then the user's own or the machine's file counts as named.
    """
    settings, policy = judged_by(given, as_json=as_json, group=group)
    state = run_state(os.environ)
    base = choose(given, os.environ).base
    if given is not None or state is None or (administers and base is not None):
        return settings, policy
    if base is not None:
        click.echo("outward: this is of `outward run`; --config FILE shows what is of a proxy with that file", err=True)
    return replace(settings, state=state), policy


def load_starter() -> Loaded:
    """Load the policy of `outward run` without a configuration."""
    from outward.config.starter import starter_policy  # noqa: PLC0415 - asks the machine's package managers

    loaded = starter_policy(vendor_of=vendor_of)
    if not loaded.ok:
        refuse(loaded)
    return replace(loaded, settings=_set_by_variables()) if any(map(os.environ.get, SETTINGS)) else loaded


def _set_by_variables() -> Settings:
    """Return the settings that `OUTWARD_…` variables make where there is no file."""
    from outward.config.load import load  # noqa: PLC0415 - as above

    alone = load(None, vendor_of=vendor_of, adapters=adapters())
    if alone.settings is None:
        refuse(alone)
    return alone.settings


def refuse(loaded: Loaded, *, as_json: bool = False) -> NoReturn:
    """Print the errors of a configuration that cannot be used, to stderr or as JSON to stdout, and exit with 3."""
    from outward.config.diagnostics import Level  # noqa: PLC0415 - as below
    from outward.config.render import render_json, render_text  # noqa: PLC0415 - only where there is something to say

    errors = tuple(each for each in loaded.findings if each.level is Level.ERROR)
    if as_json:
        click.echo(render_json(errors))
    else:
        click.echo(render_text(errors, loaded.sources), err=True)
    sys.exit(INVALID)

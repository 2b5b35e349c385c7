"""What several verbs share: finding, loading and refusing a configuration."""

import sys
from pathlib import Path
from typing import NoReturn

import click

from outward.config.load import Loaded, load
from outward.config.settings import Settings
from outward.core.policy import Policy
from outward.search.registry import adapters, governed, vendor_of

DEFAULT_FILES = (Path("outward.yaml"), Path("/etc/outward/outward.yaml"))
INVALID = 3  # exit code


def find_config(given: Path | None) -> Path | None:
    """Return the configuration file to use: the given one, else the first default that exists, else None."""
    return given or next((path for path in DEFAULT_FILES if path.is_file()), None)


def require_config(given: Path | None) -> Path:
    """Return the configuration file to use; ends with a usage error where there is none."""
    path = find_config(given)
    if path is None:
        raise click.UsageError(f"no configuration: give --config, or write {' or '.join(map(str, DEFAULT_FILES))}")
    return path


def load_configuration(path: Path, *, hold: bool = True) -> Loaded:
    """Load a configuration with the shipped registry of governed vendors.

    Args:
        path: the file.
        hold: whether a failing test of the file is an error.
    """
    return load(path, vendor_of=vendor_of, adapters=adapters(), governed=governed(), hold=hold)


def load_or_exit(path: Path, *, as_json: bool = False, hold: bool = True) -> Loaded:
    """Load a configuration; on errors print every finding and exit with 3."""
    loaded = load_configuration(path, hold=hold)
    if not loaded.ok:
        refuse(loaded, as_json=as_json)
    return loaded


def load_for_operator(path: Path, *, as_json: bool, needs_policy: bool = False) -> tuple[Settings, Policy | None]:
    """Load a configuration for a verb that needs its settings, whatever became of its policy.

    A proxy goes on with its last good policy while the file has an error: asking it, and taking something back, must go
    on too. Errors in the settings end the verb like `load_or_exit`; others are a line on stderr.
    """
    loaded = load_configuration(path)
    if loaded.settings is None or (needs_policy and loaded.policy is None):
        refuse(loaded, as_json=as_json)
    if not loaded.ok:
        click.echo(f"outward: warning: the policy does not load; `outward check {path}` says why", err=True)
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
    path = find_config(given)
    if path is None:
        return Settings(), None
    settings, policy = load_for_operator(path, as_json=as_json)
    known = sorted(policy.groups) if policy else []
    if group is not None and known and not any(f"{each}/".startswith(f"{group}/") for each in known):
        listed = ", ".join(known)
        click.echo(f"outward: warning: the configuration has no group `{group}`; there are {listed}", err=True)
    return settings, policy


def load_starter() -> Loaded:
    """Load the policy of `outward run` without a configuration."""
    from outward.config.starter import starter_policy  # noqa: PLC0415 - asks the machine's package managers

    loaded = starter_policy(vendor_of=vendor_of)
    if not loaded.ok:
        refuse(loaded)
    return loaded


def refuse(loaded: Loaded, *, as_json: bool = False) -> NoReturn:
    """Print the findings of a configuration that cannot be used, to stderr or as JSON to stdout, and exit with 3."""
    from outward.config.render import render_json, render_text  # noqa: PLC0415 - only where there is something to say

    if as_json:
        click.echo(render_json(loaded.findings))
    else:
        click.echo(render_text(loaded.findings, loaded.sources), err=True)
    sys.exit(INVALID)

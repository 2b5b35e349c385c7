"""What several verbs share: finding, loading and refusing a configuration."""

import sys
from pathlib import Path
from typing import NoReturn

import click

from outward.config.load import Loaded, load
from outward.config.settings import Settings
from outward.search.registry import ADAPTERS, GOVERNED, vendor_of

DEFAULT_FILES = (Path("outward.yaml"), Path("/etc/outward/outward.yaml"))
INVALID = 3  # exit code

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="OUTWARD_CONFIG",
    help="Configuration file; default: ./outward.yaml, then /etc/outward/outward.yaml.",
)


def find_config(given: Path | None) -> Path | None:
    """Return the configuration file to use: the given one, else the first default that exists, else None."""
    return given or next((path for path in DEFAULT_FILES if path.is_file()), None)


def require_config(given: Path | None) -> Path:
    """Return the configuration file to use; ends with a usage error where there is none."""
    path = find_config(given)
    if path is None:
        raise click.UsageError(f"no configuration: give --config, or write {' or '.join(map(str, DEFAULT_FILES))}")
    return path


def load_configuration(path: Path) -> Loaded:
    """Load a configuration with the shipped registry of governed vendors."""
    return load(path, vendor_of=vendor_of, adapters=ADAPTERS, governed=GOVERNED)


def load_or_exit(path: Path) -> Loaded:
    """Load a configuration; on errors print every finding to stderr and exit with 3."""
    loaded = load_configuration(path)
    if not loaded.ok:
        refuse(loaded)
    return loaded


def settings_of(given: Path | None) -> Settings:
    """Return the settings of a configuration; the defaults, which `run` has too, where there is none."""
    path = find_config(given)
    settings = load_or_exit(path).settings if path else Settings()
    if settings is None:
        raise click.ClickException("the configuration has no settings")
    return settings


def load_starter() -> Loaded:
    """Load the policy of `outward run` without a configuration."""
    from outward.config.starter import starter_policy  # noqa: PLC0415 - asks the machine's package managers

    loaded = starter_policy(vendor_of=vendor_of)
    if not loaded.ok:
        refuse(loaded)
    return loaded


def refuse(loaded: Loaded) -> NoReturn:
    """Print the findings of a configuration that cannot be used, and exit with 3."""
    from outward.config.render import render_text  # noqa: PLC0415 - only where there is something to say

    click.echo(render_text(loaded.findings, loaded.sources), err=True)
    sys.exit(INVALID)

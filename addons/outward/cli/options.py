"""Options that several verbs share. Imports nothing heavy: a verb that reads no configuration starts at once."""

from pathlib import Path

import click

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="OUTWARD_CONFIG",
    help="Configuration file, trusted as a whole; default: see `outward trust --help`.",
)

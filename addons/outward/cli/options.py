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

localhost_option = click.option(
    "--localhost",
    metavar="PORT",
    multiple=True,
    type=click.IntRange(1, 65535),
    help="With --jail: open a port of this machine's own localhost.",
)

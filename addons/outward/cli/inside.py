"""Verbs that are for a person, and refuse behind `outward run`: an agent must not approve its own policy.

The mark is a variable of the environment, which a command can drop: without a jail this persuades and holds nobody.
"""

import os

import click

from outward.config.trust import is_inside


def refuse_inside(verb: str) -> None:
    """End the verb behind `outward run`."""
    if is_inside(os.environ):
        raise click.ClickException(f"`outward {verb}` is for a person, in a shell outside `outward run`")

"""Recorded traffic as verbs read it: a log of another program, and the groups that its requests are asked for."""

import sys
from collections import Counter
from pathlib import Path

import click

from outward.cli.private import NoGroupError, choose_group
from outward.core.policy import Policy
from outward.records.events.traffic import FORMATS, Fact, fold


def read_log(file: Path, form: str) -> tuple[Counter[Fact], int]:
    """Return the folded requests of a log, `-` for standard input, and the number of lines not understood."""
    if str(file) == "-":
        return fold(sys.stdin.buffer, FORMATS[form])
    with file.open("rb") as lines:
        return fold(lines, FORMATS[form])


class Groups:
    """Finds the group to ask for: the recorded one, or the chosen one for a log that knows no groups of ours."""

    def __init__(self, policy: Policy, chosen: str | None) -> None:
        self._policy, self._chosen = policy, chosen

    def __call__(self, group: str | None) -> str | None:
        """Return the group to ask for."""
        if group is not None and self._known(group):
            return group
        try:
            return choose_group(self._policy, self._chosen)
        except NoGroupError as error:
            raise click.UsageError(str(error)) from error

    def _known(self, group: str) -> bool:
        return any(f"{group}/".startswith(f"{each}/") for each in self._policy.groups)

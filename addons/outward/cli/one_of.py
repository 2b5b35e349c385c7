"""Words of a fixed list on the command line; another word is a usage error that shows the list."""

from collections.abc import Iterable
from typing import Any

import click


class OneOf(click.ParamType[str]):
    """Takes one of some words. Unlike click's own choice it keeps a long list out of `--help`'s synopsis."""

    name = "code"

    def __init__(self, words: Iterable[str]) -> None:
        self._words = tuple(words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a word."""
        if value not in self._words:
            self.fail(f"{value!r} is none of {', '.join(self._words)}", param, ctx)
        return str(value)

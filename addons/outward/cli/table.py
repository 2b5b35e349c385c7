"""Plain tables for people. Every cell is made safe for a terminal; colour only where there is one."""

import os
import sys
from collections.abc import Sequence

from outward.records.text import clean

_MAX_CELL = 256


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with aligned columns, its head dim on a terminal, and a newline at the end."""
    cells = [[clean(cell, _MAX_CELL) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if has_colour():
        lines[0] = f"\x1b[2m{lines[0]}\x1b[0m"
    return "\n".join(lines) + "\n"


def has_colour() -> bool:
    """Tell whether standard output is a terminal that wants colour (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")

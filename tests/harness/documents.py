"""The blocks of the documents."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCES = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a document.

    Attributes:
        where: file and line.
        info: what stands behind the fence: a language, and where else a command is for.
    """

    where: str
    info: str
    text: str


def blocks() -> Iterator[Block]:
    """Yield every block of every document."""
    for path in DOCUMENTS:
        text = path.read_text()
        for found in FENCES.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield Block(f"{path.relative_to(ROOT)}:{line}", found[2], found[3])

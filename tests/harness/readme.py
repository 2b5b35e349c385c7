"""The generated parts of the README: `python tests/harness/readme.py` writes them anew, a test says when to."""

import re
from pathlib import Path

from outward.core.reasons import MEANINGS

README = Path(__file__).parents[2] / "README.md"
_PART = re.compile(r"(<!-- reasons -->\n).*?(<!-- /reasons -->)", re.DOTALL)


def reasons_table() -> str:
    """Return the table of reasons, as the code has it."""
    rows = (
        f"| `{reason}` | {'' if meaning.status == 200 else meaning.status} | {meaning.title} | {meaning.cure} |\n"
        for reason, meaning in MEANINGS.items()
    )
    return "| reason | status | what | what to do |\n|---|---|---|---|\n" + "".join(rows)


def current(text: str) -> str:
    """Return the README with its generated parts written anew."""
    return _PART.sub(lambda match: match[1] + reasons_table() + match[2], text)


if __name__ == "__main__":
    README.write_text(current(README.read_text()))

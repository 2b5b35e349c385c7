"""The templates of the admin page with the filters that they use; they escape everything."""

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from outward.core.reasons import MEANINGS, Reason
from outward.core.suggest import cure

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def templates() -> "Environment":
    """Return the templates, made when a page is first asked for."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - not before a page is asked for

    found = Environment(
        loader=PackageLoader("outward.ops"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.tests["unreached"] = lambda code: MEANINGS[Reason(code)].unreached
    found.filters.update(
        words=lambda code: str(code).replace("_", " ").capitalize(),
        ago=_ago,
        url_path=lambda path: quote(str(path)),
        title=lambda code: MEANINGS[Reason(code)].title,
        cure=_cure,
        with_cursor=lambda text, cursor: f"{text}&{urlencode({'cursor': cursor})}".lstrip("&"),
    )
    return found


def _cure(code: str, row: dict[str, Any]) -> str:
    return cure(Reason(code), row["host"], row["address"], row["stage"], line=row["suggestion"] is not None)


def _ago(text: str) -> str:
    """Return how long ago a time was, roughly."""
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now" if seconds < 5 else f"{int(seconds)} s ago"

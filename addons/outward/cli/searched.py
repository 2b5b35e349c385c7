"""What `outward run` says at its end of the web searches that it carried: how many, for what, and what they found."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from outward.records.text import clean

if TYPE_CHECKING:
    from outward.search.receipts import Receipt

_QUERIES, _HOSTS = 10, 8  # that are named
_LONGEST = 100  # characters of a query
_ENDLESS = 100_000


class Searched:
    """Adds up receipts."""

    def __init__(self) -> None:
        self._all: Receipt | None = None

    @property
    def _receipt(self) -> "Receipt":
        from outward.search.receipts import Receipt  # noqa: PLC0415 - most commands search nothing

        return self._all or Receipt(None, "")

    def add(self, receipt: Mapping[str, Any]) -> None:
        """Take the receipt of one request."""
        self._all = self._receipt.merged(self._receipt.from_json(receipt))

    def as_json(self) -> dict[str, object]:
        """Return all of them as one, without whose they are."""
        return {name: value for name, value in self._receipt.as_json().items() if name not in {"conversation", "group"}}

    def text(self, columns: int | None = None) -> Iterator[str]:
        """Yield the lines for people; none where nothing was searched.

        Args:
            columns: of the terminal; None breaks no line.
        """
        found = self._all
        if found is None or not (found.searches or found.queries or found.sources):
            return
        times = "once" if found.searches == 1 else f"{found.searches} times"
        yield f"outward: searched the web {times}{' or more' if found.incomplete else ''}"
        queries = list(dict.fromkeys(found.queries))
        for query in queries[:_QUERIES]:
            yield f"  {clean(query, _LONGEST)}"
        if len(queries) > _QUERIES:
            yield f"  and {len(queries) - _QUERIES} more"
        hosts = list(
            dict.fromkeys(urlsplit(each.url).hostname or each.url for each in (*found.sources, *found.citations))
        )
        if hosts:
            more = f" and {len(hosts) - _HOSTS} more" if len(hosts) > _HOSTS else ""
            told = f"sources: {', '.join(clean(host, 128) for host in hosts[:_HOSTS])}{more}"
            yield from textwrap.wrap(told, columns or _ENDLESS, initial_indent="  ", subsequent_indent="    ")

"""The blocked log as CSV and as JSON lines, page by page, for spreadsheets and scripts."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import orjson

from outward.records.events import Record

FIELDS = (
    *("time", "id", "reason", "stage", "group", "client", "conversation", "method", "scheme", "host", "port", "path"),
    *("status", "user_agent", "generation"),
)
MOST = 100_000  # rows of one export
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

type Fetch = Callable[[Record | None], Any]
"""Awaitable page of records after a record; empty at the end."""


def as_csv(records: Iterable[Record], *, head: bool) -> bytes:
    """Return records as CSV (RFC 4180)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if head:
        writer.writerow(FIELDS)
    writer.writerows([safe_cell(record[name]) for name in FIELDS] for record in records)
    return text.getvalue().encode("utf-8", "backslashreplace")


def safe_cell(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula: a client chose the host, the path and the user agent."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def as_lines(records: Iterable[Record], *, head: bool) -> bytes:
    """Return records as JSON lines."""
    del head
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


async def stream(fetch: Fetch, render: Callable[..., bytes]) -> AsyncIterator[bytes]:
    """Yield every page, rendered, until there is none or the bound is reached."""
    last: Record | None = None
    count = 0
    while count < MOST:
        rows: list[Record] = await fetch(last)
        yield render(rows, head=count == 0)
        if not rows:
            return
        last, count = rows[-1], count + len(rows)

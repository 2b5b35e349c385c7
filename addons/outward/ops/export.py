"""The blocked log as CSV and as JSON lines, page by page, for spreadsheets and scripts: whole, however long it is."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import orjson

from outward.records.events.values import Record
from outward.threads import Threads

FIELDS = (
    *("time", "id", "reason", "stage", "group", "client", "conversation", "method", "scheme", "host", "port", "path"),
    *("status", "user_agent", "generation", "instance", "client_name", "subject", "redirected_from"),
)
_FIRST, _MOST = 50, 500  # rows of a page: the first one, and at most
_BYTES = 128 << 10  # of a page, about
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

type Fetch = Callable[[int, Record | None, bool], tuple[Record | None, bytes]]
"""Reads a number of rows after one, and renders them, with a heading or without: the last one and the text.

Called in a thread. The last one is None at the end.
"""


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


async def stream(fetch: Fetch, threads: Threads, allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield every row, rendered, in pages of about the same bytes, until there is none.

    Args:
        fetch: reads and renders a page.
        threads: in which it does.
        allowed: tells whether the reader may still read; asked before each page.
    """
    last: Record | None = None
    rows, head = _FIRST, True
    while allowed():
        last, page = await threads.run(fetch, rows, last, head)
        yield page
        if last is None:
            return
        rows, head = max(1, min(_MOST, rows * _BYTES // max(1, len(page)))), False
    raise PermissionError("the token was taken back")

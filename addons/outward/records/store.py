"""The store of events: writing batches and retention. Reading is in `query`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from outward.records.database import Database
from outward.records.events import Record

COLUMNS = (
    *("id", "time_ms", "verdict", "reason", "stage", "mode", "would_deny", "group_path", "client", "method", "scheme"),
    *("host", "port", "path", "sni", "ech", "address", "lane", "rule_file", "rule_line", "rule_pattern", "generation"),
    *("conversation", "user_agent", "duration_ms", "bytes_up", "bytes_down", "status", "trace_id"),
)

# A replay may repeat what was written before a crash; an id is written once.
_INSERT = (
    f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - constants
    " ON CONFLICT DO NOTHING"
)
_PRUNE_OLDER = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id < ? ORDER BY id LIMIT ?) RETURNING 1"
_PRUNE_OLDEST = "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT ?) RETURNING 1"


def write(database: Database, records: Sequence[Record]) -> None:
    """Write records inside the caller's transaction; ids that are there already are skipped."""
    database.insert(_INSERT, [row_of(record) for record in records])


def prune(database: Database, before: float, batch: int = 1000) -> int:
    """Delete at most `batch` events from before a Unix time and return how many; ids sort by time."""
    with database.transaction():
        return len(database.execute(_PRUNE_OLDER, (f"{int(before * 1000):012x}", batch)))


def prune_oldest(database: Database, batch: int = 1000) -> int:
    """Delete the oldest events, for a store that has grown to its bound, and return how many."""
    with database.transaction():
        return len(database.execute(_PRUNE_OLDEST, (batch,)))


def row_of(record: Record) -> tuple[Any, ...]:
    """Return the columns of a record."""
    get = record.get
    rule = get("rule") or {}
    return (
        record["id"],
        milliseconds(record["time"]),
        *(get("verdict"), get("reason"), get("stage"), get("mode"), get("would_deny"), get("group"), get("client")),
        *(get("method"), get("scheme"), get("host"), get("port"), get("path"), get("sni"), get("ech"), get("address")),
        *(get("lane"), rule.get("file"), rule.get("line"), rule.get("pattern"), get("generation")),
        *(get("conversation"), get("user_agent"), get("duration_ms"), get("bytes_up"), get("bytes_down")),
        *(get("status"), get("trace_id")),
    )


def milliseconds(text: str) -> int:
    """Return an RFC 3339 time as Unix milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)

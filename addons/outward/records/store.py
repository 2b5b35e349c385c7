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

_TIME, _VERDICT, _REASON, _GROUP, _HOST, _PORT = (
    COLUMNS.index(name) for name in ("time_ms", "verdict", "reason", "group_path", "host", "port")
)

_ADD_TOTAL = (
    "INSERT INTO blocked_sums AS old (group_path, host, port, reason, count, first_ms, last_ms, last_id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (group_path, host, port, reason) DO UPDATE SET"
    " count = old.count + excluded.count,"
    " first_ms = CASE WHEN excluded.first_ms < old.first_ms THEN excluded.first_ms ELSE old.first_ms END,"
    " last_ms = CASE WHEN excluded.last_ms > old.last_ms THEN excluded.last_ms ELSE old.last_ms END,"
    " last_id = CASE WHEN excluded.last_ms > old.last_ms THEN excluded.last_id ELSE old.last_id END"
)
_PRUNE_OLDER = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id < ? ORDER BY id LIMIT ?) RETURNING 1"
_PRUNE_OLDEST = "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT ?) RETURNING time_ms"
_PRUNE_SUMS = tuple(f"DELETE FROM {table} WHERE last_ms < ?" for table in ("blocked_sums", "blocked_totals"))
_KNOWN = 500  # ids in one question


def write(database: Database, records: Sequence[Record], *, again: bool = False) -> None:
    """Write records inside the caller's transaction.

    Args:
        database: where to.
        records: as made by `events.as_record`.
        again: some may have been written before; those are skipped, and not counted twice.
    """
    if again:
        known = _known(database, [record["id"] for record in records])
        records = [record for record in records if record["id"] not in known]
    rows = [row_of(record) for record in records]
    if rows:
        database.add("events", COLUMNS, rows)  # an id is written once, whatever several proxies do
    totals = _totals(rows)
    if totals:
        database.insert(_ADD_TOTAL, totals)


def prove(database: Database) -> None:
    """Change nothing in a way that must be written, inside the caller's transaction: what cannot be fails."""
    database.execute("UPDATE schema_version SET version = version")


def _known(database: Database, idents: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for first in range(0, len(idents), _KNOWN):
        some = idents[first : first + _KNOWN]
        marks = ", ".join("?" * len(some))
        found.update(row[0] for row in database.execute(f"SELECT id FROM events WHERE id IN ({marks})", some))
    return found


def _totals(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Add up the denials of a batch; sorted, so that several writers take their locks in one order."""
    totals: dict[tuple[str, str, int, str], list[Any]] = {}
    for row in rows:
        if row[_VERDICT] != "deny":
            continue
        key = (row[_GROUP] or "", row[_HOST] or "", row[_PORT] or 0, row[_REASON])
        time_ms, ident = row[_TIME], row[0]
        total = totals.setdefault(key, [0, time_ms, time_ms, ident])
        total[0] += 1
        total[1] = min(total[1], time_ms)
        if time_ms >= total[2]:
            total[2], total[3] = time_ms, ident
    return [(*key, *totals[key]) for key in sorted(totals)]


def prune(database: Database, before: float, batch: int = 1000) -> int:
    """Delete at most `batch` events from before a Unix time and return how many; ids sort by time."""
    with database.transaction():
        gone = len(database.execute(_PRUNE_OLDER, (f"{int(before * 1000):012x}", batch)))
        if gone < batch:
            _prune_sums(database, round(before * 1000))
        return gone


def prune_oldest(database: Database, batch: int = 1000) -> int:
    """Delete the oldest events, for a store that has grown to its bound, and return how many."""
    with database.transaction():
        gone = database.execute(_PRUNE_OLDEST, (batch,))
        if gone:
            _prune_sums(database, max(row[0] for row in gone))
        return len(gone)


def _prune_sums(database: Database, before_ms: int) -> None:
    for statement in _PRUNE_SUMS:
        database.execute(statement, (before_ms,))


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

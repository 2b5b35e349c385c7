"""The store of events: writing batches. Reading is in `query`, pruning in `pruning`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from outward.records.database import Database
from outward.records.events.rows import COLUMNS, Row, row_of
from outward.records.events.templates import columns_of
from outward.records.events.values import Event, Record

BLOCKED, PASSED = "blocked_sums", "passed_sums"
ALLOWED = "rule"  # in the place of a reason
HOUR = 3_600_000  # milliseconds

_TIME, _VERDICT, _REASON, _GROUP, _HOST, _PORT, _COUNT, _LAST, _SIZE, _WOULD_DENY, _WOULD_REASON = (
    COLUMNS.index(name)
    for name in (
        *("time_ms", "verdict", "reason", "group_path", "host", "port", "count", "last_ms", "size"),
        *("would_deny", "would_reason"),
    )
)

_ADD_TOTAL = (
    "INSERT INTO {} AS old (group_path, host, port, reason, count, first_ms, last_ms, last_id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (group_path, host, port, reason) DO UPDATE SET"
    " count = old.count + excluded.count,"
    " first_ms = CASE WHEN excluded.first_ms < old.first_ms THEN excluded.first_ms ELSE old.first_ms END,"
    " last_ms = CASE WHEN excluded.last_ms > old.last_ms THEN excluded.last_ms ELSE old.last_ms END,"
    " last_id = CASE WHEN excluded.last_ms > old.last_ms THEN excluded.last_id ELSE old.last_id END"
)
_ADD_SIZE = (
    "INSERT INTO event_sizes AS old (group_path, bytes) VALUES (?, ?)"
    " ON CONFLICT (group_path) DO UPDATE SET bytes = old.bytes + excluded.bytes"
)
_ADD_HOUR = (
    "INSERT INTO attempt_hours AS old (outcome, hour_ms, group_path, count) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (outcome, hour_ms, group_path) DO UPDATE SET count = old.count + excluded.count"
)
_GROW = "UPDATE events SET count = ?, last_ms = ? WHERE id = ? AND count < ?"
_KNOWN = 500  # ids in one question


def write(database: Database, records: Sequence[Event | Record], *, again: bool = False) -> None:
    """Write records inside the caller's transaction.

    A record with `added` tells that the row of its id counts that many more attempts. Every attempt is added to the
    summary once, whatever is written twice: of a row that is there, only what its count grows by.

    Args:
        database: where to.
        records: events, or as made by `values.as_record`.
        again: some may have been written before; those are skipped, and not counted twice.
    """
    rows = _merged(records)
    asked = [ident for ident, (_, _, grown) in rows.items() if grown or again]
    known = _counts(database, asked)
    new = [(row, added) for ident, (row, added, _) in rows.items() if ident not in known]
    grown = [
        (row, row[_COUNT] - known[ident])
        for ident, (row, _, _) in rows.items()
        if ident in known and row[_COUNT] > known[ident]
    ]
    if new:
        database.add("events", COLUMNS, [row for row, _ in new])  # an id is written once, whatever several proxies do
    if grown:
        database.insert(_GROW, [(row[_COUNT], row[_LAST], row[0], row[_COUNT]) for row, _ in sorted(grown)])
    counted = [*new, *grown]
    for table, totals in _totals(counted).items():
        database.insert(_ADD_TOTAL.format(table), totals)
    if counted:
        add_hours(database, _hours(counted))
    if new:
        database.insert(_ADD_SIZE, sorted(_sizes(row for row, _ in new).items()))


def _merged(records: Iterable[Event | Record]) -> dict[str, tuple[Row, int, bool]]:
    """Return by id the row as it is to be, what it adds to the summary, and whether it may be there already."""
    rows: dict[str, tuple[Row, int, bool]] = {}
    for record in records:
        row = columns_of(record) if isinstance(record, Event) else row_of(record)
        added, grown = row[_COUNT], False
        if isinstance(record, dict) and "added" in record:
            added, grown = record["added"], True
        if row[0] in rows:
            earlier, before, again = rows[row[0]]
            row = row if row[_COUNT] >= earlier[_COUNT] else earlier
            added, grown = (before + added, again) if grown else (before, again)
        rows[row[0]] = row, added, grown
    return rows


def _sizes(rows: Iterable[Row]) -> dict[str, int]:
    """Return the bytes of rows by group."""
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row[_GROUP] or ""] = sizes.get(row[_GROUP] or "", 0) + row[_SIZE]
    return sizes


def prove(database: Database) -> None:
    """Change nothing in a way that must be written, inside the caller's transaction: what cannot be fails."""
    database.execute("UPDATE schema_version SET version = version")


def add_passed(database: Database, totals: Sequence[Row]) -> None:
    """Add to what the policy allowed: sorted group, host, port, count, first and last time, and last id."""
    database.insert(_ADD_TOTAL.format(PASSED), [(*row[:3], ALLOWED, *row[3:]) for row in totals])


def add_hours(database: Database, hours: Sequence[Row]) -> None:
    """Add to the attempts by hour: sorted outcome, hour, group and count."""
    database.insert(_ADD_HOUR, hours)


def _counts(database: Database, idents: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for first in range(0, len(idents), _KNOWN):
        some = idents[first : first + _KNOWN]
        marks = ", ".join("?" * len(some))
        found.update(database.execute(f"SELECT id, count FROM events WHERE id IN ({marks})", some))
    return found


def _totals(rows: Sequence[tuple[Row, int]]) -> dict[str, list[Row]]:
    """Add up a batch by table; sorted, so that several writers take their locks in one order."""
    totals: dict[str, dict[tuple[str, str, int, str], list[Any]]] = {BLOCKED: {}, PASSED: {}}
    for row, added in rows:
        first_ms, last_ms, ident = row[_TIME], row[_LAST] or row[_TIME], row[0]
        for table, why in _whys(row):
            key = (row[_GROUP] or "", row[_HOST] or "", row[_PORT] or 0, why)
            total = totals[table].setdefault(key, [0, first_ms, last_ms, ident])
            total[0] += added
            total[1] = min(total[1], first_ms)
            if last_ms >= total[2]:
                total[2], total[3] = last_ms, ident
    return {table: [(*key, *lines[key]) for key in sorted(lines)] for table, lines in totals.items() if lines}


def _whys(row: Row) -> Iterator[tuple[str, str]]:
    """Yield what a row counts under: why it was denied, why it would have been, or that a rule allows it.

    What report mode let through, and what then could not be reached, is both.
    """
    if row[_VERDICT] == "deny":
        yield BLOCKED, str(row[_REASON])
    if row[_WOULD_DENY]:
        yield PASSED, str(row[_WOULD_REASON] or row[_REASON])
    elif row[_VERDICT] != "deny":
        yield PASSED, ALLOWED


def _hours(rows: Sequence[tuple[Row, int]]) -> list[Row]:
    """Add up a batch by outcome, hour and group, sorted."""
    hours: dict[tuple[str, int, str], int] = {}
    for row, added in rows:
        outcome = "would_deny" if row[_WOULD_DENY] else row[_VERDICT]
        key = (outcome, (row[_LAST] or row[_TIME]) // HOUR * HOUR, row[_GROUP] or "")
        hours[key] = hours.get(key, 0) + added
    return [(*key, hours[key]) for key in sorted(hours)]

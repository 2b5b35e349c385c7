"""Sums: what was allowed, added up by hour, group, host and port, where `records.keep` is `denials`.

Events are added up in memory for a second. What comes of it is one record with an id, so that a replay is known: it is
written once, whatever is spilled and written again. Collecting is pure: no clock, no lock.
"""

from typing import Any

from outward.core.model import Verdict
from outward.records.database import Database
from outward.records.events import store
from outward.records.events.rows import milliseconds
from outward.records.events.values import MAX_NAME, Event, Record, new_id, rfc3339
from outward.records.text import clean

WINDOW = 1.0  # seconds; what is counted in memory alone is never older
LINES = 5000  # of one group in an hour
_BATCH = 1000  # lines that are merged in one transaction
KNOWN = 86_400.0  # seconds that the id of a record is remembered

_HOUR = store.HOUR / 1000

_TAKE = "INSERT INTO summed (id, time_ms) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id"
_ADD = (
    "INSERT INTO passed_hours AS old (hour_ms, group_path, host, port, count, bytes_up, bytes_down)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hour_ms, group_path, host, port) DO UPDATE SET"
    " count = old.count + excluded.count, bytes_up = old.bytes_up + excluded.bytes_up,"
    " bytes_down = old.bytes_down + excluded.bytes_down"
)

_CROWDED = (
    "SELECT hour_ms, group_path, COUNT(*) FROM passed_hours WHERE host <> '' GROUP BY hour_ms, group_path"
    " HAVING COUNT(*) > ?"
)
_LEAST = (
    "SELECT host, port, count, bytes_up, bytes_down FROM passed_hours"
    " WHERE hour_ms = ? AND group_path = ? AND host <> '' ORDER BY count LIMIT ?"
)
_DROP = "DELETE FROM passed_hours WHERE hour_ms = ? AND group_path = ? AND host = ? AND port = ?"

type _Key = tuple[int, str, str, int]


def summed(event: Event) -> bool:
    """Tell whether an event is only counted: the policy allowed it, and no audit event names its id."""
    return event.verdict is Verdict.ALLOW and not event.would_deny and not event.told


class Sums:
    """What was allowed since it was last looked at. Times are seconds of any one clock that does not go back."""

    def __init__(self) -> None:
        self._lines: dict[_Key, list[Any]] = {}
        self._until = 0.0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, event: Event, now: float) -> bool:
        """Count an event; True if it is the first of a window."""
        time, first = event.time, not self._lines
        key = (int(time // _HOUR), event.group or "", event.host or "", event.port or 0)
        line = self._lines.get(key)
        if line is None:
            self._until = now + WINDOW if first else self._until
            self._lines[key] = [1, time, time, event.id, event.bytes_up or 0, event.bytes_down or 0]
            return first
        line[0] += 1
        line[1] = min(line[1], time)
        if time >= line[2]:
            line[2:4] = time, event.id
        line[4] += event.bytes_up or 0
        line[5] += event.bytes_down or 0
        return False

    def due(self, now: float) -> list[Record]:
        """Return the record of what was counted, once its window has ended."""
        if not self._lines or now < self._until:
            return []
        lines, self._lines = self._lines, {}
        return [
            {
                "sums": [[*_said(key), *_facts(facts)] for key, facts in lines.items()],
                "id": new_id(),
                "time": rfc3339(max(facts[2] for facts in lines.values())),
                "count": sum(facts[0] for facts in lines.values()),
            }
        ]


def _said(key: _Key) -> list[Any]:
    """Return the hour in milliseconds, the group, the host and the port, bounded and safe to show."""
    hour, group, host, port = key
    return [hour * store.HOUR, clean(group, MAX_NAME), clean(host.rpartition("@")[2], MAX_NAME), port]


def _facts(facts: list[Any]) -> list[Any]:
    """Return the count, the first and the last time in milliseconds, the last id, and the bytes up and down."""
    count, first, last, ident, up, down = facts
    return [count, int(first * 1000), int(last * 1000), ident, up, down]


def write(database: Database, record: Record) -> None:
    """Add a record's counts to the totals, inside the caller's transaction; one that is there already is skipped."""
    if not database.execute(_TAKE, (record["id"], milliseconds(record["time"]))):
        return
    lines = record["sums"]
    totals: dict[tuple[str, str, int], list[Any]] = {}
    hours: dict[tuple[int, str], int] = {}
    for hour, group, host, port, count, first, last, ident, _, _ in lines:
        total = totals.setdefault((group, host, port), [0, first, last, ident])
        total[0] += count
        total[1] = min(total[1], first)
        if last >= total[2]:
            total[2:4] = last, ident
        hours[hour, group] = hours.get((hour, group), 0) + count
    store.add_passed(database, [(*key, *facts) for key, facts in sorted(totals.items())])
    store.add_hours(database, [("allow", *key, count) for key, count in sorted(hours.items())])
    database.insert(_ADD, sorted((*line[:5], *line[8:10]) for line in lines))


def merge(database: Database) -> int:
    """Make one line without a host of those that count least, where a group has too many in an hour; return how many.

    Whoever may ask for every name below a domain makes names up.
    """
    merged = 0
    for hour, group, lines in database.execute(_CROWDED, (LINES,)):
        with database.transaction():
            key = (hour, group)
            rows = database.execute(_LEAST, (*key, min(_BATCH, lines - LINES)))
            database.insert(_DROP, [(*key, *row[:2]) for row in rows])
            database.insert(_ADD, [(*key, "", 0, *(sum(each) for each in list(zip(*rows, strict=True))[2:]))])
            merged += len(rows)
    return merged


def prune(database: Database, before: float, now: float) -> None:
    """Delete the hours from before a Unix time, and forget the ids of records from a day before another."""
    with database.transaction():
        database.execute("DELETE FROM passed_hours WHERE hour_ms < ?", (round(before * 1000) - store.HOUR,))
        database.execute("DELETE FROM summed WHERE time_ms < ?", (round((now - KNOWN) * 1000),))

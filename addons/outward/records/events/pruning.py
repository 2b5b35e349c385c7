"""Pruning: what leaves the store when it is too old, or when the store has grown to its bound.

The bound is on what `event_sizes` adds up, which every deletion shrinks: what a file or a table takes on disk follows
later, or never. Strangers are bounded apart and go first. Of groups, the one that takes most gives up its oldest
events, so that no group loses any to another that takes more. Audit events and run-time state do not count, and
receipts have a bound of their own. The summary stays: where it has too many lines of one group, those that were seen
least become one.
"""

from collections.abc import Mapping, Sequence

from outward.records.database import Database
from outward.records.events.store import BLOCKED, HOUR, PASSED

BATCH = 1000  # rows in one transaction
STRANGERS = ""
SUMMARY_LINES = 20_000  # of one group, or of strangers
_OF_STRANGERS = 8  # they may take an eighth of the store at most
_SLACK = 50  # a pass ends a fiftieth below the bound, so that the next one is not needed at once

_LINES = "SELECT group_path, COUNT(*) FROM {} GROUP BY group_path HAVING COUNT(*) > ?"
_SEEN_LEAST = (
    "SELECT host, port, reason, count, first_ms, last_ms, last_id FROM {}"
    " WHERE group_path = ? AND host <> '' ORDER BY count, last_ms LIMIT ?"
)
_MERGE = (
    "INSERT INTO {} AS old (group_path, host, port, reason, count, first_ms, last_ms, last_id)"
    " VALUES (?, '', 0, ?, ?, ?, ?, ?) ON CONFLICT (group_path, host, port, reason) DO UPDATE SET"
    " count = old.count + excluded.count,"
    " first_ms = CASE WHEN excluded.first_ms < old.first_ms THEN excluded.first_ms ELSE old.first_ms END,"
    " last_ms = CASE WHEN excluded.last_ms > old.last_ms THEN excluded.last_ms ELSE old.last_ms END,"
    " last_id = CASE WHEN excluded.last_ms > old.last_ms THEN excluded.last_id ELSE old.last_id END"
)
_DROP_LINES = "DELETE FROM {} WHERE group_path = ? AND host = ? AND port = ? AND reason = ?"


def sizes(database: Database) -> dict[str, int]:
    """Return the bytes of each group's events, and of strangers' under `STRANGERS`."""
    return dict(database.execute("SELECT group_path, bytes FROM event_sizes WHERE bytes > 0"))


def excess(taken: Mapping[str, int], max_bytes: int) -> tuple[str, int] | None:
    """Return whose oldest events are to go, and how many bytes of them; None if all fits.

    Args:
        taken: bytes by group.
        max_bytes: bound of them all.
    """
    total, of_strangers = sum(taken.values()), taken.get(STRANGERS, 0)
    slack = max_bytes // _SLACK
    bound = max_bytes // _OF_STRANGERS
    if of_strangers > bound:
        return STRANGERS, of_strangers - bound + slack // _OF_STRANGERS
    if total <= max_bytes:
        return None
    if of_strangers:
        return STRANGERS, total - max_bytes + slack
    most = max(sorted(taken), key=lambda group: taken[group])
    return most, total - max_bytes + slack


def prune_oldest(database: Database, group: str, size: int) -> int:
    """Delete the oldest events of a group, of at most about a number of bytes, and return how many they were."""
    where, values = ("group_path IS NULL", ()) if group == STRANGERS else ("group_path = ?", (group,))
    with database.transaction():
        rows = database.execute(f"SELECT id, size FROM events WHERE {where} ORDER BY id LIMIT {BATCH}", values)
        chosen, taken = [], 0
        for ident, bytes_ in rows:
            if taken >= size:
                break
            chosen.append(ident)
            taken += bytes_
        gone = _delete(database, chosen)
        if not rows:  # an older program wrote beside this one: nothing is left that the sum could be of
            database.execute("UPDATE event_sizes SET bytes = 0 WHERE group_path = ?", (group,))
    return gone


def prune_older(database: Database, before: float) -> int:
    """Delete at most `BATCH` events from before a Unix time and return how many; ids sort by time."""
    with database.transaction():
        found = f"SELECT id FROM events WHERE id < ? ORDER BY id LIMIT {BATCH}"
        idents = [row[0] for row in database.execute(found, (f"{max(0, int(before * 1000)):012x}",))]
        return _delete(database, idents)


def prune_summary(database: Database, before: float) -> None:
    """Delete the lines of the summary that were last seen before a Unix time."""
    with database.transaction():
        for table in (BLOCKED, PASSED, "blocked_totals"):
            database.execute(f"DELETE FROM {table} WHERE last_ms < ?", (round(before * 1000),))
        for outcome in ("allow", "deny", "would_deny"):  # each a range of the key
            database.execute(
                "DELETE FROM attempt_hours WHERE outcome = ? AND hour_ms < ?", (outcome, round(before * 1000) - HOUR)
            )


def merge_summary(database: Database) -> int:
    """Make one line of those that were seen least, where a group has too many; return how many lines that were."""
    merged = 0
    for table in (BLOCKED, PASSED):
        for group, lines in database.execute(_LINES.format(table), (SUMMARY_LINES,)):
            with database.transaction():
                rows = database.execute(_SEEN_LEAST.format(table), (group, min(BATCH, lines - SUMMARY_LINES)))
                database.insert(_DROP_LINES.format(table), [(group, *row[:3]) for row in rows])
                database.insert(_MERGE.format(table), [(group, *row[2:]) for row in rows])
                merged += len(rows)
    return merged


def _delete(database: Database, idents: Sequence[str]) -> int:
    """Delete events by id, which needs no guess of the database's planner, and take them off the sums."""
    if not idents:
        return 0
    marks = ", ".join("?" * len(idents))
    gone = database.execute(f"DELETE FROM events WHERE id IN ({marks}) RETURNING group_path, size", list(idents))
    freed: dict[str, int] = {}
    for group, size in gone:
        freed[group or STRANGERS] = freed.get(group or STRANGERS, 0) + size
    database.insert(
        "UPDATE event_sizes SET bytes = CASE WHEN bytes > ? THEN bytes - ? ELSE 0 END WHERE group_path = ?",
        [(size, size, group) for group, size in sorted(freed.items())],
    )
    return len(gone)

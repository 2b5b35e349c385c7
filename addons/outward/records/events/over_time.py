"""Attempts over time: how many fell into each of a few equal spans, from the writer's totals by hour or from events."""

from dataclasses import dataclass

from outward.records.database import Database, in_subtrees
from outward.records.events.query import MAX_COUNTED, Filters, newest
from outward.records.events.store import HOUR

MOST = 60  # spans of one series
_MINUTE = 60_000
_STEPS = (_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 15 * _MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR)
_SHORT = 6 * HOUR  # below it, hours say too little


@dataclass(frozen=True, slots=True)
class Series:
    """Counts by time.

    Attributes:
        start: Unix time in milliseconds at which the first span begins.
        step: milliseconds of a span.
        counts: attempts of each span.
        whole: False if only the newest events could be counted, so that the older spans say too little.
        ignored: whether attempts that groups ignore as noise are counted too.
    """

    start: int
    step: int
    counts: tuple[int, ...]
    whole: bool = True
    ignored: bool = False


def over_time(database: Database, filters: Filters, since: float | None, until: float) -> Series:
    """Return how many attempts fell into each span of a time.

    Args:
        database: where the records are.
        filters: which attempts; their own times do not count here.
        since: Unix time in seconds; None means as long ago as records are kept.
        until: Unix time in seconds.
    """
    end = round(until * 1000)
    begin = max(_oldest(database, filters, end), 0 if since is None else round(since * 1000))
    by_hour = filters.allowed or not (_chosen(filters) or end - begin < _SHORT)
    step = _step(end - begin, HOUR if by_hour else _MINUTE)
    start = begin // step * step
    counts = [0] * max(1, -(-(end - start) // step))
    rows, whole = _hours(database, filters, start, end) if by_hour else _events(database, filters, start, end, step)
    for time, count in rows:
        place = (time - start) // step
        if 0 <= place < len(counts):
            counts[place] += int(count)
    return Series(start, step, tuple(counts), whole, by_hour and bool(filters.ignored))


def _chosen(filters: Filters) -> bool:
    """Tell whether the totals by hour cannot answer, which know groups alone."""
    chosen = (filters.host, filters.search, filters.reason, filters.client, filters.subject, filters.conversation)
    return filters.only_ignored or any(value is not None for value in chosen)


def _step(span: int, least: int) -> int:
    days = -(-span // (MOST * 24 * HOUR)) * 24 * HOUR
    return next((step for step in _STEPS if step >= least and span <= (MOST - 1) * step), max(days, 24 * HOUR))


def _outcome(filters: Filters) -> str:
    return "allow" if filters.allowed else "would_deny" if filters.would_deny else "deny"


def _oldest(database: Database, filters: Filters, end: int) -> int:
    rows = database.execute("SELECT MIN(hour_ms) FROM attempt_hours WHERE outcome = ?", (_outcome(filters),))
    return min(end - HOUR, rows[0][0] if rows[0][0] is not None else end)


def _hours(database: Database, filters: Filters, start: int, end: int) -> tuple[list[tuple[int, int]], bool]:
    terms, values = in_subtrees(filters.scope, filters.group)
    where = " AND ".join(terms)
    rows = database.execute(
        f"SELECT hour_ms, SUM(count) FROM attempt_hours WHERE outcome = ? AND hour_ms >= ? AND hour_ms < ? AND {where}"
        " GROUP BY hour_ms",
        (_outcome(filters), start, end, *values),
    )
    return [(time, count) for time, count in rows], True


def _events(
    database: Database, filters: Filters, start: int, end: int, step: int
) -> tuple[list[tuple[int, int]], bool]:
    source, values = newest(filters.between(start / 1000, end / 1000), MAX_COUNTED)
    rows = database.execute(
        f"SELECT last_ms / {step}, SUM(count), COUNT(*) FROM {source} GROUP BY last_ms / {step}", values
    )
    return [(place * step, count) for place, count, _ in rows], sum(row[2] for row in rows) < MAX_COUNTED

"""Reading audit events: pages for lists and a stream for exports. Verification is in `verify`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from outward.records.audit.sealed import unseal
from outward.records.database import Database, in_subtrees
from outward.records.events.values import Record

_PAGE = 1000

type Cursor = tuple[int, str]
"""Time in milliseconds and id of the last row of a page."""


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """Which audit events are wanted; None is any.

    Attributes:
        scope: path of the group that the asker may see, with its descendants.
        group: path of a group, with its descendants.
        target: what was acted on, such as a conversation.
        since, until: Unix times in seconds, from and up to but not including.
    """

    scope: str | None = None
    group: str | None = None
    event_type: str | None = None
    target: str | None = None
    since: float | None = None
    until: float | None = None

    def since_at_least(self, since: float) -> "AuditFilters":
        """Return these filters without what is older."""
        return replace(self, since=max(since, self.since or 0.0))

    def sql(self) -> tuple[str, list[Any]]:
        """Return the condition and its parameters."""
        terms, values = in_subtrees(self.scope, self.group)
        for column, value in (("event_type", self.event_type), ("target", self.target)):
            if value is not None:
                terms.append(f"{column} = ?")
                values.append(value)
        for term, moment in (("time_ms >= ?", self.since), ("time_ms < ?", self.until)):
            if moment is not None:
                terms.append(term)
                values.append(round(moment * 1000))
        return " AND ".join(terms), values


def listed(database: Database, filters: AuditFilters, limit: int, after: Cursor | None = None) -> list[Record]:
    """Return a page of audit events, the newest first, beginning after the cursor."""
    where, values = filters.sql()
    if after is not None:
        where += " AND (time_ms, id) < (?, ?)"
        values += after
    rows = database.execute(
        f"SELECT body, private FROM audit_events WHERE {where} ORDER BY time_ms DESC, id DESC LIMIT ?",
        (*values, limit),
    )
    return [unseal(body, private) for body, private in rows]


def exported(database: Database, since: float | None, until: float | None) -> Iterator[Record]:
    """Yield audit events, the oldest first."""
    where, values = AuditFilters(since=since, until=until).sql()
    last: tuple[Any, ...] = (-1, "")
    while True:
        rows = database.execute(
            f"SELECT time_ms, id, body, private FROM audit_events WHERE {where} AND (time_ms, id) > (?, ?)"
            f" ORDER BY time_ms, id LIMIT {_PAGE}",
            (*values, *last),
        )
        yield from (unseal(body, private) for _, _, body, private in rows)
        if len(rows) < _PAGE:
            return
        last = rows[-1][:2]

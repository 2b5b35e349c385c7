"""Audit folds: what clients cause is audited at a rate; what goes beyond it is summed up, with the exact count.

A row of the audit chain never changes. So the first act of a kind has its row at once, and at the window's end one more
row counts those that repeated it. Pure: no clock, no lock. Receipts go on holding what each search did.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from outward.records.audit.values import AuditEvent
from outward.records.events.values import rfc3339

WINDOW = 10.0  # seconds; what is counted in memory alone is never older
OF_KIND: Mapping[str, int] = {"web_search_blocked": 20, "vendor_sandbox_limited": 20}  # rows of one group in a window
OF_SEARCHES = 100  # rows of one group in a window, where each act is one of its own and none repeats another

_FACTS = ("vendor", "tool_type", "action", "reason")

type _Key = tuple[object, ...]


@dataclass(slots=True)
class _Kind:
    """Acts that are counted together.

    Attributes:
        sample: one of them.
        row: id of the row that the others repeat; None if there is none, and they have little in common.
        count: acts that no row tells of.
        searches: in them.
        alone: one client did them all.
    """

    sample: AuditEvent
    row: str | None = None
    count: int = 0
    searches: int = 0
    alone: bool = True
    first: float = 0.0
    last: float = 0.0

    def add(self, event: AuditEvent) -> None:
        """Count an act."""
        self.first = min(self.first, event.time) if self.count else event.time
        self.last = max(self.last, event.time)
        self.count += 1
        self.alone = self.alone and event.author == self.sample.author
        self.searches += event.details.get("search_count", 0)

    def summary(self) -> AuditEvent:
        """Return the row that tells of them."""
        known, sample = self.row is not None, self.sample
        facts = {name: sample.details.get(name) for name in (*_FACTS, "decision_id")} if known else {}
        return AuditEvent(
            event_type=sample.event_type,
            group=sample.group,
            target=sample.target if known else None,
            author=sample.author if self.alone else "several clients",
            ip_address=sample.ip_address if self.alone else None,
            message=f"{sample.message if known else sample.event_type.replace('_', ' ')}: {self.count} more",
            details={
                "reason": sample.details.get("reason"),
                **facts,
                "count": self.count,
                "search_count": self.searches,
                "first_seen": rfc3339(self.first),
                "last_seen": rfc3339(self.last),
                "repeats_of": self.row,
            },
            time=self.last,
        )


class AuditFolds:
    """What was audited in the window that is open now. Times are seconds of any one clock that does not go back."""

    def __init__(self) -> None:
        self._kinds: dict[_Key, _Kind] = {}
        self._rows: dict[_Key, int] = {}
        self._until: float | None = None

    def __len__(self) -> int:
        return len(self._kinds)

    def take(self, event: AuditEvent, now: float) -> AuditEvent | None:
        """Return the row of an act, or None if it is only counted; what no client causes always has a row."""
        if event.author_class != "Client":
            return event
        if self._until is None:
            self._until = now + WINDOW
        facts = tuple(event.details.get(name) for name in _FACTS)
        key = (event.event_type, event.group, event.author, event.target, *facts)
        found = self._kinds.get(key)
        if found is not None:
            found.add(event)
            return None
        of_group = (event.event_type, event.group)
        taken = self._rows.get(of_group, 0)
        if taken < OF_KIND.get(event.event_type, OF_SEARCHES):
            self._rows[of_group] = taken + 1
            if event.event_type in OF_KIND:
                self._kinds[key] = _Kind(event, event.id)
            return event
        self._kinds.setdefault((*of_group, event.details.get("reason")), _Kind(event)).add(event)
        return None

    def due(self, now: float) -> list[AuditEvent]:
        """Return the rows of what was counted, once its window has ended."""
        if self._until is None or now < self._until:
            return []
        rows = [kind.summary() for kind in self._kinds.values() if kind.count]
        self._kinds.clear()
        self._rows.clear()
        self._until = None
        return rows

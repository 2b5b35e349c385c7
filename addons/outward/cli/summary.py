"""The summary at the end of `outward run`: each blocked host once, how often, why, and the line that would allow it.

Keeps one row for each host and reason, up to a bound; keeps no paths and no queries.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from outward.config.starter import as_file
from outward.core.addresses import Network
from outward.core.model import Verdict
from outward.core.reasons import MEANINGS, Reason
from outward.core.suggest import cure, suggestion
from outward.records.events import Event

MAX_ROWS = 1000


@dataclass(slots=True)
class Row:
    """What was blocked, or would have been.

    Attributes:
        line: entry that would allow it, or None.
    """

    host: str
    port: int | None
    reason: Reason
    count: int
    line: str | None


class Summary:
    """Counts denials as they happen.

    Attributes:
        opened: networks that the starter policy opened; None where a configuration holds.
    """

    def __init__(self) -> None:
        self.opened: tuple[Network, ...] | None = None
        self.rows: dict[tuple[str, int | None, Reason], Row] = {}
        self.more = 0

    def add(self, event: Event) -> None:
        """Count an event if it was a denial, or would have been one in enforce mode.

        What report mode let through may still have failed: then it counts as both.
        """
        if event.would_deny:
            self._count(event, Reason.NO_RULE)
        if event.verdict is not Verdict.ALLOW:
            self._count(event, event.reason)

    def _count(self, event: Event, reason: Reason) -> None:
        key = (event.host or "-", event.port, reason)
        row = self.rows.get(key)
        if row is not None:
            row.count += 1
        elif len(self.rows) >= MAX_ROWS:
            self.more += 1
        else:
            line = suggestion(reason, event.host, event.port, event.method) if event.host else None
            self.rows[key] = Row(event.host or "-", event.port, reason, 1, line)

    def as_json(self) -> list[dict[str, object]]:
        """Return the rows as plain data, the most frequent first."""
        return [
            {"host": row.host, "port": row.port, "reason": row.reason.value, "count": row.count, "suggestion": row.line}
            for row in self._sorted()
        ]

    def text(self, group: str, *, report: bool) -> Iterator[str]:
        """Yield the lines of the summary; none where nothing was blocked.

        Args:
            group: path of the group whose policy was in force.
            report: that the group's mode let through what it would have blocked.
        """
        if not self.rows:
            return
        hosts = len({row.host for row in self.rows.values()})
        verb = "would have blocked" if report else "blocked"
        yield f"outward: {verb} {hosts} host{'s' if hosts != 1 else ''}"
        names = {id(row): row.host if row.port in (None, 443) else f"{row.host}:{row.port}" for row in self._sorted()}
        width = max(map(len, names.values()))
        for row in self._sorted():
            meaning = MEANINGS[row.reason]
            yield f"  {names[id(row)]:<{width}}  {row.count:>3}x  {row.reason.value}: {meaning.title}"
            if row.line is None:
                yield f"  {'':<{width}}        {cure(row.reason, row.host)}"
        if self.more:
            yield f"  and {self.more} more"
        lines = dict.fromkeys(row.line for row in self._sorted() if row.line)
        if lines:
            if self.opened is None:
                yield f"to allow, in the configuration under groups, {group}, allow:"
            else:
                yield "to allow, write to outward.yaml in this folder:"
            shown = lines if self.opened is None else as_file(lines, self.opened)
            yield from (f"  {line}" for line in shown)

    def _sorted(self) -> list[Row]:
        return sorted(self.rows.values(), key=lambda row: (-row.count, row.host, row.port or 0))

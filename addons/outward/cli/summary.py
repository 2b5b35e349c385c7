"""The summary at the end of `outward run`: each blocked host once, how often, why, and the line that would allow it.

Keeps one row for each host and reason, up to a bound; keeps no paths and no queries.
"""

from collections.abc import Iterable, Iterator
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
        passed: that report mode let it through.
    """

    host: str
    port: int | None
    reason: Reason
    count: int
    line: str | None
    passed: bool


class Summary:
    """Counts denials as they happen.

    Attributes:
        opened: networks that the starter policy opened; None where a configuration holds.
    """

    def __init__(self) -> None:
        self.opened: tuple[Network, ...] | None = None
        self.rows: dict[tuple[str, int | None, Reason, bool], Row] = {}
        self.more = 0

    def add(self, event: Event) -> None:
        """Count an event if it was a denial, or would have been one in enforce mode.

        What report mode let through may still have failed: then it counts as both.
        """
        if event.would_deny:
            self._count(event, Reason.NO_RULE, passed=True)
        if event.verdict is not Verdict.ALLOW:
            self._count(event, event.reason, passed=False)

    def _count(self, event: Event, reason: Reason, *, passed: bool) -> None:
        key = (event.host or "-", event.port, reason, passed)
        row = self.rows.get(key)
        if row is not None:
            row.count += 1
        elif len(self.rows) >= MAX_ROWS:
            self.more += 1
        else:
            line = suggestion(reason, event.host, event.port, event.method) if event.host else None
            self.rows[key] = Row(event.host or "-", event.port, reason, 1, line, passed)

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
        rows = self._sorted()
        passed, stopped = [row for row in rows if row.passed], [row for row in rows if not row.passed]
        width = max((len(_name(row)) for row in rows), default=0)
        if passed:
            yield f"outward: would have blocked {_hosts(passed)}"
            yield from _lines(passed, width)
        if stopped:
            told = "could not reach {}, rules aside" if report or passed else "blocked {}"
            yield f"outward: {told.format(_hosts(stopped))}"
            yield from _lines(stopped, width)
        if self.more:
            yield f"  and {self.more} more"
        lines = list(dict.fromkeys(row.line for row in rows if row.line))
        if lines and self.opened is None:
            yield f"to allow, in the configuration under groups, {group}, allow:"
        elif lines and self.opened is not None:
            yield "to allow, write to outward.yaml in this folder:"
            lines = as_file(lines, self.opened)
        yield from (f"  {line}" for line in lines)

    def _sorted(self) -> list[Row]:
        return sorted(self.rows.values(), key=lambda row: (-row.count, row.host, row.port or 0))


def _hosts(rows: Iterable[Row]) -> str:
    count = len({row.host for row in rows})
    return f"{count} host{'' if count == 1 else 's'}"


def _name(row: Row) -> str:
    return row.host if row.port in (None, 443) else f"{row.host}:{row.port}"


def _lines(rows: Iterable[Row], width: int) -> Iterator[str]:
    """Yield a line for each row, and its cure where no entry would allow it."""
    for row in rows:
        yield f"  {_name(row):<{width}}  {row.count:>3}x  {row.reason.value}: {MEANINGS[row.reason].title}"
        if row.line is None:
            yield f"  {'':<{width}}        {cure(row.reason, row.host)}"

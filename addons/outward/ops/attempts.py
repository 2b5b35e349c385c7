"""The first page: what was blocked, what would have been, what was allowed; searched, sorted, and drawn over time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from outward.core.grants import takes_grants
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.ops import ask, views
from outward.ops.api import Handler
from outward.ops.ask import Asked
from outward.ops.chart import Chart, chart
from outward.ops.principals import CHANGING
from outward.ops.queue import UNTIL, USUAL, askable
from outward.ops.sources import Sources
from outward.ops.web import Problem, Response, Route
from outward.records.database import Database
from outward.records.events import query
from outward.records.events.over_time import Series, over_time
from outward.records.events.query import Filters

PERIODS = (("1h", "1 hour"), ("24h", "24 hours"), ("7d", "7 days"), ("all", "All"))
VIEWS = (("blocked", "Blocked"), ("reported", "Would be blocked"), ("allowed", "Allowed"))
_ROWS = 100
_FILTERS = ("group", "reason", "search", "client", "subject")
_OF_ALLOWED = ("group", "search")


@dataclass(frozen=True, slots=True)
class AttemptsQuery:
    """What the page was asked for.

    Attributes:
        asking: the filters that are set, by name.
        times: `period`, or `since` and `until`, as they were given.
        filters: of the lines.
        since: Unix time in seconds at which the chart begins; None means with the records.
        until: at which it ends.
    """

    view: str
    asking: dict[str, str]
    times: dict[str, str]
    sort: str
    offset: int
    filters: Filters
    since: float | None
    until: float

    def link(self, **changed: str) -> str:
        """Return the query of the same page with some values changed; what is empty is left out."""
        values = {"view": self.view, **self.asking, **self.times, "sort": self.sort, **changed}
        return urlencode({name: value for name, value in values.items() if value})


class Attempts:
    """The handler of the page.

    Args:
        page: renders a template for whoever asks.
    """

    def __init__(self, sources: Sources, page: Callable[..., Response]) -> None:
        self._from, self._page = sources, page

    def routes(self) -> list[Route[Handler]]:
        """Return the routes."""
        return [Route("GET", "/", self.attempts)]

    def attempts(self, asked: Asked) -> Response:
        """Show attempts, each group, host, port and reason once."""
        wanted, policy = self._wanted(asked), self._from.policy()
        with self._from.reader.database() as database:
            rows = query.summary(database, wanted.filters, _ROWS + 1, wanted.offset, sort=wanted.sort)
            totals = query.totals(database, wanted.filters)
            noise = replace(wanted.filters, only_ignored=True)
            ignored = None if wanted.filters.allowed else query.totals(database, noise)[0]
            series = self._series(database, wanted)
            lines = [_line(database, row, policy, wanted) for row in rows[:_ROWS]]
        times = {"since": "", "until": "", "period": "", **wanted.times}
        return self._page(
            "blocked.html",
            asked,
            section="blocked",
            wanted=wanted,
            view=wanted.view,
            views=VIEWS,
            rows=lines,
            totals={"count": totals[0], "hosts": totals[1], "groups": totals[2], "ignored": ignored},
            filters={**dict.fromkeys(_FILTERS, ""), **wanted.asking, **times, "any": bool(wanted.asking)},
            span=_span(wanted),
            periods=PERIODS,
            groups=sorted(path for path in policy.groups if asked.token.covers(path)),
            reasons=[str(reason) for reason in Reason if reason not in (Reason.RULE, Reason.REPORT_ONLY)],
            chart=None if series is None else _drawn(series),
            series=series,
            exported=None if wanted.filters.allowed else _export(wanted),
            next_cursor=ask.write_cursor((wanted.offset + _ROWS, "")) if len(rows) > _ROWS else None,
            may=asked.token.role in CHANGING,
            until=UNTIL,
            usual=USUAL,
        )

    def _wanted(self, asked: Asked) -> AttemptsQuery:
        found = asked.query("view", "period", "since", "until", "sort", "cursor", "host", *_FILTERS, form=True)
        if "host" in found:  # what the page was called with before names could be searched
            found["search"] = found.pop("host")
        view = found.get("view", "blocked")
        if view not in dict(VIEWS):
            raise Problem(400, "there is no such view")
        usable = _OF_ALLOWED if view == "allowed" else _FILTERS
        asking = {name: found[name] for name in usable if name in found}
        times = _times(found)
        period = times.get("period")
        limits = times if period is None else {} if period == "all" else {"since": period}
        if view == "allowed":
            filters = ask.allowed(asked, asking | limits)
        else:
            report = {"would_deny": "true"} if view == "reported" else {}
            filters = ask.filters(asked, asking | limits | report, views.ignored(self._from.policy()))
            if (
                filters.client is None and filters.subject is None and filters.until is None
            ):  # then the writer's totals answer, however many
                filters = replace(filters, since=None, seen_since=filters.since)
        now = self._from.now()
        return AttemptsQuery(
            view=view,
            asking=asking,
            times=times,
            sort=ask.sort(found),
            offset=ask.read_cursor(found["cursor"])[0] if "cursor" in found else 0,
            filters=filters,
            since=ask.moment("since", limits.get("since")),
            until=min(now, ask.moment("until", limits.get("until")) or now),
        )

    def _series(self, database: Database, wanted: AttemptsQuery) -> Series | None:
        """Return the counts over time; None if nothing can be counted: hours know no host that was allowed."""
        if wanted.filters.allowed and wanted.filters.search is not None:
            return None
        return over_time(database, wanted.filters, wanted.since, wanted.until)


def _times(found: dict[str, str]) -> dict[str, str]:
    own = {name: text for name, text in found.items() if name in ("since", "until")}
    period = found.get("period", "24h")
    if period not in dict(PERIODS):
        raise Problem(400, "there is no such period")
    return own or {"period": period}


def _drawn(series: Series) -> Chart | None:
    return chart(series) if any(series.counts) else None


def _line(database: Database, row: query.Blocked, policy: Policy, wanted: AttemptsQuery) -> dict[str, Any]:
    """Return a line of the list, with what would allow it, and the form that asks for it."""
    line = {name: getattr(row, name) for name in row.__slots__}
    line |= {"first_seen": row.first, "last_seen": row.last, "cure": None, "wish": None, "opens": False}
    if not wanted.filters.allowed:
        record = query.last(database, row)
        cures = views.cures(policy, question, Reason(row.reason)) if (question := query.question_of(record)) else []
        line["cure"] = next(iter(cures), None)
        record["suggestion"] = next((each["line"] for each in cures if each["group"] == row.group), None)
        line["wish"] = askable(record) if wanted.view == "blocked" else None
        line["opens"] = takes_grants(policy, row.group or "")
    return line


def _export(wanted: AttemptsQuery) -> str:
    report = {"would_deny": "true"} if wanted.filters.would_deny else {}
    return urlencode({**wanted.asking, **wanted.times, **report})


def _span(wanted: AttemptsQuery) -> str:
    """Say what the counts of the list count; see `query.summary`."""
    if wanted.filters.by_event:
        return f"Counts are of the newest {query.MAX_COUNTED:,} attempts that match."
    if wanted.times.get("period") == "all":
        return "Counts are of all time that records are kept."
    return "Lines were seen in this period; their counts are of all time."

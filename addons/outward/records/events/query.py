"""Reading the records: the blocked log, its summary, single decisions. SQL that both databases run from an index."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import orjson

from outward.core.model import DEFAULT_PORTS, Question
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.suggest import BARE, Entry, entry_for, question_about
from outward.records.database import Database, in_subtrees, subtree
from outward.records.events.folds import WINDOW
from outward.records.events.rows import COLUMNS, milliseconds
from outward.records.events.store import BLOCKED, PASSED
from outward.records.events.values import SCHEMA_VERSION, Record, rfc3339

MAX_LIMIT = 500
_FOLDED = round(WINDOW * 1000)
MAX_COUNTED = 50_000  # newest events that a summary by time, client or conversation counts
_TOTALS = "group_path, host, port, reason, count, first_ms, last_ms, last_id"
_BY_REQUEST = (Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED)
_ASKS = (Reason.NO_RULE, Reason.PORT_NOT_ALLOWED)
_WOULD = "COALESCE(would_reason, reason)"
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM events"

_SEARCHED = 500  # hosts that a part of a name stands for where events are asked
_SORTS = {
    **dict.fromkeys(("host", "reason", "count"), ""),
    "group": "group_path",
    "first_seen": "first_ms",
    "last_seen": "last_ms",
}
SORTS = tuple(f"{sign}{name}" for name in _SORTS for sign in ("", "-"))
"""What the summary can be sorted by; `-` is from the last to the first."""

type Cursor = tuple[int, str]
"""Time in milliseconds and id of the last row of a page."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which blocked events are wanted; None is any.

    Attributes:
        scope: path of the group that the asker may see, with its descendants.
        group: path of a group, with its descendants.
        client: the address that a client connects from, or the name that the policy gives it.
        subject: who a client is to the issuer of its token or certificate.
        since, until: Unix times in seconds, from and up to but not including.
        search: part of a host's name.
        seen_since, seen_until: of the summary: lines that were seen from, or before, this Unix time, with the counts of
            all time.
        ignored: groups (with their descendants) and host patterns whose events are noise: `name`, `*.name` for what
            lies below, or `.name` for both. They are left out, or, with `only_ignored`, nothing else is listed.
        would_deny: list what report mode let through, instead of what was denied; its reason is why it would deny.
        allowed: of the summary: list what the policy allowed instead.
    """

    scope: str | None = None
    group: str | None = None
    host: str | None = None
    reason: str | None = None
    client: str | None = None
    subject: str | None = None
    conversation: str | None = None
    since: float | None = None
    until: float | None = None
    search: str | None = None
    seen_since: float | None = None
    seen_until: float | None = None
    would_deny: bool = False
    allowed: bool = False
    ignored: tuple[tuple[str, str], ...] = ()
    only_ignored: bool = False

    @property
    def by_event(self) -> bool:
        """Whether the writer's totals cannot answer, which know no times, clients or conversations."""
        return any(
            value is not None for value in (self.client, self.subject, self.conversation, self.since, self.until)
        )

    @property
    def table(self) -> str:
        """Where the writer's totals are."""
        return PASSED if self.would_deny or self.allowed else BLOCKED

    def between(self, since: float, until: float) -> "Filters":
        """Return the same filters for events of a time."""
        return replace(self, since=since, until=until, seen_since=None, seen_until=None)

    def sql(self) -> tuple[str, list[Any]]:
        """Return the condition on events and its parameters."""
        where, values = self.terms()
        if self.only_ignored:  # they are few hosts, or few events: not worth reading all events for
            known, more = Filters(ignored=self.ignored, only_ignored=True).terms()
            where = f"{where} AND host IN (SELECT host FROM {self.table} WHERE {known})"
            values += more
        if self.search is not None:
            named = Filters(scope=self.scope, group=self.group, search=self.search, would_deny=self.would_deny)
            known, more = named.on_totals()
            where += f" AND host IN (SELECT DISTINCT host FROM {self.table} WHERE {known} LIMIT {_SEARCHED})"
            values += more
        return f"{'would_deny' if self.would_deny else "verdict = 'deny'"} AND {where}", values

    def terms(self) -> tuple[str, list[Any]]:
        """Return the condition and its parameters, apart from what is a blocked event."""
        terms, values = in_subtrees(self.scope, self.group)
        if self.client is not None:
            named = "client = ?" if is_address(self.client) else "(client_name = ? OR client = ?)"
            terms.append(named)
            values += [self.client] * named.count("?")
        for column in ("host", "reason", "subject", "conversation"):
            if (value := getattr(self, column)) is not None:
                named = _WOULD if column == "reason" and self.would_deny else column
                terms.append(f"{named} = ?")
                values.append(value)
        if self.since is not None:  # a row counts what was repeated within a minute; the first term is for the index
            since = round(self.since * 1000)
            terms.append("time_ms >= ? AND COALESCE(last_ms, time_ms) >= ?")
            values += [since - _FOLDED, since]
        if self.until is not None:
            terms.append("time_ms < ?")
            values.append(round(self.until * 1000))
        self._noise(terms, values)
        return " AND ".join(terms), values

    def on_totals(self) -> tuple[str, list[Any]]:
        """Return the condition on the writer's totals and its parameters."""
        where, values = replace(self, would_deny=False).terms()
        for term, time in (("last_ms >= ?", self.seen_since), ("first_ms < ?", self.seen_until)):
            if time is not None:
                where += f" AND {term}"
                values.append(round(time * 1000))
        if self.search is not None:
            where += " AND host LIKE ? ESCAPE '!'"
            values.append(f"%{re.sub('[!%_]', '!\\g<0>', self.search)}%")
        if self.table == PASSED:
            where += f" AND reason {'=' if self.allowed else '<>'} 'rule'"
        return where, values

    def _noise(self, terms: list[str], values: list[Any]) -> None:
        noise = []
        for path, pattern in self.ignored:
            name = pattern.lstrip("*.")
            below = [f"%.{name.replace('_', '!_')}"] if pattern.startswith(("*.", ".")) else []
            itself = [] if pattern.startswith("*.") else [name]
            host = " OR ".join(["host LIKE ? ESCAPE '!'"] * len(below) + ["host = ?"] * len(itself))
            term, parameters = subtree(path)
            noise.append(f"({term} AND ({host}))")
            values += [*parameters, *below, *itself]
        if self.only_ignored:
            terms.append(f"({' OR '.join(noise)})" if noise else "1 = 0")
        elif noise:
            terms.append(f"(host IS NULL OR group_path IS NULL OR NOT ({' OR '.join(noise)}))")


@dataclass(frozen=True, slots=True)
class Blocked:
    """One line of the summary: events of the same group, host, port and reason.

    Attributes:
        first, last: RFC 3339.
        last_id: decision id of the last one.
    """

    group: str | None
    host: str | None
    reason: str
    port: int | None
    count: int
    first: str
    last: str
    last_id: str


def blocked(database: Database, filters: Filters, limit: int, after: Cursor | None = None) -> list[Record]:
    """Return a page of the blocked log, the newest first, beginning after the cursor."""
    where, values = filters.sql()
    if after is not None:
        where += " AND (time_ms, id) < (?, ?)"
        values += after
    order = "ORDER BY time_ms DESC, id DESC LIMIT ?"
    return [record_of(row) for row in database.execute(f"{_SELECT} WHERE {where} {order}", (*values, limit))]


def cursor_of(record: Record) -> Cursor:
    """Return the cursor behind a record."""
    return milliseconds(record["time"]), record["id"]


def summary(
    database: Database,
    filters: Filters,
    limit: int,
    offset: int = 0,
    counted: int = MAX_COUNTED,
    *,
    sort: str = "-last_seen",
) -> list[Blocked]:
    """Return the blocked log de-duplicated by group, host, port and reason.

    Without a time, a client or a conversation to look for, it comes from the totals that the writer keeps; otherwise
    from the newest events, so that no flood makes it slow.

    Args:
        database: where the records are.
        filters: which events.
        limit: most lines.
        offset: lines to leave out.
        counted: most events that are looked at.
        sort: one of `SORTS`; those of equal rank are listed with the most recently seen first.
    """
    if filters.by_event:
        source, values = newest(filters, counted)
        chosen = (
            "SELECT group_path, host, port, reason, SUM(count) AS count, MIN(time_ms) AS first_ms,"
            " MAX(last_ms) AS last_ms, MAX(id)"
            f" FROM {source} GROUP BY group_path, host, port, reason"
        )
    else:
        where, values = filters.on_totals()
        chosen = f"SELECT {_TOTALS} FROM {filters.table} WHERE {where}"
    name = sort.removeprefix("-")
    order = f"{_SORTS[name] or name} {'DESC' if sort.startswith('-') else 'ASC'}, last_ms DESC, host, port, reason"
    rows = database.execute(f"{chosen} ORDER BY {order} LIMIT ? OFFSET ?", (*values, limit, offset))
    return [_blocked(row) for row in rows]


def totals(database: Database, filters: Filters) -> tuple[int, int, int]:
    """Return how many attempts the summary's lines hold, of how many hosts and of how many groups."""
    if filters.by_event:
        source, values = newest(filters, MAX_COUNTED)
        count = "COALESCE(SUM(count), 0)"
    else:
        where, values = filters.on_totals()
        source, count = f"{filters.table} WHERE {where}", "COALESCE(SUM(count), 0)"
    rows = database.execute(f"SELECT {count}, COUNT(DISTINCT host), COUNT(DISTINCT group_path) FROM {source}", values)
    return int(rows[0][0]), rows[0][1], rows[0][2]


def newest(filters: Filters, most: int) -> tuple[str, list[Any]]:
    """Return a table of the newest events that filters choose, never of what was allowed, and its parameters."""
    where, values = filters.sql()
    reason = f"{_WOULD} AS reason" if filters.would_deny else "reason"
    columns = f"group_path, host, {reason}, port, time_ms, id, count, COALESCE(last_ms, time_ms) AS last_ms"
    chosen = f"SELECT {columns} FROM events WHERE {where} ORDER BY time_ms DESC, id DESC LIMIT ?"
    return f"({chosen}) AS newest", [*values, most]


def event(database: Database, ident: str) -> Record | None:
    """Return the event of a decision id, or None."""
    rows = database.execute(f"{_SELECT} WHERE id = ?", (ident,))
    return record_of(rows[0]) if rows else None


def why(record: Record) -> Reason:
    """Return why a record was denied, or why report mode would have denied it."""
    reason = Reason(record["reason"])
    return Reason(record["would_reason"] or Reason.NO_RULE) if reason is Reason.REPORT_ONLY else reason


def line_for(record: Record, policy: Policy | None) -> str | None:
    """Return the line of `entry_of`, or None if there is none."""
    entry = entry_of(record, policy)
    return None if entry is None else entry.line


def entry_of(record: Record, policy: Policy | None) -> Entry | None:
    """Return the entry of `allow` that would allow a denied record, or None if none would.

    Args:
        record: an event.
        policy: in force; None if it is not at hand. In groups that it lacks, only hosts without a rule have a line.
    """
    reason, group = why(record), record["group"]
    if group is not None and (policy is None or group not in policy.groups) and reason is Reason.NO_RULE:
        policy = Policy(groups={group: Group(group)})
    question = question_of(record)
    return None if question is None or policy is None else entry_for(policy, question, reason, opening=True)


def question_of(record: Record) -> Question | None:
    """Return the question that a record answered, or None if its host cannot be read."""
    return question_about(
        record["group"],
        record["host"],
        record["port"],
        method=record["method"],
        path=record["path"],
        scheme=record["scheme"],
    )


def lines_for(database: Database, rows: Iterable[Blocked], policy: Policy | None) -> list[str | None]:
    """Return the entry that would allow what each line of a summary counts, or None if none would.

    A line knows neither method nor path. Where these were missing, its last event tells them.
    """
    return [line_for(last(database, row), policy) for row in rows]


def last(database: Database, row: Blocked) -> Record:
    """Return what is known of the question that a line counts.

    Of its last event, where that tells method and path, or that what was spoken is not the web's.
    """
    elsewhere = row.reason in _ASKS and row.port not in DEFAULT_PORTS
    seen = event(database, row.last_id) if elsewhere or row.reason in _BY_REQUEST else None
    bare = {"group": row.group, "host": row.host, "port": row.port, "method": None, "path": None, "scheme": None}
    bare["stage"] = None
    if elsewhere and seen is not None:
        bare["scheme"], seen = seen["scheme"] if seen["scheme"] == BARE else None, None
    return {**(seen or bare), "reason": row.reason, "would_reason": None}


def record_of(row: Sequence[Any]) -> Record:
    """Return the record of a row, as it was written."""
    values = dict(zip(COLUMNS, row, strict=True))
    file, line, pattern = (values.pop(f"rule_{name}") for name in ("file", "line", "pattern"))
    first_ms, last_ms, _ = values.pop("time_ms"), values.pop("last_ms"), values.pop("size")
    first = rfc3339(first_ms / 1000)
    record = {"schema_version": SCHEMA_VERSION, "time": first, **values, "first_seen": first}
    record["last_seen"] = first if last_ms is None else rfc3339(last_ms / 1000)
    record["group"] = record.pop("group_path")
    record["would_deny"] = bool(record["would_deny"])
    record["claims"] = None if record["claims"] is None else orjson.loads(record["claims"])
    record["ech"] = None if record["ech"] is None else bool(record["ech"])
    record["rule"] = None if file is None else {"file": file, "line": line, "pattern": pattern}
    return record


def is_address(text: str) -> bool:
    """Tell whether a text is an IP address, as clients are recorded by."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _blocked(row: Sequence[Any]) -> Blocked:
    group, host, port, reason, count, first, last, last_id = row
    count = int(count)  # PostgreSQL adds up to a decimal
    group, host, port = group or None, host or None, port or None
    return Blocked(group, host, reason, port, count, rfc3339(first / 1000), rfc3339(last / 1000), last_id)

"""Traffic that was recorded: from our own store and lines, and from the logs of other proxies. Equal requests fold.

Owns the formats. A line that is not understood is counted, never guessed at.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from outward.core.model import Question
from outward.core.names import MalformedHostError, parse_authority
from outward.core.reasons import Reason
from outward.core.replay import Recorded
from outward.core.urls import PORTS
from outward.records.database import Database
from outward.records.events.store import HOUR


class Fact(NamedTuple):
    """What of a recorded request matters to rules.

    Attributes:
        group: path of the client's group; None if it is not known.
        authority: `host` or `host:port`, as recorded.
        port: if the authority names none.
        method, path: of the request; None if only a connection was seen.
        clear: whether it was a request without TLS.
        allowed: whether it passed.
        reason: our own reason code; empty for another program's.
    """

    group: str | None
    authority: str
    port: int
    method: str | None
    path: str | None
    clear: bool
    allowed: bool
    reason: str = ""


_NAMES = ("group", "host", "port", "method", "path", "scheme", "verdict", "would_deny", "reason")
_COLUMNS = ("group_path", *_NAMES[1:])

type Parser = Callable[[bytes], tuple[Fact, int] | None]
"""Returns what a line records, and how many attempts it tells of; None if it records no request."""


class NotUnderstoodError(ValueError):
    """A line is not of the format."""


def fold(lines: Iterable[bytes], parse: Parser) -> tuple[Counter[Fact], int]:
    """Return how often each request occurs, and the number of lines that were not understood.

    Args:
        lines: of a log.
        parse: reads a line.
    """
    facts: Counter[Fact] = Counter()
    strange = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            found = parse(line)
        except (NotUnderstoodError, orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            strange += 1
            continue
        if found is not None:
            facts[found[0]] += found[1]
    return facts, strange


def of_store(database: Database, since: float) -> Counter[Fact]:
    """Return what the store has recorded since a Unix time in seconds; the database folds."""
    columns = ", ".join(_COLUMNS)
    rows = database.execute(
        f"SELECT {columns}, SUM(count) FROM events WHERE time_ms >= ? AND host IS NOT NULL AND port IS NOT NULL "
        f"GROUP BY {columns}",
        (int(since * 1000),),
    )
    facts: Counter[Fact] = Counter()
    for *values, count in rows:
        facts[_own(dict(zip(_NAMES, values, strict=True)))] += int(count)  # PostgreSQL adds up to a decimal
    rows = database.execute(
        "SELECT group_path, host, port, SUM(count) FROM passed_hours WHERE hour_ms >= ? AND host <> ''"
        " GROUP BY group_path, host, port",
        (int(since * 1000) - HOUR,),
    )
    for group, host, port, count in rows:  # what was only counted, of which no method or path is known
        authority = f"[{host}]" if ":" in host else host
        facts[Fact(group or None, authority, port, None, None, clear=port == PORTS["http"], allowed=True)] += int(count)
    return facts


def recorded(facts: Counter[Fact], group_of: Callable[[str | None], str | None]) -> tuple[list[Recorded], int]:
    """Return folded requests as questions, and the number of requests whose host nobody can read.

    Args:
        facts: what was recorded, and how often.
        group_of: the group to ask for, by the recorded one.
    """
    found, odd = [], 0
    for fact, count in facts.items():
        try:
            host, port = parse_authority(fact.authority, fact.port)
        except MalformedHostError:
            odd += count
            continue
        question = Question(group_of(fact.group), host, port, fact.method, fact.path, clear=fact.clear)
        reason = Reason(fact.reason) if fact.reason in Reason else None
        found.append(Recorded(question, fact.allowed, count, reason))
    return found, odd


def own_line(line: bytes) -> tuple[Fact, int] | None:
    """Read one of our own JSON lines; one with `repeats_of` tells of the attempts that an earlier line does not."""
    event = orjson.loads(line)
    if event.get("host") is None or event.get("port") is None:
        return None
    count = event.get("count", 1)
    if not isinstance(count, int) or count < 1:
        raise NotUnderstoodError
    return _own(event), count


def _each(read: Callable[[bytes], Fact | None]) -> Parser:
    """Return a parser of a log with a line for each request."""

    def parse(line: bytes) -> tuple[Fact, int] | None:
        fact = read(line)
        return None if fact is None else (fact, 1)

    return parse


def squid_line(line: bytes) -> Fact | None:
    """Read a line of Squid's access.log in its native format (`logformat squid`)."""
    fields = line.decode("utf-8", "replace").split()
    if len(fields) < 7 or "/" not in fields[3]:
        raise NotUnderstoodError
    code, _, status = fields[3].partition("/")
    return _squid(fields[5], fields[6], code, status)


def awf_line(line: bytes) -> Fact | None:
    """Read a line of AWF's `audit.jsonl`, which its Squid writes."""
    entry = orjson.loads(line)
    return _squid(entry["method"], entry["url"], entry["decision"], str(entry["status"]))


def smokescreen_line(line: bytes) -> Fact | None:
    """Read a line of smokescreen's log; its decisions alone are requests."""
    entry = orjson.loads(line)
    if entry.get("msg") != "CANONICAL-PROXY-DECISION":
        return None
    clear = entry.get("proxy_type") == "http"
    allowed = bool(entry["allow"]) and not entry.get("enforce_would_deny")
    return Fact(entry.get("role") or None, entry["requested_host"], 80 if clear else 443, None, None, clear, allowed)


FORMATS: dict[str, Parser] = {
    "jsonl": own_line,
    "squid": _each(squid_line),
    "awf": _each(awf_line),
    "smokescreen": _each(smokescreen_line),
}


def _own(event: Mapping[str, Any]) -> Fact:
    host, method, path = event["host"], event.get("method"), event.get("path")
    seen = method is not None and method != "CONNECT" and path is not None
    return Fact(
        group=event.get("group"),
        authority=f"[{host}]" if ":" in host else host,
        port=event["port"],
        method=method if seen else None,
        path=path if seen else None,
        clear=event.get("scheme") == "http",
        allowed=event["verdict"] == "allow" and not event.get("would_deny"),
        reason=event["reason"],
    )


def _squid(method: str, target: str, code: str, status: str) -> Fact | None:
    """Return what Squid recorded; None for what was no request, or was asked for credentials first."""
    if target.startswith("error:") or method == "NONE" or status == "407":
        return None
    allowed = "DENIED" not in code
    if method == "CONNECT":
        return Fact(None, target, 443, None, None, clear=False, allowed=allowed)
    scheme, found, rest = target.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in PORTS:
        raise NotUnderstoodError
    authority, slash, path = rest.partition("/")
    path = (slash + path).partition("?")[0].partition("#")[0] or "/"
    clear = scheme in ("http", "ws")
    return Fact(None, authority.rpartition("@")[2].partition("?")[0], PORTS[scheme], method, path, clear, allowed)

"""Events: decisions as recorded, with the facts of their connection. Values and their JSON form only.

A record is an event as the outside sees it: a dict with the documented fields, bounded and safe to show anywhere. It
never holds a query string, a credential or a body.
"""

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from outward.core.claims import Scalar
from outward.core.model import Lane, Mode, Rule, Stage, Verdict
from outward.core.reasons import Reason
from outward.records.text import clean

if TYPE_CHECKING:
    from outward.records.events.folds import Fold
    from outward.records.sending.spans import Span

SCHEMA_VERSION = 1

MAX_NAME = 256  # characters of a group, host, server name, client or conversation
MAX_PATH = 1024
MAX_AGENT = 256
MAX_WORD = 64  # of a method, scheme, address, trace id, name of a claim
MAX_CLAIMS = 16

type Record = dict[str, Any]


def new_id() -> str:
    """Return a decision id: 32 hex digits that sort by time (48 bits of milliseconds, 80 random bits)."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


@dataclass(slots=True, kw_only=True)
class Event:
    """One decision that ended a question. Unknown is None.

    Attributes:
        time: Unix time in seconds when the question was asked.
        would_reason: why enforcing would have denied what report mode let through.
        path: raw path without query.
        duration_ms: from the question to its end, in milliseconds.
        bytes_up, bytes_down: payload bytes carried, of a tunnel or an inspected exchange.
        status: HTTP status that the client was given.
        detail: of what was not reached: which hop failed, and its error, in words.
        instance: which proxy decided; the recorder sets it.
        client_name, subject, claims: who asked, as the policy's entry names it, and as its issuer does.
        redirected_from: the host whose answer sent the client here, shortly before.
        count: attempts that its row counts, the first one at `time`.
        last_seen: Unix time of the last of them; None if there was one.
        told: its id stands in an audit event already, so that it has a row of its own.
        fold: that counts it, from when it is answered until it is recorded; see `folds`.
        span: times its stages, if it is traced; not recorded.
        advice: what the client is told to do, where that is more than the reason's own cure; not recorded.
        retry_after: seconds after which the client is told to try again, if that is known; not recorded.
        record: what `recorded` has made of it.
    """

    id: str = field(default_factory=new_id)
    time: float = field(default_factory=time.time)
    verdict: Verdict = Verdict.DENY
    reason: Reason = Reason.INTERNAL_ERROR
    stage: Stage = Stage.CONNECT
    mode: Mode = Mode.ENFORCE
    would_deny: bool = False
    would_reason: Reason | None = None
    group: str | None = None
    client: str | None = None
    method: str | None = None
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    sni: str | None = None
    ech: bool | None = None
    address: str | None = None
    lane: Lane | None = None
    rule: Rule | None = None
    generation: str | None = None
    conversation: str | None = None
    user_agent: str | None = None
    duration_ms: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    status: int | None = None
    trace_id: str | None = None
    detail: str | None = None
    instance: str | None = None
    client_name: str | None = None
    subject: str | None = None
    claims: tuple[tuple[str, Scalar], ...] = ()
    redirected_from: str | None = None
    count: int = 1
    last_seen: float | None = None
    told: bool = False
    fold: "Fold | None" = field(default=None, repr=False, compare=False)
    advice: str | None = None
    span: "Span | None" = field(default=None, repr=False, compare=False)
    retry_after: int | None = None
    record: "Record | None" = field(default=None, init=False, repr=False, compare=False)  # a copy has none

    @property
    def challenge(self) -> bool:
        """Whether it asks a client for credentials that it has not sent: it may be answered, and is then no refusal."""
        return self.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and self.reason is Reason.UNKNOWN_CLIENT


def trim(event: Event) -> None:
    """Cut what a client chose to a bounded length, so that waiting events are bounded too."""
    if event.path is not None and len(event.path) > MAX_PATH:
        event.path = event.path[: MAX_PATH + 1]
    if event.user_agent is not None and len(event.user_agent) > MAX_AGENT:
        event.user_agent = event.user_agent[: MAX_AGENT + 1]
    if event.host is not None and len(event.host) > MAX_NAME:
        event.host = event.host[-MAX_NAME - 1 :] if "@" in event.host else event.host[: MAX_NAME + 1]
    if event.conversation is not None and len(event.conversation) > MAX_NAME:
        event.conversation = event.conversation[: MAX_NAME + 1]
    if event.subject is not None and len(event.subject) > MAX_NAME:
        event.subject = event.subject[: MAX_NAME + 1]
    if event.claims:
        event.claims = tuple(map(_cut, event.claims[:MAX_CLAIMS]))


def recorded(event: Event) -> Record:
    """Return the record of an event that nobody changes any more; it is made once, and shared."""
    record = event.record
    if record is None:
        record = event.record = as_record(event)
    return record


def as_record(event: Event) -> Record:
    """Return the record of an event: every documented field, unknown ones None."""
    rule, first = event.rule, rfc3339(event.time)
    return {
        "schema_version": SCHEMA_VERSION,
        "time": first,
        "id": event.id,
        "verdict": "allow" if event.verdict is Verdict.ALLOW else "deny",
        "reason": str(event.reason),
        "stage": str(event.stage),
        "mode": str(event.mode),
        "would_deny": event.would_deny,
        "would_reason": str(event.would_reason) if event.would_reason is not None else None,
        "group": _text(event.group, MAX_NAME),
        "client": _text(event.client, MAX_NAME),
        "method": _text(event.method, MAX_WORD),
        "scheme": _text(event.scheme, MAX_WORD),
        "host": _text(event.host.rpartition("@")[2], MAX_NAME) if event.host is not None else None,
        "port": event.port,
        "path": path_of(event.path) if event.path is not None else None,
        "sni": _text(event.sni, MAX_NAME),
        "ech": event.ech,
        "address": _text(event.address, MAX_WORD),
        "lane": str(event.lane) if event.lane is not None else None,
        "rule": _rule(rule) if rule is not None else None,
        "generation": event.generation,
        "conversation": _text(event.conversation, MAX_NAME),
        "user_agent": _text(event.user_agent, MAX_AGENT),
        "duration_ms": round(event.duration_ms, 3) if event.duration_ms is not None else None,
        "bytes_up": event.bytes_up,
        "bytes_down": event.bytes_down,
        "status": event.status,
        "trace_id": _text(event.trace_id, MAX_WORD),
        "detail": _text(event.detail, MAX_NAME),
        "instance": _text(event.instance, MAX_NAME),
        "client_name": _text(event.client_name, MAX_NAME),
        "subject": _text(event.subject, MAX_NAME),
        "claims": _claims(event.claims) if event.claims else None,
        "redirected_from": _text(event.redirected_from, MAX_NAME),
        "count": event.count,
        "first_seen": first,
        "last_seen": first if event.last_seen is None else rfc3339(event.last_seen),
    }


_OF_REPEATS = (
    *("schema_version", "verdict", "reason", "group", "client", "method", "scheme", "host", "port", "path"),
    *("instance", "client_name", "subject", "claims", "first_seen", "last_seen"),
)


def repeats_of(event: Event, unprinted: int) -> Record:
    """Return what is said at the end of a fold: how many more attempts the row counts than its own line told of.

    It is no event: it has no id, and names the event that it belongs to.
    """
    record = as_record(event)
    return {"repeats_of": event.id, "count": unprinted, **{name: record[name] for name in _OF_REPEATS}}


def line(record: Record) -> bytes:
    """Return a record as one line of JSON with its newline."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def path_of(path: str) -> str:
    """Return a path as it is recorded: bounded, safe to show, and without a query."""
    path = path.partition("?")[0]
    return path if len(path) <= MAX_PATH and path.isprintable() else clean(path, MAX_PATH)


def rfc3339(seconds: float) -> str:
    """Return a Unix time as RFC 3339 in UTC with milliseconds."""
    milliseconds = int(seconds * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _rule(rule: Rule) -> Record:
    return {
        "file": _text(rule.place.file, MAX_PATH),
        "line": rule.place.line,
        "pattern": _text(str(rule.pattern), MAX_NAME),
    }


def _cut(claim: tuple[str, Scalar]) -> tuple[str, Scalar]:
    """Cut a claim's value; most are short, and stay as they are."""
    name, value = claim
    return (name, value[: MAX_NAME + 1]) if isinstance(value, str) and len(value) > MAX_NAME else claim


def _claims(claims: tuple[tuple[str, Scalar], ...]) -> Record:
    return {
        clean(name, MAX_WORD): clean(value, MAX_NAME) if isinstance(value, str) else value
        for name, value in claims[:MAX_CLAIMS]
    }


def _text(value: str | None, limit: int) -> str | None:
    """Clean a text; the short and printable, which is nearly all, stays as it is."""
    if value is None or (len(value) <= limit and value.isprintable()):
        return value
    return clean(value, limit)

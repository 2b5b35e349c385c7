"""Refusing a client: the denial on the wire, its event closed once, and a close that does not cut the answer off.

Closing a socket with unread bytes resets the connection, and on some systems the client then loses the answer that it
had not read yet (RFC 9112 9.6). So where more may be coming, one direction is closed and the rest is read and dropped,
for a bounded time and amount.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from outward.core.model import Decision, Mode
from outward.core.policy import Policy
from outward.core.reasons import MEANINGS, Reason
from outward.core.suggest import MISSES, cure, question_about, suggestion
from outward.http1.head import Head
from outward.proxy.context import ConnectionContext
from outward.proxy.deadlines import Deadlines
from outward.proxy.denial import denial, denial_status
from outward.proxy.dialect import VendorDenial, vendor_denial
from outward.proxy.judge import Judge
from outward.proxy.own import REQUESTS
from outward.records.events.values import Event
from outward.tls.alert import alert_of

Dialect = Callable[[Reason, str], VendorDenial]
"""Returns what a vendor would say: from a reason and a message for people."""

_DROPPED = 1024 * 1024  # bytes of a refused body that are read to the end; Go's net/http: 256 KiB
_LONG = 256  # characters of a path; what depends on a longer one is not remembered


def vendor_denial_of(judge: Judge, event: Event, line: str | None, dialect: Dialect, detail: str) -> bytes:
    """Return the wire form of a denial at a model vendor's host, in the vendor's words; notes its status in the event.

    Args:
        judge: settles the id that the client is given.
        event: the denial.
        line: of the policy, that would allow the request, where governance named one.
        dialect: says it in the vendor's words.
        detail: a sentence of governance, or nothing.
    """
    judge.settle(event)
    suggested = line or _line(judge, event)
    advice = cure(event.reason, event.host, None, event.stage, line=suggested is not None)
    said = f"{MEANINGS[event.reason].title} ({event.reason}){f': {detail}' if detail else ''}. {advice}"
    if line is not None:
        said += f" The line: {line}"
    try:
        told = dialect(event.reason, said)
    except Exception:  # noqa: BLE001 - who cannot say it in the vendor's words says it in ours
        judge.metrics.internal_error("dialect")
        told = VendorDenial()
    event.status = event.status or told.status or denial_status(event.reason, challenge=False)
    return vendor_denial(event, told, advice, suggested, head=event.method == "HEAD")


def denial_of(judge: Judge, event: Event, head: Head | None, *, challenge: bool, again: bool = False) -> bytes:
    """Return the wire form of an event's denial, with the id of the row that counts it, and note its status there.

    Args:
        judge: settles the id.
        event: the denial.
        head: what is refused; None where it was not understood.
        challenge: whether credentials would help.
        again: the client may ask again on this connection.
    """
    event.status = event.status or denial_status(event.reason, challenge=challenge)
    judge.settle(event)
    line = _line(judge, event)
    accept = head.get("accept") if head is not None and event.method != "CONNECT" else None
    at = REQUESTS if _askable(judge, event, line) else None
    return denial(event, line, accept, challenge=challenge, head=event.method == "HEAD", request=at, again=again)


def _askable(judge: Judge, event: Event, line: str | None) -> bool:
    """Tell whether a client may ask for what an event denies; what it asks is judged again when it does."""
    if judge.desk is None or not judge.desk.asking or event.reason not in MISSES:
        return False
    opens = line is not None or event.reason is Reason.PATH_NOT_ALLOWED  # whose line would echo the path
    host = event.host or ""
    return opens and ":" not in host and not host[-1:].isdigit() and judge.policy.vendor_of(host) is None


def _line(judge: Judge, event: Event) -> str | None:
    """Return the line of an event; clients ask for the same again and again, and are told the same."""
    if event.path is not None and len(event.path) > _LONG:
        return line_for(event, judge.policy)
    known = judge.lines
    key = (
        event.group, event.host, event.port, event.method, event.path, event.scheme, event.reason, event.mode,
        event.generation,
    )  # fmt: skip
    if key not in known:
        known[key] = line_for(event, judge.policy)
    return known[key]


def line_for(event: Event, policy: Policy) -> str | None:
    """Return the entry that would allow what an event denies, as a client may see it: its own path is not echoed."""
    question = question_about(
        event.group, event.host, event.port, method=event.method, path=event.path, scheme=event.scheme
    )
    if question is None:
        return None
    same = event.generation == policy.generation and event.mode is Mode.ENFORCE
    found = Decision(reason=Reason.NO_RULE) if same and event.reason is Reason.NO_RULE else None
    line = suggestion(policy, question, event.reason, private=True, found=found)
    if question.method is None and question.host.address is None:  # there is nothing private in it
        return line
    exact = line and suggestion(policy, question, event.reason, found=found)
    return line if exact == line else f"{line}  # any path: `paths` would narrow it to yours"


def refusal_of(judge: Judge, event: Event, context: ConnectionContext) -> bytes:
    """Return what refuses a client whose connection a lane has taken and not opened."""
    if context.original is None or context.head.path is not None:
        return denial_of(judge, event, context.head, challenge=False)
    return b"" if context.decision.plain else alert_of(event.reason).wire


def close_event(judge: Judge, event: Event, started: float) -> None:
    """Close an event, with its duration since `started` (loop time in seconds)."""
    event.duration_ms = (asyncio.get_running_loop().time() - started) * 1000
    judge.close(event)


class Linger(asyncio.Protocol):
    """Drops what a refused client still sends, until it closes or the deadline passes."""

    touched = False

    def __init__(self, transport: asyncio.Transport, deadlines: Deadlines, ended: Callable[[], None]) -> None:
        """Take a transport over.

        Args:
            transport: the client's, with the answer already written.
            deadlines: how long to linger.
            ended: called once the connection is lost.
        """
        self._transport = transport
        self._deadlines = deadlines
        self._ended = ended
        self._dropped = 0
        transport.set_protocol(self)
        deadlines.start(self)
        if transport.can_write_eof():
            with suppress(OSError):  # the client is gone, as the loop will tell
                transport.write_eof()
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Drop it."""
        self._dropped += len(data)
        if self._dropped > _DROPPED:
            self._transport.abort()

    def expired(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Report the end."""
        self._deadlines.stop(self)
        self._ended()

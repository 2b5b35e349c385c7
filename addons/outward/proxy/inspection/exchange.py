"""One request in the inspect lane, from its head to its end: what is known of it, and its one event.

Owns the promise that every request is one event, closed exactly once, whose id is the one that a refused client was
given. Knows nothing of the engine.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from outward.core.identity import Identity
from outward.core.model import Decision, Lane, Rule, Stage
from outward.core.reasons import Reason
from outward.http1.head import Head
from outward.proxy.answer import Dialect, close_event, denial_of, vendor_denial_of
from outward.proxy.inspection.budget import Budget
from outward.proxy.judge import Judge, refuse
from outward.proxy.parent import Parent
from outward.records.events.values import Event

# The destination was never reached, for these reasons; of others the event alone does not tell.
UNREACHED = frozenset({Reason.RESOLVE_FAILED, Reason.UPSTREAM_FAILED, Reason.PARENT_REFUSED, Reason.PARENT_FAILED})

_log = logging.getLogger(__name__)


class Exchange:
    """A request and what becomes of it.

    Attributes:
        raw: the head as received.
        head: the same, parsed; None where it was not understood.
        event: open until `close`.
        decision: the answer to it; denies where nothing was asked.
        governed: web-search governance has a say in it.
        collected: its body is read as a whole before anything goes upstream.
        begun: a response head has gone to the client, so that no denial can be told any more.
        up, down: payload bytes of the request's and the response's body.
        closed: its event has been recorded.
        identity: who asked; None where that was never found out.
        ended: called once when it closes; None where nobody waits for that.
        dialect: says a denial in a vendor's words; None where no vendor is concerned.
        line, detail: what governance says of a denial: the line that would open it, a sentence.
        own: the proxy itself is asked; what it answers leaves no event, what it refuses does.
        said: that answer, once it is there.
        parent: the parent proxy that it was sent to in absolute form; None if it was sent to the destination.
        placed: fields that the proxy sets on the request, by lower-case name: they hold secrets.
        secrets: the values in force when they were set, by name.
        budget: what its bodies are charged to while they are held back; None where nothing of it ever is.
    """

    __slots__ = (
        "_challenge",
        "_failed",
        "_held",
        "_judge",
        "_started",
        "begun",
        "budget",
        "closed",
        "collected",
        "decision",
        "detail",
        "dialect",
        "down",
        "ended",
        "event",
        "governed",
        "head",
        "identity",
        "line",
        "own",
        "parent",
        "placed",
        "raw",
        "said",
        "secrets",
        "up",
    )

    def __init__(
        self,
        judge: Judge,
        raw: bytes,
        head: Head | None,
        event: Event,
        decision: Decision,
        *,
        identity: Identity | None = None,
        challenge: bool = False,
        started: float | None = None,
    ) -> None:
        """Begin an exchange; `started` is the loop time in seconds at which it was asked for, by default now."""
        self.parent: Parent | None = None
        self.own = False
        self.said: bytes | None = None
        self.placed: dict[str, str] = {}
        self.secrets: Mapping[str, str] = {}
        self.raw = raw
        self.head = head
        self.event = event
        self.decision = decision
        self.identity = identity
        self.ended: Callable[[], None] | None = None
        self.governed = self.collected = self.begun = self.closed = False
        self.up = self.down = self._held = 0
        self.budget: Budget | None = None
        self.dialect: Dialect | None = None
        self.line: str | None = None
        self.detail = ""
        self._judge = judge
        self._challenge, self._failed = challenge, False
        self._started = asyncio.get_running_loop().time() if started is None else started

    @property
    def request(self) -> Head:
        """The parsed head.

        Raises:
            RuntimeError: it was not understood, and nobody may act on it.
        """
        if self.head is None:
            raise RuntimeError("the request was not understood")
        return self.head

    @property
    def traced(self) -> dict[str, str]:
        """The field that tells the destination of the span of this request, if it is traced."""
        span = self.event.span
        return {} if span is None else {"traceparent": span.traceparent}

    @property
    def refused(self) -> bool:
        """Whether the client is not to have what it asked for."""
        return not self.event.verdict

    def refuse(self, reason: Reason, stage: Stage, status: int | None = None, rule: Rule | None = None) -> None:
        """Refuse for a reason outside the rules; the first refusal stands, and none after the response began."""
        if not (self.refused or self.begun or self.closed):
            refuse(self.event, reason, stage, rule)
            self.event.status = status

    def settled(self) -> str:
        """Return the id by which the client, the record and the log know a refusal."""
        self._judge.settle(self.event)
        return self.event.id

    def fail(self, reason: Reason, stage: Stage, detail: str) -> None:
        """Count a destination that failed, and refuse where that can still be told; `detail` says what broke.

        Of what was sent to a parent proxy, the parent is the hop that failed.
        """
        if self.parent is not None and reason in (Reason.UPSTREAM_FAILED, Reason.TIMEOUT):
            reason, detail = Reason.PARENT_FAILED, f"the parent proxy {self.parent}, or what it asked: {detail}"
        self._judge.metrics.upstream_failure(reason)
        if self.closed:  # its client has left meanwhile, and its event is told
            return
        self._failed = True
        self.event.detail = detail
        self.refuse(reason, stage)

    def begin(self, status: int) -> None:
        """Note that the destination's answer has come, with its status, and is on its way to the client."""
        self.begun, self.event.status = True, status
        waited = asyncio.get_running_loop().time() - self._started
        self._judge.metrics.first_byte_duration.observe(waited)
        if self.decision.vendor is not None:
            self._judge.metrics.vendor_answered(self.decision.vendor, status, waited)

    def answer(self) -> bytes:
        """Return the denial as it goes to the client."""
        if self.said is not None and not self.refused:
            return self.said
        if self.dialect is not None:
            return vendor_denial_of(self._judge, self.event, self.line, self.dialect, self.detail)
        return denial_of(self._judge, self.event, self.head, challenge=self._challenge)

    def hold(self, count: int) -> bool:
        """Charge bytes that are held back until the exchange closes; False where all exchanges hold too much."""
        if self.budget is None or self.closed or not self.budget.take(count):
            return False
        self._held += count
        return True

    def close(self) -> None:
        """Record the event; further calls do nothing."""
        if self.closed:
            return
        self.closed = True
        if self.budget is not None:
            self.budget.give(self._held)
        if self.own and not self.refused:
            return
        if self.decision.vendor is not None and not self.begun and (self._failed or self.event.reason in UNREACHED):
            self._judge.metrics.vendor_answered(self.decision.vendor, None, None)
        self.event.bytes_up, self.event.bytes_down = self.up, self.down
        if self.up or self.down:
            metrics = self._judge.metrics
            if self.up:
                metrics.bytes("up", Lane.INSPECT).inc(self.up)
            metrics.bytes("down", Lane.INSPECT).inc(self.down)
        close_event(self._judge, self.event, self._started)
        if self.ended is not None:
            self._tell(self.ended)

    def _tell(self, ended: Callable[[], None]) -> None:
        """Call who waits for the end; the event stands, whatever becomes of that."""
        try:
            ended()
        except Exception:  # noqa: BLE001 - whoever waits must not undo the record
            self._judge.metrics.internal_error("exchange_ended")
            _log.exception("the end of an exchange could not be told")

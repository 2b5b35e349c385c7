"""One inspected connection of a client: what it waits for, its deadlines, and its end.

Owns the promises that every wait has an end, and that an exception anywhere ends the connection. HTTP is `downstream`,
`transfer` and `upstream`; the other side's connections are `destinations`; policy is `hooks`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.ops.logs import about
from outward.proxy.answer import Linger
from outward.proxy.context import ConnectionContext
from outward.proxy.deadlines import Alarm
from outward.proxy.inspection.destinations import Destinations
from outward.proxy.inspection.downstream import Downstream
from outward.proxy.inspection.greeting import Greeting
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.inspection.peer import Peer
from outward.proxy.inspection.tls import HTTP2
from outward.proxy.parent import via_of

if TYPE_CHECKING:
    from outward.proxy.engine import Engine
    from outward.proxy.inspection.contexts import Contexts
    from outward.proxy.inspection.http2.downstream import Http2Downstream

_log = logging.getLogger(__name__)


class Pausable(Protocol):
    """Who may have to wait for an answer."""

    def pause(self) -> None:
        """Leave what comes until `resume`."""

    def resume(self) -> None:
        """Go on."""


class InspectedConnection:
    """An accepted connection in the inspect lane; it owns the client's peer.

    Attributes:
        client: the client's transport.
        downstream: the client's side of HTTP/1.
        serving: that of the HTTP which the client speaks.
        destinations: the other side's connections.
        over: done when nothing is left of it.
        touched: bytes have passed lately.
        flush: sends what has gathered.
    """

    def __init__(self, engine: "Engine", transport: asyncio.Transport, context: ConnectionContext) -> None:
        self.engine = engine
        self.judge = engine.parts.judge
        self.limits = engine.parts.limits
        self.hooks = Hooks(engine.parts, context)
        self.touched = False
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.client = Peer(self)
        self.downstream = Downstream(self)
        self.serving: Downstream | Http2Downstream = self.downstream
        self.flush = self._flush
        self._greeting = None if self.hooks.within is None else Greeting(self, context)
        self._transport = transport
        self._via = via_of(context.head.fields)
        self.destinations = Destinations(self, self._via)
        self._tasks: set[asyncio.Task[None]] = set()
        self._head = Alarm(partial(self.run, self._head_late))
        self._busy = self._gone = self._failed = self._expired = False

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to stop."""
        return self.engine.draining

    @property
    def over_with(self) -> bool:
        """Whether nothing more is done for it."""
        return self._gone or self._failed

    @property
    def contexts(self) -> "Contexts":
        """The TLS contexts in force."""
        return self.engine.contexts

    def start(self, head: bytes, rest: bytes) -> None:
        """Begin with what the gate has read; it has paused reading."""
        client = self.client
        client.hold("start")
        client.connection_made(self._transport)
        self._transport.set_protocol(client)
        self.engine.waits.idle.start(self)
        if self._greeting is not None:
            self.run(self._greeting.start)
        else:
            rest = head + rest
        if rest:
            self.received(rest)
        client.release("start")

    # The loop -------------------------------------------------------------------------------------------------------

    def run[**P](self, act: Callable[P, object], *args: P.args, **facts: P.kwargs) -> None:
        """Do something of this connection, and send what has come of it; whatever goes wrong ends the connection."""
        if self._busy:
            act(*args, **facts)
            return
        if self.over_with:
            return
        self._busy = True
        try:
            act(*args, **facts)
            self.flush()
        except Exception:  # noqa: BLE001 - fail closed
            self._crashed()
        finally:
            self._busy = False

    def _flush(self) -> None:
        self.client.flush()
        if (upstream := self.destinations.current) is not None:
            upstream.peer.flush()

    def now(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    def soon(self, act: Callable[[], object]) -> None:
        """Do something of this connection after what other connections have to do."""
        self._loop.call_soon(self.run, act)

    def _crashed(self) -> None:
        """Deny: something has failed, and nobody can tell the client."""
        ident = ""
        for exchange in self.serving.exchanges:
            exchange.refuse(Reason.INTERNAL_ERROR, Stage.REQUEST)
            ident = exchange.settled()
        _log.exception("the inspect lane failed: the connection is cut", extra=about(ident))
        self.judge.metrics.internal_error("engine")
        self._failed = True
        self.abort()

    def ask[*A, T](
        self,
        where: str,
        side: Pausable | None,
        then: Callable[[T | None], None],
        function: Callable[[*A], T | Awaitable[T]],
        *args: *A,
    ) -> None:
        """Ask a hook, and go on with its answer, at once if it is there; with None if it failed, which was counted.

        Args:
            where: by which a failure is counted.
            side: what it says meanwhile has to wait; None if nothing that it says could be about the same.
            then: goes on.
            function: the hook.
            args: for it.
        """
        answer: T | Awaitable[T] | None
        try:
            answer = function(*args)
        except Exception:  # noqa: BLE001 - fail closed: who goes on with None refuses
            self._unanswered(where)
            answer = None
        if hasattr(answer, "__await__"):
            if side is not None:
                side.pause()
            waited = cast("Awaitable[T]", answer)
            self.spawn(self._wait(where, waited, partial(self._answered, side, then)))
        else:
            then(answer)

    def _unanswered(self, where: str) -> None:
        self.judge.metrics.internal_error(where)
        _log.exception("%s failed: the request is refused", where)

    async def _wait[T](self, where: str, answer: Awaitable[T], then: Callable[[T | None], None]) -> None:
        """Wait for a hook, not for ever."""
        found: T | None = None
        try:
            async with asyncio.timeout(self.engine.hook_timeout):
                found = await answer
        except Exception:  # noqa: BLE001 - fail closed
            self._unanswered(where)
        self.run(then, found)

    def _answered[T](self, side: Pausable | None, then: Callable[[T | None], None], answer: T | None) -> None:
        then(answer)
        if side is not None:
            side.resume()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine until it ends, or the connection does."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the client's peer tells -----------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take what the client says."""
        if self._greeting is None:
            self.run(self.serving.received, data)
        else:
            self.touched = True
            self.run(self._greeting.received, data)

    def ended(self) -> None:
        """Take note that it says no more."""
        self.run(self.serving.ended if self._greeting is None else self._greeting.ended)

    def secured(self) -> None:
        """Go on to HTTP: the client has shaken hands."""
        if self._greeting is not None:
            self._greeting.shaken()
        self.greeted()
        if self.client.tls is not None and self.client.tls.protocol == HTTP2:
            self.run(self._speak_http2)

    def _speak_http2(self) -> None:
        from outward.proxy.inspection.http2.destination import SharedDestination  # noqa: PLC0415 - `greeting` loads it
        from outward.proxy.inspection.http2.downstream import Http2Downstream  # noqa: PLC0415

        self.destinations = destination = SharedDestination(self, self._via)
        self.serving = Http2Downstream(self, destination)
        self.flush = self.serving.flush
        if self.draining:
            self.serving.drain()

    def insecure(self, why: str) -> None:  # noqa: ARG002 - it was told by an alert
        """Give up: it could not."""
        if self._greeting is not None:
            self.run(self._greeting.failed)

    def greeted(self) -> None:
        """Speak HTTP from now on."""
        if self._greeting is not None:
            self._greeting.stop()
            self._greeting = None

    def congested(self) -> None:
        """Stop reading who sends to the client."""
        self.destinations.hold()

    def relieved(self) -> None:
        """Go on."""
        self.destinations.release()

    def lost(self) -> None:
        """End: nothing is left to do but to record."""
        self._end()

    # Deadlines ------------------------------------------------------------------------------------------------------

    def head_begun(self) -> None:
        """Start the deadline of a request head."""
        self.engine.waits.heads.start(self._head)

    def head_done(self) -> None:
        """Stop it."""
        self.engine.waits.heads.stop(self._head)

    def _head_late(self) -> None:
        self.serving.late(head=True)

    def expired(self) -> None:
        """Nothing has passed for the idle time: end what is under way, and cut what does not end then."""
        if self._expired:
            self.abort()
            return
        self._expired = True
        self.engine.waits.idle.start(self)
        self.run(self.serving.late, head=False)

    def trailers_dropped(self) -> None:
        """Count the trailers of a response."""
        self.judge.metrics.trailers_dropped("down")

    def trailers_dropped_up(self) -> None:
        """Count the trailers of a request."""
        self.judge.metrics.trailers_dropped("up")

    # Ends -----------------------------------------------------------------------------------------------------------

    def linger(self) -> None:
        """Close once the client has had time to read the answer, although it may still be sending."""
        transport = self.client.part()
        if transport is None:
            return
        if self.client.silent or transport.is_closing():
            transport.close()
        else:
            Linger(transport, self.engine.waits.lingering, self._end)

    def abandon(self) -> None:
        """Close so that the client cannot take what it has for the whole."""
        self.client.flush()
        self.client.abort()

    def finish(self) -> None:
        """Close now if nothing is under way; otherwise after the response."""
        self.run(self.serving.drain)

    def abort(self) -> None:
        """Cut everything."""
        self.client.abort()
        self.destinations.abort()

    def _end(self) -> None:
        """The client is gone."""
        if self._gone:
            return
        self._gone = True
        self.greeted()
        self.head_done()
        self.engine.waits.idle.stop(self)
        for task in self._tasks:
            task.cancel()
        self.destinations.abort()
        self.serving.close()
        self.hooks.unasked()
        if not self.over.done():
            self.over.set_result(None)

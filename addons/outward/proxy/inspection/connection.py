"""One inspected connection of a client: its handshake, its dials, its deadlines, and its end.

Owns the promises that every wait has an end, that every dial goes through our dialer, and that an exception anywhere
ends the connection. HTTP is `downstream`, `transfer` and `upstream`; policy is `hooks`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from outward.core.model import Mode, Stage
from outward.core.reasons import Reason
from outward.proxy.answer import Linger
from outward.proxy.dial import DialError
from outward.proxy.inspection.downstream import Downstream
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.greeting import Greeting
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.inspection.peer import Peer
from outward.proxy.inspection.pool import IDLE
from outward.proxy.inspection.upstream import Key, Upstream
from outward.proxy.parent import Parent, via_of
from outward.proxy.passport import Passport

if TYPE_CHECKING:
    from outward.proxy.engine import Engine
    from outward.proxy.inspection.contexts import Contexts

_log = logging.getLogger(__name__)

type Then = Callable[[Upstream | None], None]


class Side(Protocol):
    """Who may have to wait for an answer."""

    def pause(self) -> None:
        """Leave what comes until `resume`."""

    def resume(self) -> None:
        """Go on."""


class Alarm:
    """A deadline that nothing prolongs, whatever trickles in."""

    __slots__ = ("expired",)
    touched = False

    def __init__(self, expired: Callable[[], None]) -> None:
        self.expired = expired


class Connection:
    """An accepted connection in the inspect lane; it owns the client's peer.

    Attributes:
        client: the client's transport.
        downstream: the client's side of HTTP.
        over: done when nothing is left of it.
        touched: bytes have passed lately.
        exchange: the one under way, or the last one.
    """

    def __init__(self, engine: "Engine", transport: asyncio.Transport, passport: Passport) -> None:
        self.engine = engine
        self.judge = engine.parts.judge
        self.limits = engine.parts.limits
        self.hooks = Hooks(engine.parts, passport)
        self.exchange: Exchange | None = None
        self.touched = False
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.client = Peer(self)
        self.downstream = Downstream(self)
        self._greeting = None if self.hooks.within is None else Greeting(self, passport)
        self._transport = transport
        self._via = via_of(passport.head.fields)
        self._upstream: Upstream | None = None
        self._own: tuple[Upstream, float] | None = None  # logged in on, and since when it is idle
        self._tasks: set[asyncio.Task[None]] = set()
        self._head = Alarm(partial(self.run, self._head_late))
        self._alarm: Alarm | None = None  # of a destination's handshake
        self._client_reads = asyncio.Event()
        self._client_reads.set()
        self._busy = self._gone = self._failed = self._expired = False

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to stop."""
        return self.engine.draining

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
        if self._gone or self._failed:
            return
        self._busy = True
        try:
            act(*args, **facts)
            self.client.flush()
            if self._upstream is not None:
                self._upstream.peer.flush()
        except Exception:  # noqa: BLE001 - fail closed
            self._crashed()
        finally:
            self._busy = False

    def soon(self, act: Callable[[], object]) -> None:
        """Do something of this connection after what other connections have to do."""
        self._loop.call_soon(self.run, act)

    def _crashed(self) -> None:
        """Deny: something has failed, and nobody can tell the client."""
        _log.exception("the inspect lane failed: the connection is cut")
        self.judge.metrics.internal_error("engine")
        self._failed = True
        if self.exchange is not None:
            self.exchange.refuse(Reason.INTERNAL_ERROR, Stage.REQUEST)
        self.abort()

    def ask[*A, T](
        self,
        where: str,
        side: Side | None,
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
            self._spawn(self._wait(where, waited, partial(self._answered, side, then)))
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

    def _answered[T](self, side: Side | None, then: Callable[[T | None], None], answer: T | None) -> None:
        then(answer)
        if side is not None:
            side.resume()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the client's peer tells -----------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take what the client says."""
        self.touched = True
        if self._greeting is None:
            self.run(self.downstream.received, data)
        else:
            self.run(self._greeting.received, data)

    def ended(self) -> None:
        """Take note that it says no more."""
        self.run(self.downstream.ended if self._greeting is None else self._greeting.ended)

    def secured(self) -> None:
        """Go on to HTTP: the client has shaken hands."""
        self.greeted()

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
        """Stop reading the destination, and dial none: a new connection is read from the moment that it stands."""
        self._client_reads.clear()
        if self._upstream is not None:
            self._upstream.peer.hold(self)

    def relieved(self) -> None:
        """Go on."""
        self._client_reads.set()
        if self._upstream is not None:
            self._upstream.peer.release(self)

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
        self.downstream.late(head=True)

    def expired(self) -> None:
        """Nothing has passed for the idle time: end what is under way, and cut what does not end then."""
        if self._expired:
            self.abort()
            return
        self._expired = True
        self.engine.waits.idle.start(self)
        self.run(self.downstream.late, head=False)

    # Destinations ---------------------------------------------------------------------------------------------------

    def parent_fields(self, parent: Parent | None) -> list[bytes] | None:
        """Return the field lines that a request to a parent has beside the client's own; None without a parent."""
        return None if parent is None else parent.fields(self.engine.dialer.path(""))

    def connect(self, exchange: Exchange, then: Then, *, fresh: bool) -> None:
        """Find a connection for a request, and go on with it; with None if there is none, and the request is refused.

        Args:
            exchange: judged, and allowed.
            then: goes on.
            fresh: make a new one, even if there is one that was used before.
        """
        key = self._key(exchange)
        upstream = None if fresh else self._kept(exchange, key)
        if upstream is not None:
            self._upstream = upstream
            upstream.attach(self)
            if not self._client_reads.is_set():
                upstream.peer.hold(self)
            then(upstream)
            return
        self.client.hold("dial")
        self._spawn(self._open(exchange, key, then))

    def _key(self, exchange: Exchange) -> Key:
        """Return whom a connection for a request may serve: this client, at this destination, on this way."""
        identity, head = exchange.identity, exchange.request
        who = () if identity is None else (identity.group, identity.credential, identity.client)
        contexts = self.contexts if self.hooks.sealed else None
        placed = frozenset(exchange.placed.items()) if exchange.placed else None
        parent = self._parent(exchange)
        way = () if parent is None else (parent, self._forwards(exchange), self._via)
        return (*who, head.host.name, head.port, contexts, placed, *way)

    def _forwards(self, exchange: Exchange) -> bool:
        """Tell whether a parent proxy gets a request in absolute form."""
        return self._parent(exchange) is not None and not (self.hooks.sealed or exchange.request.websocket)

    def _parent(self, exchange: Exchange) -> Parent | None:
        return self.engine.dialer.parent_of(exchange.request.host, exchange.request.port)

    def _kept(self, exchange: Exchange, key: Key) -> Upstream | None:
        """Return a connection that was used before, whose address the policy in force still allows."""
        own = self._own
        if own is not None:
            self._own = None
            if own[0].key == key and self._loop.time() - own[1] < IDLE:
                return own[0] if self._reaches(exchange, own[0]) else None
            own[0].close()
        while (upstream := self.engine.pool.take(key)) is not None:
            if self._reaches(exchange, upstream):
                return upstream
        return None

    def _reaches(self, exchange: Exchange, upstream: Upstream) -> bool:
        """Tell whether a connection still stands, and may carry a request; one that may not is closed."""
        address, judge = upstream.address, self.judge
        if upstream.peer.closing:
            upstream.close()
            return False
        if address is None:  # a parent proxy resolves
            return True
        decision, policy, own = exchange.decision, judge.policy, judge.own
        grounds = upstream.grounds
        if grounds is not None and grounds[0] is policy and grounds[1] is own and grounds[2] is decision:
            exchange.event.address = upstream.named
            return True
        reason, _ = judge.address(address, exchange.request.port, decision)
        if reason is not None:
            upstream.close()
            return False
        judge.reached(exchange.event, decision, address)
        if decision.mode is Mode.ENFORCE:  # else the event tells of more than the address
            upstream.grounds, upstream.named = (policy, own, decision), str(address)
        return True

    async def _open(self, exchange: Exchange, key: Key, then: Then) -> None:
        """Dial the judged host, and shake hands with it."""
        await self._client_reads.wait()
        upstream = Upstream(self, key)
        try:
            async with asyncio.timeout(self.limits.resolve_timeout + self.limits.connect_timeout):
                await self._dial(upstream, exchange)
        except DialError as failure:
            exchange.event.address = str(failure.address) if failure.address is not None else None
            exchange.event.detail = str(failure)
            exchange.refuse(failure.reason, Stage.ADDRESS, rule=failure.rule)
        except TimeoutError:
            exchange.fail(Reason.TIMEOUT, Stage.ADDRESS, "the destination did not accept in time")
        except Exception:  # noqa: BLE001 - fail closed
            self.judge.metrics.internal_error("dial")
            _log.exception("the dial failed: the request is refused")
            exchange.refuse(Reason.INTERNAL_ERROR, Stage.ADDRESS)
        except BaseException:
            upstream.abort()
            raise
        else:
            if self._gone or self._failed:
                upstream.abort()
            self.run(self._dialled, upstream, exchange, then)
            return
        upstream.abort()
        self.run(self._refused, then)

    async def _dial(self, upstream: Upstream, exchange: Exchange) -> None:
        head, dialer = exchange.request, self.engine.dialer
        parent = self._parent(exchange)
        if parent is not None and self._forwards(exchange):
            upstream.parent = parent
            await dialer.forward(parent, head.host, head.port, lambda: upstream.peer, exchange.decision)
            address = head.host.address
        else:
            _, _, address = await dialer.connect(
                head.host, head.port, lambda: upstream.peer, exchange.decision, self._via
            )
        upstream.address = address
        self.judge.reached(exchange.event, exchange.decision, address)

    def _refused(self, then: Then) -> None:
        self.client.release("dial")
        then(None)

    def _dialled(self, upstream: Upstream, exchange: Exchange, then: Then) -> None:
        """Shake hands; what the client sends has nowhere to go until then."""
        self._upstream = upstream
        if not self.hooks.sealed:
            self.client.release("dial")
            then(None if upstream.gone else upstream)
            return
        self._alarm = Alarm(partial(self.run, self._slow, upstream, exchange))
        self.engine.waits.handshakes.start(self._alarm)
        upstream.greet(self.contexts, exchange.request.host, partial(self._secure, upstream, exchange, then))

    def _calm(self) -> None:
        """Stop the deadline of a destination's handshake."""
        if self._alarm is not None:
            self.engine.waits.handshakes.stop(self._alarm)
            self._alarm = None

    def _secure(self, upstream: Upstream, exchange: Exchange, then: Then, why: str | None) -> None:
        """Go on with a destination that is who it should be; a certificate that is not sees no byte of a request."""
        self._calm()
        self.client.release("dial")
        if why is not None and not exchange.refused:
            exchange.fail(Reason.UPSTREAM_FAILED, Stage.TLS, f"TLS with the destination: {why}")
        if why is not None:
            upstream.close()
        then(None if upstream.gone else upstream)

    def _slow(self, upstream: Upstream, exchange: Exchange) -> None:
        """Give up a destination that does not finish its handshake."""
        exchange.fail(Reason.TIMEOUT, Stage.TLS, "TLS with the destination took too long")
        upstream.insecure("it took too long")

    def give_back(self, upstream: Upstream) -> None:
        """Keep a connection for the next request: for anybody's of this client, unless somebody has logged in on it."""
        self._upstream = None
        if upstream.bound:
            self._own = (upstream, self._loop.time())
            upstream.peer.release(self)
        elif self.engine.draining:
            upstream.close()
        else:
            upstream.peer.flush()
            upstream.detach()
            self.engine.pool.keep(upstream)

    def parted(self, upstream: Upstream) -> None:
        """Forget a connection that serves somebody else, or is closed."""
        if self._upstream is upstream:
            self._upstream = None
        if self._own is not None and self._own[0] is upstream:
            self._own = None

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
        if self.exchange is None or self.exchange.closed:
            self.expired()

    def abort(self) -> None:
        """Cut everything."""
        self.client.abort()
        for upstream in self._upstreams():
            upstream.abort()

    def _upstreams(self) -> list[Upstream]:
        own = None if self._own is None else self._own[0]
        return [each for each in (self._upstream, own) if each is not None]

    def _end(self) -> None:
        """The client is gone."""
        if self._gone:
            return
        self._gone = True
        self.greeted()
        self.head_done()
        self._calm()
        self.engine.waits.idle.stop(self)
        for task in self._tasks:
            task.cancel()
        for upstream in self._upstreams():
            upstream.abort()
        if self.exchange is not None:
            self.exchange.close()
        self.hooks.unasked()
        if not self.over.done():
            self.over.set_result(None)

"""The ways of one client's connection to its destinations: connections that were kept, and new ones.

Owns three promises. Every dial goes through our dialer. Nobody gets a connection that is not theirs. A destination that
is not who it should be sees no byte of a request.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from outward.core.model import Mode, Stage
from outward.core.reasons import Reason
from outward.ops.logs import about
from outward.proxy.deadlines import Alarm
from outward.proxy.dial import DialError
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.opening import Key, OpenedConnection
from outward.proxy.inspection.pool import IDLE
from outward.proxy.inspection.upstream import Upstream
from outward.proxy.parent import Parent
from outward.records.sending.spans import TRACED

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import InspectedConnection

_log = logging.getLogger(__name__)

type Then = Callable[[Upstream | None], None]


class Destinations:
    """Finds connections for the requests of one client's connection.

    Attributes:
        current: the one whose request is under way, or that is being opened; None if there is none.
    """

    def __init__(self, session: "InspectedConnection", via: str) -> None:
        """Begin; `via` are the proxies that the client's first request came through."""
        self._session = session
        self._via = via
        self._loop = asyncio.get_running_loop()
        self.current: OpenedConnection | None = None
        self._own: tuple[Upstream, float] | None = None  # logged in on, and since when it is idle
        self._alone: Upstream | None = None  # in the pool, for this tunnel's next request
        self._alarm: Alarm | None = None  # of a handshake
        self._greeted = 0.0  # when it began, in loop time
        self._client_reads = asyncio.Event()
        self._client_reads.set()

    def hold(self) -> None:
        """Stop reading the destination, and dial none: a new connection is read from the moment that it stands."""
        self._client_reads.clear()
        if self.current is not None:
            self.current.peer.hold(self._session)

    def release(self) -> None:
        """Go on."""
        self._client_reads.set()
        if self.current is not None:
            self.current.peer.release(self._session)

    def abort(self) -> None:
        """Cut all that there is."""
        self._calm()
        for upstream in (self.current, None if self._own is None else self._own[0]):
            if upstream is not None:
                upstream.abort()
        if self._alone is not None and self._alone.pool is not None:
            self._alone.close()

    def parent_fields(self, parent: Parent | None) -> list[bytes] | None:
        """Return the field lines that a request to a parent has beside the client's own; None without a parent."""
        return None if parent is None else parent.fields(self._session.engine.dialer.path(""))

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
            self.current = upstream
            upstream.attach(self._session)
            if not self._client_reads.is_set():
                upstream.peer.hold(self._session)
            then(upstream)
            return
        self._session.client.hold("dial")
        self._session.spawn(self._open(exchange, key, then))

    def _key(self, exchange: Exchange) -> Key:
        """Return whom a connection for a request may serve: this client, at this destination, on this way.

        Over TLS it serves this tunnel, unless tunnels may share: another one's handshake was another moment's.
        """
        identity, head = exchange.identity, exchange.request
        who = () if identity is None else (identity.group, identity.credential, identity.client)
        contexts = self._session.contexts if self._session.hooks.sealed else None
        placed = self._placed(exchange)
        parent = self._parent(exchange)
        way = () if parent is None else (parent, self._forwards(exchange), self._via)
        return (*who, head.host.name, head.port, contexts, placed, self if self._unshared else None, *way)

    def _placed(self, exchange: Exchange) -> object:
        """Return the secrets that are set on a request, as far as they part connections."""
        return frozenset(exchange.placed.items()) if exchange.placed else None

    @property
    def _unshared(self) -> bool:
        return self._session.hooks.sealed and not self._session.limits.shared_tls

    def _forwards(self, exchange: Exchange) -> bool:
        """Tell whether a parent proxy gets a request in absolute form."""
        return self._parent(exchange) is not None and not (self._session.hooks.sealed or exchange.request.websocket)

    def _parent(self, exchange: Exchange) -> Parent | None:
        dialer = self._session.engine.dialer
        if dialer.parent is None:
            return None
        return dialer.parent_of(exchange.request.host, exchange.request.port)

    def _kept(self, exchange: Exchange, key: Key) -> Upstream | None:
        """Return a connection that was used before, whose address the policy in force still allows."""
        own = self._own
        if own is not None:
            self._own = None
            if own[0].key == key and self._loop.time() - own[1] < IDLE:
                return own[0] if self._reaches(exchange, own[0]) else None
            own[0].close()
        while (upstream := self._session.engine.pool.take(key)) is not None:
            if self._reaches(exchange, upstream):
                return upstream
        return None

    def _reaches(self, exchange: Exchange, upstream: Upstream) -> bool:
        """Tell whether a connection still stands, and may carry a request; one that may not is closed."""
        holds = self._holds(exchange, upstream)
        if not holds:
            upstream.close()
        return holds

    def _holds(self, exchange: Exchange, upstream: OpenedConnection) -> bool:
        """Tell whether a connection still stands, at an address that the policy in force still allows."""
        address, judge = upstream.address, self._session.judge
        if upstream.peer.closing:
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
            return False
        judge.reached(exchange.event, decision, address)
        if decision.mode is Mode.ENFORCE:  # else the event tells of more than the address
            upstream.grounds, upstream.named = (policy, own, decision), str(address)
        return True

    def make(self, key: Key) -> OpenedConnection:
        """Return a connection that is to be opened."""
        return Upstream(self._session, key)

    async def _open(self, exchange: Exchange, key: Key, then: Callable[[Any], None]) -> None:
        """Dial the judged host, and shake hands with it."""
        await self._client_reads.wait()
        TRACED.set(exchange.event.span)
        upstream = self.make(key)
        try:
            async with asyncio.timeout(self._session.limits.resolve_timeout + self._session.limits.connect_timeout):
                await self._dial(upstream, exchange)
        except DialError as failure:
            if not exchange.closed:
                exchange.event.address = str(failure.address) if failure.address is not None else None
                exchange.event.detail = str(failure)
                exchange.refuse(failure.reason, Stage.ADDRESS, rule=failure.rule)
        except TimeoutError:
            exchange.fail(Reason.TIMEOUT, Stage.ADDRESS, "the destination did not accept in time")
        except Exception:  # noqa: BLE001 - fail closed
            self._session.judge.metrics.internal_error("dial")
            exchange.refuse(Reason.INTERNAL_ERROR, Stage.ADDRESS)
            _log.exception("the dial failed: the request is refused", extra=about(exchange.settled()))
        except BaseException:
            upstream.abort()
            raise
        else:
            if self._session.over_with:
                upstream.abort()
            self._session.run(self._dialled, upstream, exchange, then)
            return
        upstream.abort()
        self._session.run(self._refused, then)

    async def _dial(self, upstream: OpenedConnection, exchange: Exchange) -> None:
        head, dialer = exchange.request, self._session.engine.dialer
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
        if not exchange.closed:
            self._session.judge.reached(exchange.event, exchange.decision, address)

    def _refused(self, then: Callable[[Any], None]) -> None:
        self._session.client.release("dial")
        then(None)

    def _dialled(self, upstream: OpenedConnection, exchange: Exchange, then: Callable[[Any], None]) -> None:
        """Shake hands; what the client sends has nowhere to go until then."""
        self.current = upstream
        if not self._session.hooks.sealed:
            self._session.client.release("dial")
            then(None if upstream.gone else upstream)
            return
        self._greeted = self._loop.time()
        self._alarm = Alarm(partial(self._session.run, self._slow, upstream, exchange))
        self._session.engine.waits.handshakes.start(self._alarm)
        upstream.greet(self._session.contexts, exchange.request.host, partial(self._secure, upstream, exchange, then))

    def _calm(self) -> None:
        """Stop the deadline of a destination's handshake."""
        if self._alarm is not None:
            self._session.engine.waits.handshakes.stop(self._alarm)
            self._alarm = None

    def _secure(
        self, upstream: OpenedConnection, exchange: Exchange, then: Callable[[Any], None], why: str | None
    ) -> None:
        """Go on with a destination that is who it should be; a certificate that is not sees no byte of a request."""
        self._calm()
        self._session.client.release("dial")
        if why is not None and not exchange.refused:
            exchange.fail(Reason.UPSTREAM_FAILED, Stage.TLS, f"TLS with the destination: {why}")
        if why is None:
            took = self._loop.time() - self._greeted
            self._session.judge.metrics.tls_duration.labels("destination").observe(took)
            if exchange.event.span is not None and not exchange.closed:
                exchange.event.span.stage("tls", took)
        else:
            upstream.close()
        then(None if upstream.gone else upstream)

    def _slow(self, upstream: OpenedConnection, exchange: Exchange) -> None:
        """Give up a destination that does not finish its handshake."""
        exchange.fail(Reason.TIMEOUT, Stage.TLS, "TLS with the destination took too long")
        upstream.insecure("it took too long")

    def freed(self) -> None:
        """Take note that a destination has room for another request; here each connection carries one at a time."""

    def give_back(self, upstream: Upstream) -> None:
        """Keep a connection for the next request; for this client's connection alone, if it has logged in on it."""
        self.current = None
        if upstream.bound:
            self._own = (upstream, self._loop.time())
            upstream.peer.release(self._session)
        elif self._session.engine.draining:
            upstream.close()
        else:
            upstream.peer.flush()
            upstream.detach()
            self._session.engine.pool.keep(upstream)
            self._alone = upstream if self._unshared else None

    def parted(self, upstream: OpenedConnection) -> None:
        """Forget a connection that serves somebody else, or is closed."""
        if self.current is upstream:
            self.current = None
        if self._own is not None and self._own[0] is upstream:
            self._own = None

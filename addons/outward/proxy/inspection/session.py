"""One inspected connection: its transports, its deadlines, and the loop that drives the engine's layers.

Replaces mitmproxy's ConnectionHandler: that resolves and dials by itself, has no connect or handshake timeout, stops
both directions when one is slow, and pays a task for every hook. Here every dial goes through our dialer, each side is
read only as fast as the other is written, and an exception anywhere ends the connection.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers.http import HTTPMode

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.proxy.answer import Linger
from outward.proxy.dial import DialError
from outward.proxy.head import Head
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.guard import Wait
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.inspection.leg import Leg
from outward.proxy.inspection.options import OPTIONS
from outward.proxy.inspection.signals import CloseAbruptly, CloseLingering, Late
from outward.proxy.inspection.strict import ClientTls, Inspect
from outward.proxy.passport import Passport
from outward.proxy.tunnel import ESTABLISHED

if TYPE_CHECKING:
    from outward.proxy.engine import Engine

_log = logging.getLogger(__name__)


class _HeadDeadline:
    """The deadline of a request head: nothing that trickles in prolongs it."""

    touched = False

    def __init__(self, session: "Session") -> None:
        self._session = session

    def expired(self) -> None:
        self._session.feed(Late(head=True))


class _HandshakeDeadline:
    """The deadline of the client's handshake."""

    touched = False

    def __init__(self, session: "Session") -> None:
        self._session = session

    def expired(self) -> None:
        self._session.hooks.broken(Reason.TIMEOUT, Stage.TLS).close()
        self._session.abort()


class Session:
    """An accepted connection in the inspect lane, and its upstream legs.

    Attributes:
        ended: done when nothing is left of it.
        touched: bytes have passed lately.
        exchange: the one under way, or the last one.
    """

    def __init__(self, engine: "Engine", transport: asyncio.Transport, passport: Passport) -> None:
        self.engine = engine
        self.judge = engine.parts.judge
        self.limits = engine.parts.limits
        self.contexts = engine.contexts
        self.hooks = Hooks(engine.parts, passport)
        self.exchange: Exchange | None = None
        self.touched = False
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: deque[events.Event] = deque()
        self._busy = self._gone = False
        self._head_deadline = _HeadDeadline(self)
        self._handshake_deadline = _HandshakeDeadline(self)
        client = Client(
            peername=transport.get_extra_info("peername"),
            sockname=transport.get_extra_info("sockname"),
            state=ConnectionState.OPEN,
            timestamp_start=time.time(),
        )
        context = Context(client, OPTIONS)
        self._client = Leg(self, client)
        self._client.connection_made(transport)
        self._transport = transport
        self._legs: dict[Connection, Leg] = {client: self._client}
        self._layer: Layer = (
            Inspect(context, self, HTTPMode.regular) if self.hooks.within is None else ClientTls(context, self)
        )

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to stop."""
        return self.engine.draining

    def start(self, head: bytes, rest: bytes) -> None:
        """Begin with what the gate has read; it has paused reading."""
        self._client.held.add("gate")
        self.engine.idle.start(self)
        self._transport.set_protocol(self._client)
        self.feed(events.Start())
        if self.hooks.within is not None:
            self._transport.write(ESTABLISHED)
            self.engine.handshakes.start(self._handshake_deadline)
        else:
            rest = head + rest
        if rest:
            self.feed(events.DataReceived(self._client.connection, rest))
        self.release("gate")

    # What the layers ask for ----------------------------------------------------------------------------------------

    def hold(self, why: str) -> None:
        """Stop reading the client, until `release`."""
        self._client.hold(why)

    def release(self, why: str) -> None:
        """Go on reading the client."""
        self._client.release(why)

    def head_begun(self) -> None:
        """Start the deadline of a request head."""
        self.engine.heads.start(self._head_deadline)

    def head_done(self) -> None:
        """Stop it."""
        self.engine.heads.stop(self._head_deadline)

    def shaken(self) -> None:
        """Stop the deadline of the handshake."""
        self.engine.handshakes.stop(self._handshake_deadline)

    # The loop -------------------------------------------------------------------------------------------------------

    def feed(self, event: events.Event) -> None:
        """Give the layers an event, and do what they command, until they rest."""
        if self._gone:
            return
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                for command in self._layer.handle_event(self._queue.popleft()):
                    self._obey(command)
        except Exception:  # noqa: BLE001 - fail closed
            _log.exception("the engine failed: the connection is cut")
            self._crashed()
        finally:
            self._busy = False
        self._flush()

    def _obey(self, command: commands.Command) -> None:
        if isinstance(command, commands.SendData):
            leg = self._legs.get(command.connection)
            if leg is not None:
                leg.out.append(command.data)
        elif isinstance(command, commands.CloseConnection):
            command.connection.state = ConnectionState.CLOSED
            leg = self._legs.get(command.connection)
            if leg is not None and leg.closing is None:
                leg.closing = type(command)
        elif isinstance(command, commands.OpenConnection):
            self.hold("dial")
            self._spawn(self._open(command))
        elif isinstance(command, Wait):
            self.hold("hook")
            self._spawn(self._wait(command))
        elif not isinstance(command, commands.Log):
            raise TypeError(f"the engine has no business with {command!r}")

    def _flush(self) -> None:
        """Write what has gathered, and close what is to be closed."""
        for leg in list(self._legs.values()):
            transport = leg.transport
            if transport is None:
                continue
            if leg.out and not transport.is_closing():
                transport.writelines(leg.out)
            leg.out = []
            if leg.closing is not None:
                self._close(leg, transport)

    def _close(self, leg: Leg, transport: asyncio.Transport) -> None:
        del self._legs[leg.connection]
        if leg is not self._client:
            self._client.release(f"congested {id(leg)}")
            transport.close()
        elif leg.closing is CloseLingering and not transport.is_closing():
            Linger(transport, self.engine.lingering, self._end)
        elif leg.closing is CloseAbruptly:
            transport.abort()
        else:
            transport.close()

    def _crashed(self) -> None:
        """Deny: the layers have failed, and nobody can tell the client."""
        self.judge.metrics.internal_error("engine")
        if self.exchange is not None:
            self.exchange.refuse(Reason.INTERNAL_ERROR, Stage.REQUEST)
        self.abort()

    # Waiting --------------------------------------------------------------------------------------------------------

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(self, command: Wait) -> None:
        """Wait for a hook, not for ever."""
        answer: tuple[Any] | None = None
        try:
            async with asyncio.timeout(self.engine.hook_timeout):
                answer = (await command.answer,)
        except Exception:  # noqa: BLE001 - fail closed
            self.judge.metrics.internal_error(command.where)
            _log.exception("%s failed: the request is refused", command.where)
        self.release("hook")
        self.feed(events.HookCompleted(command, cast("None", answer)))

    async def _open(self, command: commands.OpenConnection) -> None:
        """Dial the judged host; never anything else, and never by the engine's own means."""
        exchange = self.exchange
        if exchange is None or exchange.head is None:
            raise RuntimeError("the engine would dial before anything was asked")
        error: str | None = "not connected"
        try:
            async with asyncio.timeout(self.limits.resolve_timeout + self.limits.connect_timeout):
                await self._dial(command.connection, exchange, exchange.head)
            error = None
        except DialError as failure:
            exchange.event.address = str(failure.address) if failure.address is not None else None
            exchange.refuse(failure.reason, failure.stage)
        except TimeoutError:
            exchange.fail(Reason.TIMEOUT, Stage.ADDRESS)
        except Exception:  # noqa: BLE001 - fail closed
            self.judge.metrics.internal_error("dial")
            _log.exception("the dial failed: the request is refused")
            exchange.refuse(Reason.INTERNAL_ERROR, Stage.ADDRESS)
        self.release("dial")
        self.feed(events.OpenConnectionCompleted(command, error))

    async def _dial(self, server: Server, exchange: Exchange, head: Head) -> None:
        leg = Leg(self, server)
        if server.address != (head.host.name, head.port):
            raise RuntimeError("the engine would dial what was not judged")
        server.timestamp_start = time.time()
        _, _, address = await self.engine.dialer.connect(head.host, head.port, lambda: leg)
        server.state = ConnectionState.OPEN
        self._legs[server] = leg
        exchange.event.address = str(address) if address is not None else None

    # What the transports say ----------------------------------------------------------------------------------------

    def left(self, leg: Leg) -> None:
        """A peer has sent all that it had."""
        leg.connection.state &= ~ConnectionState.CAN_READ
        self.feed(events.ConnectionClosed(leg.connection))

    def lost(self, leg: Leg) -> None:
        """A connection is gone."""
        if leg.connection.state & ConnectionState.CAN_READ:
            leg.connection.state = ConnectionState.CLOSED
            self.feed(events.ConnectionClosed(leg.connection))
        leg.connection.state = ConnectionState.CLOSED
        self._legs.pop(leg.connection, None)
        if leg is self._client:
            self._end()
        else:
            self._client.release(f"congested {id(leg)}")

    def congested(self, leg: Leg) -> None:
        """A peer reads slowly: stop reading what goes there."""
        if leg is not self._client:
            self._client.hold(f"congested {id(leg)}")
            return
        for other in self._legs.values():
            if other is not leg:
                other.hold("congested")

    def relieved(self, leg: Leg) -> None:
        """It reads again."""
        if leg is not self._client:
            self._client.release(f"congested {id(leg)}")
            return
        for other in self._legs.values():
            if other is not leg:
                other.release("congested")

    # Ends -----------------------------------------------------------------------------------------------------------

    def expired(self) -> None:
        """Nothing has passed for the idle time."""
        self.feed(Late(head=False))
        if not self._gone and self._client.connection in self._legs:
            self.abort()

    def finish(self) -> None:
        """Close now if nothing is under way; otherwise after the response."""
        if self.exchange is None or self.exchange.closed:
            self.expired()

    def abort(self) -> None:
        """Cut everything."""
        for leg in [self._client, *self._legs.values()]:
            if leg.transport is not None:
                leg.transport.abort()

    def _end(self) -> None:
        """The client is gone: nothing is left to do but to record."""
        if self._gone:
            return
        self._gone = True
        self.shaken()
        self.head_done()
        self.engine.idle.stop(self)
        for leg in self._legs.values():
            if leg.transport is not None:
                leg.transport.abort()
        for task in self._tasks:
            task.cancel()
        if self.exchange is not None:
            self.exchange.close()
        self.hooks.unasked()
        if not self.ended.done():
            self.ended.set_result(None)

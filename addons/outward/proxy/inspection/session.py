"""One inspected connection: its dials, its deadlines, and the loop that drives the engine's layers.

Replaces mitmproxy's ConnectionHandler, which resolves and dials by itself, has no connect or handshake timeout, and
pays a task for every hook. Here every dial goes through our dialer, every wait has an end, and an exception anywhere
ends the connection.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers.http import HTTPMode

from outward.core.addresses import Address
from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.proxy.dial import DialError
from outward.proxy.head import Head
from outward.proxy.headreader import begins_request
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.guard import Wait
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.inspection.legs import Legs
from outward.proxy.inspection.options import OPTIONS
from outward.proxy.inspection.signals import Late
from outward.proxy.inspection.strict import ClientTls, Inspect
from outward.proxy.parent import Parent, via_of
from outward.proxy.passport import Passport
from outward.proxy.tunnel import ESTABLISHED

if TYPE_CHECKING:
    from outward.proxy.engine import Engine

_log = logging.getLogger(__name__)


class _Alarm:
    """A deadline that nothing prolongs, whatever trickles in."""

    touched = False

    def __init__(self, expired: Callable[[], None]) -> None:
        self.expired = expired


class Session:
    """An accepted connection in the inspect lane, and its upstream legs.

    Attributes:
        over: done when nothing is left of it.
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
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: deque[events.Event] = deque()
        self._reached: Address | None = None
        self._busy = self._gone = self._expired = False
        self._head = _Alarm(lambda: self.feed(Late(head=True)))
        self._handshake = _Alarm(self._handshake_late)
        self._greetings: dict[Connection, _Alarm] = {}
        client = Client(
            peername=transport.get_extra_info("peername"),
            sockname=transport.get_extra_info("sockname"),
            state=ConnectionState.OPEN,
            timestamp_start=time.time(),
        )
        context = Context(client, OPTIONS)
        self._legs = Legs(self, client, engine.waits.lingering, self._end)
        self._transport = transport
        self._via = via_of(passport.head.fields)
        self._greeting = ESTABLISHED if passport.original is None and not passport.clear else b""
        self._context = context
        self._first: bytearray | None = bytearray() if self.hooks.within is not None else None
        self._layer: Layer = (
            Inspect(context, self, HTTPMode.regular) if self.hooks.within is None else ClientTls(context, self)
        )

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to stop."""
        return self.engine.draining

    def start(self, head: bytes, rest: bytes) -> None:
        """Begin with what the gate has read; it has paused reading."""
        client = self._legs.client
        client.hold("start")
        client.connection_made(self._transport)
        self._transport.set_protocol(client)
        self.engine.waits.idle.start(self)
        self.feed(events.Start())
        if self.hooks.within is not None:
            self._transport.write(self._greeting)
            self.engine.waits.handshakes.start(self._handshake)
        else:
            rest = head + rest
        if rest:
            self.feed(events.DataReceived(client.connection, rest))
        client.release("start")

    # What the layers ask for ----------------------------------------------------------------------------------------

    def hold(self, why: object) -> None:
        """Stop reading the client, until `release`."""
        self._legs.client.hold(why)

    def release(self, why: object) -> None:
        """Go on reading the client."""
        self._legs.client.release(why)

    def head_begun(self) -> None:
        """Start the deadline of a request head."""
        self.engine.waits.heads.start(self._head)

    def head_done(self) -> None:
        """Stop it."""
        self.engine.waits.heads.stop(self._head)

    def shaken(self) -> None:
        """Stop the deadline of the handshake."""
        self.engine.waits.handshakes.stop(self._handshake)

    def greeting(self, connection: Connection) -> None:
        """Start the deadline of a destination's handshake; until its end, what the client sends has nowhere to go."""
        self.hold(connection)
        alarm = self._greetings[connection] = _Alarm(lambda: self._unanswered(connection))
        self.engine.waits.handshakes.start(alarm)

    def greeted(self, connection: Connection) -> None:
        """Stop it."""
        self.release(connection)
        alarm = self._greetings.pop(connection, None)
        if alarm is not None:
            self.engine.waits.handshakes.stop(alarm)

    def reaches(self) -> bool:
        """Tell whether the request under way may use the address that the last one was sent to."""
        exchange, address = self.exchange, self._reached
        if exchange is None or address is None:  # a parent proxy resolves
            return exchange is not None
        reason, _ = self.judge.address(address, exchange.request.port, exchange.decision)
        if reason is None:
            self.judge.reached(exchange.event, exchange.decision, address)
        return reason is None

    # The loop -------------------------------------------------------------------------------------------------------

    def feed(self, event: events.Event) -> None:
        """Give the layers an event, and do what they command, until they rest."""
        if self._gone or not self._known(event):
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
            self._crashed()
        finally:
            self._busy = False
        self._legs.rest()

    def _known(self, event: events.Event) -> bool:
        """Find out from what the client says first whether TLS or plain HTTP comes; False while that is open."""
        if self._first is None or not isinstance(event, events.DataReceived):
            return True
        self._first += event.data
        clear = begins_request(self._first)
        if clear is None:
            return False
        event.data, self._first = bytes(self._first), None
        if clear:
            self.shaken()
            self.hooks.unseal()
            self._layer = Inspect(self._context, self, HTTPMode.transparent)
            self.feed(events.Start())
        return True

    def _obey(self, command: commands.Command) -> None:
        if isinstance(command, commands.SendData):
            self._legs.send(command.connection, command.data)
        elif isinstance(command, commands.CloseConnection):
            self._legs.close(command.connection, type(command))
        elif isinstance(command, commands.OpenConnection):
            self.hold("dial")
            self._spawn(self._open(command))
        elif isinstance(command, Wait):
            self._legs.hold(command.about or self._legs.client.connection, "hook")
            self._spawn(self._wait(command))
        elif not isinstance(command, commands.Log):
            raise TypeError(f"the engine has no business with {command!r}")

    def _crashed(self) -> None:
        """Deny: the layers have failed, and nobody can tell the client."""
        _log.exception("the engine failed: the connection is cut")
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
        self._legs.release(command.about or self._legs.client.connection, "hook")
        self.feed(events.HookCompleted(command, cast("None", answer)))

    async def _open(self, command: commands.OpenConnection) -> None:
        """Dial the judged host; never anything else, and never by the engine's own means."""
        exchange = self.exchange
        error: str | None = "not connected"
        if exchange is not None:
            await self._legs.client_reads.wait()
            error = await self._dialled(command.connection, exchange)
        self.release("dial")
        self.feed(events.OpenConnectionCompleted(command, error))

    async def _dialled(self, server: Server, exchange: Exchange) -> str | None:
        """Return why there is no connection; the exchange then is refused for it."""
        try:
            async with asyncio.timeout(self.limits.resolve_timeout + self.limits.connect_timeout):
                await self._dial(server, exchange, exchange.request)
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
        else:
            return None
        return "not connected"

    async def _dial(self, server: Server, exchange: Exchange, head: Head) -> None:
        if server.address != (head.host.name, head.port):
            raise RuntimeError("the engine would dial what was not judged")
        leg = self._legs.dialled(server)
        server.timestamp_start = time.time()
        dialer = self.engine.dialer
        if dialer.parent is not None and not self.hooks.sealed and not head.websocket:
            leg.parent = dialer.parent
            await dialer.forward(leg.parent, head.host, head.port, lambda: leg, exchange.decision)
            address = head.host.address
        else:
            _, _, address = await dialer.connect(head.host, head.port, lambda: leg, exchange.decision, self._via)
        server.state = ConnectionState.OPEN
        self._reached = address
        self.judge.reached(exchange.event, exchange.decision, address)

    def parent_of(self, connection: Connection) -> Parent | None:
        """Return the parent proxy that takes requests in absolute form on a connection, or None."""
        return self._legs.parent_of(connection)

    def parent_fields(self, parent: Parent | None) -> list[bytes] | None:
        """Return the field lines that a request to a parent has beside the client's own; None without a parent."""
        return None if parent is None else parent.fields(self.engine.dialer.path(""))

    # Deadlines ------------------------------------------------------------------------------------------------------

    def _handshake_late(self) -> None:
        """Give up a client that does not finish its handshake."""
        self.hooks.broken(Reason.TIMEOUT, Stage.TLS).close()
        self.abort()

    def _unanswered(self, connection: Connection) -> None:
        """Give up a destination that does not finish its handshake."""
        if self.exchange is not None:
            self.exchange.fail(Reason.TIMEOUT, Stage.TLS, "TLS with the destination took too long")
        self._legs.cut(connection)

    def expired(self) -> None:
        """Nothing has passed for the idle time: end what is under way, and cut what does not end then."""
        if self._expired:
            self.abort()
            return
        self._expired = True
        self.engine.waits.idle.start(self)
        self.feed(Late(head=False))

    # Ends -----------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close now if nothing is under way; otherwise after the response."""
        if self.exchange is None or self.exchange.closed:
            self.expired()

    def abort(self) -> None:
        """Cut everything."""
        self._legs.abort()

    def _end(self) -> None:
        """The client is gone: nothing is left to do but to record."""
        if self._gone:
            return
        self._gone = True
        self.shaken()
        self.head_done()
        self.engine.waits.idle.stop(self)
        for connection in list(self._greetings):
            self.greeted(connection)
        for task in self._tasks:
            task.cancel()
        self._legs.abort()
        if self.exchange is not None:
            self.exchange.close()
        self.hooks.unasked()
        if not self.over.done():
            self.over.set_result(None)

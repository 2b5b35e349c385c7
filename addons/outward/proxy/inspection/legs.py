"""The transports of an inspected connection: what comes, what is to be written, and why one is not read just now.

Owns flow control: each side is read only as fast as the other is written, each direction by itself. mitmproxy waits for
every writer before it reads on anywhere, so that an origin that answers while it is being sent to can stop both.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events

from outward.proxy.answer import Linger
from outward.proxy.deadlines import Deadlines
from outward.proxy.inspection.signals import CloseAbruptly, CloseLingering
from outward.proxy.parent import Parent


class Owner(Protocol):
    """The session, as its legs see it.

    Attributes:
        touched: bytes have passed lately.
    """

    touched: bool

    def feed(self, event: events.Event) -> None:
        """Give the layers an event."""


class Leg(asyncio.Protocol):
    """One transport.

    Attributes:
        connection: what the layers call it.
        out: bytes to be written once the layers have come to rest.
        closing: how it is to be closed then, or None.
        parent: the parent proxy at its other end, which takes requests in absolute form; None if there is none.
        silent: the peer has said that it will send no more.
    """

    __slots__ = ("_held", "_legs", "_owner", "closing", "connection", "out", "parent", "silent", "transport")

    def __init__(self, owner: Owner, legs: "Legs", connection: Connection) -> None:
        self._owner = owner
        self._legs = legs
        self._held: set[object] = set()
        self.connection = connection
        self.transport: asyncio.Transport | None = None
        self.out: list[bytes] = []
        self.closing: type[commands.CloseConnection] | None = None
        self.parent: Parent | None = None
        self.silent = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self._legs.joined(self)

    def data_received(self, data: bytes) -> None:
        """Give the layers what came."""
        self._owner.touched = True
        self._owner.feed(events.DataReceived(self.connection, data))

    def eof_received(self) -> bool:
        """Tell the layers that no more will come; what is being sent may still go out."""
        self.silent = True
        self.connection.state &= ~ConnectionState.CAN_READ
        self._owner.feed(events.ConnectionClosed(self.connection))
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None  # TLS has one end

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell the layers, unless they know."""
        if self.connection.state & ConnectionState.CAN_READ:
            self.connection.state = ConnectionState.CLOSED
            self._owner.feed(events.ConnectionClosed(self.connection))
        self.connection.state = ConnectionState.CLOSED
        self._legs.left(self)

    def pause_writing(self) -> None:
        """Stop reading what would be written here."""
        self._legs.congested(self)

    def resume_writing(self) -> None:
        """Go on."""
        self._legs.relieved(self)

    def hold(self, why: object) -> None:
        """Stop reading, until every reason is released."""
        if not self._held and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._held.add(why)

    def release(self, why: object) -> None:
        """Go on reading, if this was the last reason not to."""
        if why in self._held:
            self._held.remove(why)
            if not self._held and self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    def flush(self) -> None:
        """Write what has gathered."""
        if self.out and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self.out))  # asyncio's own `writelines` tells nobody of a slow reader
        self.out = []

    def abort(self) -> None:
        """Cut it."""
        if self.transport is not None:
            self.transport.abort()


class Legs:
    """The client's leg, and those to destinations.

    Attributes:
        client: the client's.
        client_reads: cleared while what was written to the client waits. Nothing is dialled for it meanwhile: a new
            connection cannot be held back from its first read, as uvloop begins to read whatever was asked before.
    """

    def __init__(self, owner: Owner, client: Connection, lingering: Deadlines, ended: Callable[[], None]) -> None:
        """Begin with a client whose transport is still to come.

        Args:
            owner: is told what comes.
            client: the client, as the layers call it.
            lingering: how long a refused client may go on sending.
            ended: called when the client's connection is lost.
        """
        self._owner = owner
        self._lingering = lingering
        self._ended = ended
        self._legs: dict[Connection, Leg] = {}
        self.client = Leg(owner, self, client)
        self.client_reads = asyncio.Event()
        self.client_reads.set()

    def dialled(self, connection: Connection) -> Leg:
        """Return the protocol for a connection that is being made."""
        return Leg(self._owner, self, connection)

    def parent_of(self, connection: Connection) -> Parent | None:
        """Return the parent proxy at the other end of a connection, or None."""
        leg = self._legs.get(connection)
        return leg.parent if leg is not None else None

    def joined(self, leg: Leg) -> None:
        """Count a leg in."""
        self._legs[leg.connection] = leg

    def left(self, leg: Leg) -> None:
        """Count a leg out."""
        self._legs.pop(leg.connection, None)
        if leg is self.client:
            self._ended()
        else:
            self.client.release(leg)

    def congested(self, leg: Leg) -> None:
        """A peer reads slowly: stop reading what goes there."""
        if leg is not self.client:
            self.client.hold(leg)
            return
        self.client_reads.clear()
        for other in self._legs.values():
            if other is not leg:
                other.hold(self)

    def relieved(self, leg: Leg) -> None:
        """It reads again."""
        if leg is not self.client:
            self.client.release(leg)
            return
        self.client_reads.set()
        for other in self._legs.values():
            if other is not leg:
                other.release(self)

    def hold(self, connection: Connection, why: object) -> None:
        """Stop reading a connection, if it is still there, until `release`."""
        leg = self._legs.get(connection)
        if leg is not None:
            leg.hold(why)

    def release(self, connection: Connection, why: object) -> None:
        """Go on reading it."""
        leg = self._legs.get(connection)
        if leg is not None:
            leg.release(why)

    def send(self, connection: Connection, data: bytes) -> None:
        """Write, once the layers rest; what is for a lost connection is dropped."""
        leg = self._legs.get(connection)
        if leg is not None:
            leg.out.append(data)

    def close(self, connection: Connection, how: type[commands.CloseConnection]) -> None:
        """Close, once the layers rest and what they sent is written."""
        connection.state = ConnectionState.CLOSED
        leg = self._legs.get(connection)
        if leg is not None and leg.closing is None:
            leg.closing = how

    def rest(self) -> None:
        """Do what has been put off until the layers rest."""
        for leg in list(self._legs.values()):
            leg.flush()
            if leg.closing is not None and leg.transport is not None:
                self._close(leg, leg.transport)

    def _close(self, leg: Leg, transport: asyncio.Transport) -> None:
        del self._legs[leg.connection]
        if leg is not self.client:
            self.client.release(leg)
            transport.close()
        elif leg.closing is CloseLingering and not leg.silent and not transport.is_closing():
            Linger(transport, self._lingering, self._ended)
        elif leg.closing is CloseAbruptly:
            transport.abort()
        else:
            transport.close()

    def cut(self, connection: Connection) -> None:
        """Cut one leg."""
        leg = self._legs.get(connection)
        if leg is not None:
            leg.abort()

    def abort(self) -> None:
        """Cut everything."""
        for leg in [self.client, *self._legs.values()]:
            leg.abort()

"""One transport of an inspected connection: what comes, what is to be written, and why it is not read just now."""

import asyncio
from typing import Protocol, cast

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events


class Owner(Protocol):
    """The session, as its legs see it.

    Attributes:
        touched: bytes have passed lately.
    """

    touched: bool

    def feed(self, event: events.Event) -> None:
        """Give the layers an event."""

    def left(self, leg: "Leg") -> None:
        """Note that a peer has sent all that it had."""

    def lost(self, leg: "Leg") -> None:
        """Note that a connection is gone."""

    def congested(self, leg: "Leg") -> None:
        """Note that a peer reads slowly."""

    def relieved(self, leg: "Leg") -> None:
        """Note that it reads again."""


class Leg(asyncio.Protocol):
    """One transport of a session.

    Attributes:
        connection: what the layers call it.
        held: the reasons for which it is not read.
        out: bytes to be written once the layers have come to rest.
        closing: how it is to be closed then, or None.
    """

    __slots__ = ("_session", "closing", "connection", "held", "out", "transport")

    def __init__(self, session: Owner, connection: Connection) -> None:
        self._session = session
        self.held: set[str] = set()
        self.connection = connection
        self.transport: asyncio.Transport | None = None
        self.out: list[bytes] = []
        self.closing: type[commands.CloseConnection] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give the layers what came."""
        self._session.touched = True
        self._session.feed(events.DataReceived(self.connection, data))

    def eof_received(self) -> bool:
        """Tell the layers that no more will come; what is being sent may still go out."""
        self._session.left(self)
        return True

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell the session."""
        self._session.lost(self)

    def pause_writing(self) -> None:
        """Stop reading what would be written here."""
        self._session.congested(self)

    def resume_writing(self) -> None:
        """Go on."""
        self._session.relieved(self)

    def hold(self, why: str) -> None:
        """Stop reading, until every reason is released."""
        if not self.held and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self.held.add(why)

    def release(self, why: str) -> None:
        """Go on reading, if this was the last reason not to."""
        if why in self.held:
            self.held.remove(why)
            if not self.held and self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

"""Carrying bytes both ways between two transports, as fast as the slower one takes them.

Owns flow control, half-close and byte counts. Never looks at what it carries.
"""

import asyncio
from collections.abc import Callable
from typing import cast


class RelayEndpoint(asyncio.Protocol):
    """One end of a relay.

    Attributes:
        transport: this end's; None before it is connected.
        ended: it has sent all it had.
        full: it is slow to take what is sent to it; the other end is not read meanwhile.
        received: bytes read from this end and handed to the other.
        touched: traffic has passed since somebody cleared it.
    """

    __slots__ = ("_forward", "_held", "_lost", "_other", "_peer", "ended", "full", "received", "touched", "transport")

    def __init__(self, lost: Callable[[], None]) -> None:
        """Build one end; `lost` is called once its connection is lost."""
        self._lost = lost
        self.ended = False
        self.full = False
        self._peer: RelayEndpoint | None = None
        self._other: asyncio.Transport | None = None
        self._forward: Callable[[bytes], None] = self._hold
        self._held = b""
        self.transport: asyncio.Transport | None = None
        self.received = 0
        self.touched = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport. Pausing here would not last: uvloop begins to read after this call."""
        self.transport = cast("asyncio.Transport", transport)

    def listen(self, forward: Callable[[bytes], None]) -> None:
        """Give what comes to somebody else until the relay is joined, what was held back first."""
        self._forward = forward
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        if self._held:  # after that: who takes it may stop the reading again
            held, self._held = self._held, b""
            self.received += len(held)
            forward(held)

    def join(self, peer: "RelayEndpoint", other: asyncio.Transport) -> None:
        """Pass on to another end from now on, what was held back first."""
        self._peer, self._other, self._forward = peer, other, other.write
        if self._held:
            self.data_received(self._held)
            self._held = b""
        if self.transport is not None and not self.transport.is_closing():
            if peer.full:  # from before; it is told of no second time
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        self.touched = True
        self.received += len(data)
        self._forward(data)

    def _hold(self, data: bytes) -> None:
        """Hold back one read, and read no more, until the relay is joined."""
        self._held += data
        self.received -= len(data)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        """Stop reading the other end: this one is slow."""
        self.full = True
        if self._other is not None and not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading the other end."""
        self.full = False
        if self._other is not None and not self._other.is_closing():
            self._other.resume_reading()

    def eof_received(self) -> bool:
        """Pass the end of one direction on, and keep the other open until it ends too."""
        self.ended = True
        if self._other is None:  # who listens may join it now
            self._forward(b"")
        if self._other is not None and not self._other.is_closing():
            if not self._other.can_write_eof():  # TLS to the proxy: its one end is the whole end
                self._other.close()
                return False
            self._other.write_eof()
        one_way = self._peer is not None and not self._peer.ended
        tls = self.transport is not None and self.transport.get_extra_info("sslcontext") is not None
        return one_way and not tls  # TLS to the proxy has one end for both ways

    def connection_lost(self, _exc: Exception | None) -> None:
        """Take the other end down too, after what was written to it."""
        if self._other is not None:
            self._other.close()
        self._lost()


def join(one: RelayEndpoint, two: RelayEndpoint) -> None:
    """Begin to relay between two connected ends."""
    if one.transport is not None and two.transport is not None:
        one.join(two, two.transport)
        two.join(one, one.transport)

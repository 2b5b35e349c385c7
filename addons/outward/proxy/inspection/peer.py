"""One transport of an inspected connection, the client's or a destination's, with TLS where it is spoken there.

Owns flow control on its own side, and how it is closed. What is written waits until `flush`, so that one event is one
record and one packet.
"""

import asyncio
import ssl
from typing import Protocol, cast

from outward.proxy.inspection.tls import TlsEndpoint, words


class Owner(Protocol):
    """Who is told what a peer does."""

    def secured(self) -> None:
        """Go on: the TLS handshake is done."""

    def insecure(self, why: str) -> None:
        """Give up: the TLS handshake has failed; the alert has been sent."""

    def received(self, data: bytes) -> None:
        """Take what the peer says."""

    def ended(self) -> None:
        """Take note that it will say no more; called once."""

    def lost(self) -> None:
        """Take note that the connection is gone; called once, last."""

    def congested(self) -> None:
        """Send no more for now: the peer reads slowly."""

    def relieved(self) -> None:
        """Go on sending."""


class Peer(asyncio.Protocol):
    """One transport.

    Attributes:
        owner: is told what happens.
        transport: None before it is connected.
        tls: spoken with the peer; None in the clear.
        silent: the peer has said that it will send no more, or is cut off.
    """

    __slots__ = ("_held", "_out", "owner", "silent", "tls", "transport")

    def __init__(self, owner: Owner, tls: TlsEndpoint | None = None) -> None:
        self.owner = owner
        self.transport: asyncio.Transport | None = None
        self.tls = tls
        self.silent = False
        self._held: set[object] = set()
        self._out: list[bytes] = []

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.transport is None or self.transport.is_closing()

    # What the transport tells ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, and hold it where that was asked for before."""
        self.transport = cast("asyncio.Transport", transport)
        if self._held:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass on what comes, decrypted."""
        tls = self.tls
        if tls is None:
            self.owner.received(data)
        elif not self.silent:
            self._decrypt(tls, data)

    def _decrypt(self, tls: TlsEndpoint, data: bytes) -> None:
        shaken = tls.shaken
        try:
            said = tls.receive(data)
        except ssl.SSLError as error:
            self._answer(tls)
            self._broken(error, shaken=shaken)
            return
        self._answer(tls)
        if not shaken and tls.shaken:
            self.owner.secured()
        if said:
            self.owner.received(said)
        if tls.ended:
            self._end()

    def _answer(self, tls: TlsEndpoint) -> None:
        """Send what TLS itself has to say: a handshake, an alert, new keys."""
        pending = tls.pending()
        if pending and self.transport is not None and not self.transport.is_closing():
            self.transport.write(pending)

    def _broken(self, error: ssl.SSLError, *, shaken: bool) -> None:
        if shaken:
            self._end()
        else:
            self.silent = True
            self.owner.insecure(words(error))

    def _end(self) -> None:
        if not self.silent:
            self.silent = True
            self.owner.ended()

    def eof_received(self) -> bool:
        """Take note; what is being sent may still go out, except in TLS to the proxy, which has one end."""
        self._end()
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell the owner."""
        self._end()
        self.owner.lost()

    def pause_writing(self) -> None:
        """Tell the owner."""
        self.owner.congested()

    def resume_writing(self) -> None:
        """Tell the owner."""
        self.owner.relieved()

    # What the owner asks for ----------------------------------------------------------------------------------------

    def shake(self, tls: TlsEndpoint, first: bytes = b"") -> None:
        """Speak TLS from now on, and begin; `first` has come already."""
        self.tls = tls
        if first:
            self._decrypt(tls, first)
            return
        tls.shake()
        self._answer(tls)

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

    def write(self, data: bytes) -> None:
        """Send, at the next `flush`."""
        self._out.append(data)

    def flush(self) -> None:
        """Send what has gathered; what is for a lost connection is dropped."""
        if not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        if not data or self.transport is None or self.transport.is_closing():
            return
        if self.tls is None:
            self.transport.write(data)
            return
        try:
            self.transport.write(self.tls.send(data))
        except ssl.SSLError:  # TLS has ended already
            self.transport.abort()

    def part(self) -> asyncio.Transport | None:
        """Send what has gathered, and say the end of TLS; return the transport, which is to be closed."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return transport
        self.flush()
        if self.tls is not None and not transport.is_closing():
            ending = self.tls.close()
            if ending:
                transport.write(ending)
        return transport

    def close(self) -> None:
        """Close, behind what was sent."""
        transport = self.part()
        if transport is not None:
            transport.close()

    def abort(self) -> None:
        """Cut it."""
        if self.transport is not None:
            self.transport.abort()

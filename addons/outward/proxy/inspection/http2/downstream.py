"""HTTP/2 towards the client: each stream one exchange, judged by itself, answered by itself.

Owns how many streams there are at a time, their deadlines, and the end of the connection: GOAWAY, then what is under
way.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.http2.frames import Code, Http2Error
from outward.http2.session import STREAMS, Session
from outward.http2.told import Head
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.http2.destination import SharedDestination
from outward.proxy.inspection.http2.multiplex import Multiplex
from outward.proxy.inspection.http2.server_stream import ServerStream

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import InspectedConnection


class Http2Downstream(Multiplex[ServerStream]):
    """The server's part of a connection.

    Attributes:
        session: the client's connection.
        destination: where its requests go.
    """

    def __init__(self, session: "InspectedConnection", destination: SharedDestination) -> None:
        super().__init__(session.client, Session(session.limits.head_bytes, session.now(), client=False))
        self.session: InspectedConnection = session
        self.destination = destination
        destination.downstream = self
        self._head_begun = self._closing = self._lingers = False

    @property
    def connection(self) -> "InspectedConnection":
        """The client's connection."""
        return self.session

    @property
    def exchanges(self) -> Iterator[Exchange]:
        """Those under way."""
        return (stream.exchange for stream in list(self.streams.values()) if stream.exchange is not None)

    def received(self, data: bytes) -> None:
        """Take what the client says."""
        self.read(data)

    def turn(self) -> None:
        """Read, and hold the client to finish the frame that it has begun."""
        super().turn()
        begun = self.http2.unfinished and not (self.turning or self._lingers)
        if begun is not self._head_begun:
            self._head_begun = not self._head_begun
            (self.session.head_begun if self._head_begun else self.session.head_done)()

    def flush(self) -> None:
        """Send what has gathered, both ways: what one side could send, the other gets windows for."""
        self.pump()
        self.destination.pump()
        self.write()
        self.session.client.flush()
        self.destination.flush()

    def begun(self, head: Head) -> None:
        """Begin an exchange, if it is not one too many."""
        if self._closing or len(self.streams) >= STREAMS:
            self.http2.refuse(head.stream, self.session.now())
            return
        self.session.touched = True
        stream = self.streams[head.stream] = ServerStream(self, head.stream)
        stream.begin(head)

    def forget(self, stream: ServerStream) -> None:
        """Take a stream out: it is over on both sides."""
        if self.streams.pop(stream.ident, None) is not None:
            self.http2.forget(stream.ident)
            self.session.touched = True
            self._close_if_done()

    def leaving(self, last: int) -> None:  # noqa: ARG002 - it is about streams that we would open
        """Close after what is under way."""
        self._closing = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._closing and not self.streams:
            self.session.soon(self._close)

    def _close(self) -> None:
        if not self._lingers:
            self.flush()
            self.session.client.close()

    def broken(self, error: Http2Error) -> None:
        """Refuse a client that has broken the protocol, or a bound of ours; nothing more can be told it."""
        self._refuse(Reason.TOO_LARGE if error.too_large else Reason.MALFORMED_REQUEST, str(error))

    def _refuse(self, reason: Reason, detail: str) -> None:
        self.leave()
        exchange = self.session.hooks.broken(reason, Stage.REQUEST)
        exchange.event.detail = detail
        exchange.close()
        self.flush()
        self._lingers = True
        self.session.linger()

    def leave(self) -> None:
        """End every exchange: the client cannot be answered any more."""
        self._closing = True
        self.destination.stop()
        for stream in list(self.streams.values()):
            stream.leave()

    def ended(self) -> None:
        """End with the client, which half-closes nothing inside TLS."""
        self.session.head_done()
        self.leave()
        self.session.client.close()

    def silenced(self) -> None:
        """Do nothing: a client that has ended was left at once."""

    def close(self) -> None:
        """Record what is under way: the client is gone, and so is all else of its connection."""
        self.destination.stop()
        for stream in list(self.streams.values()):
            stream.gone()

    def late(self, *, head: bool) -> None:
        """Act on a deadline: refuse what comes too slowly, end what does not move."""
        if head:
            self.http2.fail(Code.PROTOCOL_ERROR)
            self._refuse(Reason.TIMEOUT, "HTTP/2: a head, or a frame, took too long")
            return
        for stream in list(self.streams.values()):
            stream.late()
        self.drain()

    def drain(self) -> None:
        """Answer what is under way, and nothing else."""
        if not self._closing:
            self._closing = True
            self.http2.ending()
        self._close_if_done()

    def hold(self) -> None:
        """Send no body for now: the client reads slowly."""
        self.full()

    def release(self) -> None:
        """Go on."""
        self.drained()
        self.session.run(self.flush)

"""HTTP/2 towards a destination: one connection, on which each request of one client's connection is a stream.

Owns a connection from its handshake to its end. A response's head is read in the form of HTTP/1.1, by the same reader.
"""

from typing import TYPE_CHECKING

from outward.core.reasons import Reason
from outward.http1.fields import HeadError
from outward.http1.head import Head as RequestHead
from outward.http1.head import parse_response_head
from outward.http2.frames import Code, Http2Error
from outward.http2.messages import request_fields, response_head, trailers
from outward.http2.session import Session
from outward.http2.told import Data, Head, Interim, Trailers
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.http2.multiplex import FULL, Multiplex, Part, Stream
from outward.proxy.inspection.opening import Key, OpenedConnection
from outward.proxy.inspection.tls import HTTP2, TlsEndpoint
from outward.proxy.inspection.upstream import User

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import InspectedConnection
    from outward.proxy.inspection.http2.server_stream import ServerStream

_INTERIM = 16  # responses before the final one
UNSPOKEN = "it does not speak HTTP/2, and the client offers nothing else (ALPN)"


class Http2Upstream(OpenedConnection, Multiplex["ClientStream"]):
    """A connection to a destination, of one client's connection.

    Attributes:
        retired: it takes no further request, and closes after the last one.
    """

    protocol = HTTP2

    def __init__(self, session: "InspectedConnection", key: Key) -> None:
        OpenedConnection.__init__(self, session, key)
        now = session.now()
        Multiplex.__init__(self, self.peer, Session(session.limits.head_bytes, now, client=True))
        self.retired = False

    @property
    def connection(self) -> "InspectedConnection | None":
        """The client's connection."""
        return self.session

    @property
    def room(self) -> bool:
        """Whether the destination takes another request now."""
        return self.http2.room and not self.http2.blocked

    def objection(self, tls: TlsEndpoint) -> str | None:
        """Return why a destination that was verified is not spoken to all the same."""
        return None if tls.protocol == HTTP2 else UNSPOKEN

    def insecure(self, why: str) -> None:
        """Give up: the handshake has failed, perhaps since HTTP/2 was all that was offered."""
        super().insecure(UNSPOKEN if "no application protocol" in why else why)

    def retire(self) -> None:
        """Take no further request."""
        self.retired = True
        if not self.streams:
            self.close()

    def close(self) -> None:
        """Close it for good, and say so."""
        if self.secure and not self.gone:
            self.http2.fail(Code.NO_ERROR)
            self.write()
        super().close()

    def forget(self, stream: "ClientStream") -> None:
        """Take a stream out: it is over."""
        if self.streams.pop(stream.ident, None) is None:
            return
        self.http2.forget(stream.ident)
        if self.retired and not self.streams:
            self.close()
        if self.session is not None:
            self.session.destinations.freed()

    # What the peer tells --------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take what the destination says."""
        if self.session is not None and not self.gone:
            self.session.run(self.read, data)

    def turn(self) -> None:
        """Read; it may have said that it takes more requests, or no more."""
        super().turn()
        if self.session is not None:
            self.session.destinations.freed()

    def ended(self) -> None:
        """Take note that it says no more."""
        if self.session is not None and not self.gone:
            self.session.run(self.silent)

    def silenced(self) -> None:
        """Give up what it has not answered."""
        self._over("the destination closed the connection")

    def lost(self) -> None:
        """Take note that it is gone."""
        if self._lingering is not None:
            self._lingering.stop(self)
        self.ended()

    def congested(self) -> None:
        """Send no body for now."""
        self.full()

    def relieved(self) -> None:
        """Go on."""
        self.drained()
        if self.session is not None:
            self.session.run(self.session.destinations.freed)

    def _over(self, why: str) -> None:
        if self.unsettled:
            self.insecure("the connection was closed")
            return
        streams = list(self.streams.values())
        self.retired = True
        self.streams.clear()
        self.close()
        for stream in streams:
            stream.fail(why)

    # What the session tells -----------------------------------------------------------------------------------------

    def begun(self, head: Head) -> None:
        """Ignore the head of a response that nobody waits for any more."""

    def leaving(self, last: int) -> None:
        """Leave the streams that the destination will not answer."""
        self.retire()
        for stream in [each for each in self.streams.values() if each.ident > last]:
            stream.was_reset(Code.REFUSED_STREAM)

    def broken(self, error: Http2Error) -> None:
        """Give up a destination that has broken the protocol."""
        self.write()
        self._over(str(error))


class ClientStream(Stream):
    """A request to a destination, and its response.

    Attributes:
        parent, used: as of `upstream.Upstream`: there is none, and nothing is sent twice.
    """

    parent = None
    used = False

    def __init__(self, upstream: Http2Upstream, carrier: "ServerStream", exchange: Exchange) -> None:
        super().__init__(0)
        self._upstream, self._carrier, self._exchange = upstream, carrier, exchange
        self._user: User | None = None
        self._method = ""
        self._left: int | None = None  # bytes of the body that are still to come; None if it is not said
        self._heard = self._answered = self._sent = False
        self._interim = 0

    @property
    def http2(self) -> Session:
        """The connection that it is on."""
        return self._upstream.http2

    # What is sent ---------------------------------------------------------------------------------------------------

    def request(self, user: User, raw: bytes, head: RequestHead, *, chunked: bool) -> None:  # noqa: ARG002 - of HTTP/1
        """Send a request head for a user; `head` is what it was made of."""
        self._user, self._method = user, head.method
        fields = request_fields(raw, trailers=head.get("te") == "trailers")
        private = frozenset(name.encode("ascii") for name in self._exchange.placed)
        self._sent = head.length == 0
        self.ident = self.http2.open(fields, private, ended=self._sent)
        self._upstream.streams[self.ident] = self

    def data(self, data: bytes) -> None:
        """Send a piece of its body."""
        if self.http2.send(self.ident, data) > FULL:
            self._carrier.hold(self)

    def finish(self) -> None:
        """Send its end."""
        if not self._sent:
            self._sent = True
            self.http2.finish(self.ident)

    def moved(self, left: int) -> None:
        """Let the client send on, once little enough waits."""
        self._carrier.active()
        if left <= FULL:
            self._carrier.release(self)

    def close(self) -> None:
        """Cancel it, if it is not over."""
        if not self.over and self.ident:
            self.http2.reset(self.ident, Code.CANCEL)
            self._leave()

    def _leave(self) -> None:
        self.stop()
        self._carrier.release(self)
        self._upstream.forget(self)

    # What comes -----------------------------------------------------------------------------------------------------

    def take(self, part: Part) -> None:
        """Read a part of the response."""
        self._carrier.active()
        self._heard = True
        try:
            self._take(part)
        except HeadError as error:
            self.http2.reset(self.ident, Code.PROTOCOL_ERROR)
            self._give_up(str(error))

    def _take(self, part: Part) -> None:
        if isinstance(part, Head):
            self._reply(part)
        elif isinstance(part, Interim):
            self._interim += 1
            if self._interim > _INTERIM:
                raise HeadError(Reason.UPSTREAM_FAILED, "too many interim responses")
        elif isinstance(part, Data):
            self._data(part.data)
        elif isinstance(part, Trailers):
            limits = self._carrier.limits
            self._serving.response_trailers(trailers(part.fields, limits))
        else:
            self._end()

    def _reply(self, part: Head) -> None:
        limits = self._carrier.limits
        raw = response_head(part.fields, limits, ended=part.ended)
        head = parse_response_head(raw, limits, self._method)
        self._left = None if head.until_close else head.length
        self._serving.replied(raw, head, more=part.ended)

    def _data(self, data: bytes) -> None:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise HeadError(Reason.UPSTREAM_FAILED, "a body that is longer than was said")
        if data:
            self._serving.response_data(data)

    def _end(self) -> None:
        if self._left:
            raise HeadError(Reason.UPSTREAM_FAILED, "a body that is shorter than was said")
        if not self._sent or self.http2.send(self.ident, b""):  # it has answered without the rest of the request
            self.http2.reset(self.ident, Code.NO_ERROR)
        user = self._serving
        self._leave()
        user.response_ended()

    def was_reset(self, code: int) -> None:
        """Give up: the destination has cut it."""
        if not self.whole:
            self._carrier.code = code
        name = Code(code).name if code in Code else str(code)
        self.fail(f"the destination reset the stream ({name})")

    def fail(self, why: str) -> None:
        """Give up, unless the whole answer is there."""
        if not (self.over or self.whole):
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        self._leave()
        self._serving.failed(why, unheard=not self._heard)

    @property
    def _serving(self) -> User:
        if self._user is None:
            raise RuntimeError("a response that nobody has asked for")
        return self._user

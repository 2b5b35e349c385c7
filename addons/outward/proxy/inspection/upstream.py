"""HTTP/1 towards a destination: requests out, responses in, every head and body through our strict readers.

Owns one connection from its handshake to its end, and whether it may carry another request: only if both messages
ended as they said. A connection that somebody has logged in on (NTLM, Negotiate) serves nobody else.
"""

from typing import TYPE_CHECKING, Protocol

from outward.core.reasons import Reason
from outward.http1.bodies import LAST_CHUNK, Body, BodyError, Sized, UntilClose, body_of, chunk
from outward.http1.fields import Fields, HeadError
from outward.http1.head import END, Head, ResponseHead, parse_response_head
from outward.http1.headreader import judge_begun_response
from outward.http1.lines import logs_in
from outward.proxy.inspection.opening import Key, OpenedConnection

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import InspectedConnection
    from outward.proxy.inspection.pool import Pool

_INTERIM = 16  # responses before the final one (RFC 9110 15.2); Go's net/http takes 5
_NOTHING = Sized(0)
_RELAYED = UntilClose()  # what follows a 101


def _logs_in(head: Head | ResponseHead) -> bool:
    """Tell whether somebody logs in on the connection itself."""
    section = head.section
    return section.logs_in if section is not None else any(logs_in(*each) for each in head.fields)


class User(Protocol):
    """Whose request is under way."""

    def replied(self, raw: bytes, head: ResponseHead, *, more: bool) -> None:
        """Take a response head; `more` if some of its body follows at once."""

    def response_data(self, data: bytes) -> None:
        """Take a piece of its body."""

    def response_trailers(self, fields: Fields) -> None:
        """Take the fields behind it, which HTTP/1 drops."""

    def response_ended(self) -> None:
        """Take its end."""

    def failed(self, why: str, *, unheard: bool) -> None:
        """Give up: the connection is lost; `unheard` if no byte of an answer has come."""


class Upstream(OpenedConnection):
    """A connection to a destination, in use by one client's connection, or in the pool.

    Attributes:
        pool: where it waits, or None.
        used: it has carried a request before.
        bound: somebody has logged in on it.
    """

    def __init__(self, session: "InspectedConnection", key: Key) -> None:
        super().__init__(session, key)
        self.pool: Pool | None = None
        self.used = self.bound = False
        self._user: User | None = None
        self._buffer = bytearray()
        self._scanned = 0  # bytes of a head that is not complete
        self._method = ""
        self._chunked = self._keep = self._requested = self._heard = False
        self._paused = self._over = self._full = False
        self._interim = 0
        self._head: ResponseHead | None = None
        self._body: Body = _NOTHING

    # Changing hands -------------------------------------------------------------------------------------------------

    def attach(self, session: "InspectedConnection") -> None:
        """Serve a client's connection from now on."""
        self.session = session
        if self._full:
            session.client.hold(self)

    def detach(self) -> None:
        """Serve nobody, in no pool either."""
        self._user = None
        super().detach()
        if self.pool is not None:
            self.pool.forget(self)

    # What is sent ---------------------------------------------------------------------------------------------------

    def request(self, user: User, raw: bytes, head: Head, *, chunked: bool) -> None:
        """Send a request head for a user; `head` is what it was made of."""
        self._user, self._method, self._chunked = user, head.method, chunked
        self._requested = self._heard = False
        self._interim, self._head, self._body = 0, None, _NOTHING
        self.bound = self.bound or _logs_in(head)
        self.peer.write(raw)

    def data(self, data: bytes) -> None:
        """Send a piece of its body."""
        self.peer.write(chunk(data) if self._chunked else data)

    def finish(self) -> None:
        """Send its end."""
        self._requested = True
        if self._chunked:
            self.peer.write(LAST_CHUNK)

    # What the peer tells --------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take what the destination says; nobody has asked for what it says in the pool."""
        session = self.session
        if session is None:
            self.close()
            return
        session.touched = True
        session.run(self._received, data)

    def ended(self) -> None:
        """Take note that it says no more."""
        if self.session is None:
            self.close()
        elif not self.gone:
            self._over = True
            self.session.run(self._closed)

    def lost(self) -> None:
        """Take note that it is gone; who was told of its end has closed it."""
        if self._lingering is not None:
            self._lingering.stop(self)
        if not self.gone and self.session is None:
            self.close()

    def congested(self) -> None:
        """Stop reading who sends to it."""
        self._full = True
        if self.session is not None:
            self.session.client.hold(self)

    def relieved(self) -> None:
        """Go on."""
        self._full = False
        if self.session is not None:
            self.session.client.release(self)

    # Reading --------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Leave what comes until `resume`: an answer about it is waited for."""
        self._paused = True
        self.peer.hold("answer")

    def resume(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self.peer.release("answer")
            self._advance()
            if self._over and not self.gone:
                self._closed()

    def _take_turns(self) -> None:
        """Go on after others; who waits for an answer goes on with that."""
        if self.session is not None and not self._paused:
            self.pause()
            self.session.soon(self.resume)

    def _received(self, data: bytes) -> None:
        if self._head is not None and not (self._buffer or self._paused) and self._body.passes(data):
            self._serving.response_data(data)
            return
        try:
            if self._head is None and self._user is not None and not (self._buffer or self._paused):
                data = self._read_at_once(self._user, data)
        except (HeadError, BodyError) as error:
            self._fail(str(error))
        else:
            self._buffer += data
            self._advance()

    def _read_at_once(self, user: User, data: bytes) -> bytes:
        """Read a response that has come as a whole, as most do; return what is to be read part by part."""
        end = data.find(END) + 4
        if end < 4:
            return data
        self._heard = True
        rest = data[end:]
        self._take(user, data[:end], more=bool(rest))
        if self._paused or self._head is None or self._user is not user or not self._body.completes(rest):
            return rest
        self._body = _NOTHING
        if rest:
            user.response_data(rest)
        return b""

    def _advance(self) -> None:
        """Read on as long as there is something to read."""
        try:
            while not (self._paused or self.gone) and self._step():
                pass
        except (HeadError, BodyError) as error:
            self._fail(str(error))

    def _step(self) -> bool:
        """Read one part; False if it has not come as a whole."""
        if self._head is not None and self._body is _NOTHING:
            self._done()
        elif not self._buffer:
            return False
        elif self._user is None:
            self._buffer.clear()
            self.close()  # nobody has asked for what it says
        elif self._head is None:
            return self._read_head(self._user)
        else:
            data, complete = self._body.read(self._buffer)
            if complete:
                self._body = _NOTHING
            if data:
                self._user.response_data(data)
            if self._body.more:
                self._take_turns()
            return complete or self._body.more
        return True

    def _read_head(self, user: User) -> bool:
        limits, scanned = self._serving_session.limits, max(0, self._scanned - 3)
        self._heard = True
        end = self._buffer.find(END, scanned)
        if end < 0:
            if len(self._buffer) > limits.head_bytes:
                raise HeadError(Reason.TOO_LARGE, "the response head is too long")
            judge_begun_response(self._buffer, scanned)
            self._scanned = len(self._buffer)
            return False
        self._scanned = 0
        raw = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        self._take(user, raw, more=bool(self._buffer))
        return True

    def _take(self, user: User, raw: bytes, *, more: bool) -> None:
        """Pass on a head, unless it is an interim one; `more` if something has come behind it."""
        head = parse_response_head(raw, self._serving_session.limits, self._method)
        if head.status < 200 and head.status != 101:
            self._interim += 1
            if self._interim > _INTERIM:
                raise HeadError(Reason.UPSTREAM_FAILED, "too many interim responses")
            return
        self._begin(head)
        user.replied(raw, head, more=more and self._body is not _NOTHING)

    def _begin(self, head: ResponseHead) -> None:
        """Find out how the response ends, and what becomes of the connection then."""
        self._head = head
        self._keep = head.keep_alive and not head.until_close
        self.bound = self.bound or _logs_in(head)
        if head.status == 101:
            self._body = _RELAYED
        elif head.length == 0 and not head.until_close:
            self._body = _NOTHING
        else:
            dropped = self._serving_session.trailers_dropped
            self._body = body_of(head.length, dropped, until_close=head.until_close)

    # Ends -----------------------------------------------------------------------------------------------------------

    def _done(self) -> None:
        """End the response; keep the connection only if both messages ended as they said."""
        user, session = self._serving, self._serving_session
        self._user = self._head = None
        if self._keep and self._requested and not self._buffer and not self._over:
            self.used = True
            session.destinations.give_back(self)
        else:
            self.close()
        user.response_ended()

    def _closed(self) -> None:
        if self.unsettled:
            self._tell("the connection was closed")
        elif self._paused:
            return
        elif self._user is None:
            self.close()
        elif self._head is None:
            unknown = not (self.used or self._heard)  # whether it speaks HTTP/1 at all
            self._fail("the destination closed without a response" + ("; it may speak HTTP/2 only" if unknown else ""))
        else:
            try:
                self._finish()
            except BodyError as error:
                self._fail(str(error))
            else:
                self._done()

    def _finish(self) -> None:
        """Take the end of the connection for the end of the body, if that is how it ends.

        Raises:
            BodyError: it was cut: whoever is between could end TLS as well (RFC 9112 9.8), if it is not said within.
        """
        self._body.finish()
        tls = self.peer.tls
        if tls is not None and not tls.ended and self._body is not _RELAYED:
            raise BodyError("the connection was cut before TLS had ended")

    def _fail(self, why: str) -> None:
        user, unheard = self._serving, not self._heard
        self.close()
        user.failed(why, unheard=unheard)

    @property
    def _serving(self) -> User:
        if self._user is None:
            raise RuntimeError("a response that nobody has asked for")
        return self._user

    @property
    def _serving_session(self) -> "InspectedConnection":
        if self.session is None:
            raise RuntimeError("a connection that serves nobody")
        return self.session

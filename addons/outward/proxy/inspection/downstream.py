"""HTTP/1 towards the client: requests in, responses out, every head and body through our strict readers.

Owns what of a connection belongs to which request, and whether the client may ask again.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.http1.bodies import LAST_CHUNK, Body, BodyError, Sized, body_of, chunk
from outward.http1.fields import HeadError
from outward.http1.headreader import HeadReader, is_whole
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.transfer import Transfer

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import InspectedConnection

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PIPELINED = 64 * 1024  # bytes that may wait behind a request
_REQUEST_TIMEOUT = 408  # RFC 9110 15.5.9
_EMPTY = Sized(0)


class Downstream:
    """The server's part: requests in, responses out.

    Attributes:
        transfer: of the request under way, or of the last one.
    """

    def __init__(self, session: "InspectedConnection") -> None:
        self._session = session
        self._peer = session.client
        self._buffer = bytearray()
        self._reader: HeadReader | None = None
        self._body: Body = _EMPTY
        self._exchange: Exchange | None = None
        self.transfer: Transfer | None = None
        self._chunked = self._keep = False
        self._head_out = b""
        self._keep_open = True  # the client may ask again
        self._requested = self._responded = False
        self._paused = self._over = False
        self._read: Callable[[], bool] = self._read_head

    # Reading --------------------------------------------------------------------------------------------------------

    @property
    def exchanges(self) -> Iterable[Exchange]:
        """The one under way, or the last one."""
        return () if self._exchange is None else (self._exchange,)

    def received(self, data: bytes) -> None:
        """Take what the client says; a piece of a body goes on as it is."""
        self._session.touched = True
        if not self._buffer and self._read == self._read_body and self._body.passes(data):
            self._pass_on(*self._current, data, complete=False)
            return
        if not (self._buffer or self._paused or self._reader) and self._read == self._read_head and is_whole(data):
            self._session.ask("hook_request", self, self._begin, self._session.hooks.request, data)
            return
        self._buffer += data
        self.advance()

    def pause(self) -> None:
        """Leave what comes until `resume`: an answer about it is waited for."""
        self._paused = True
        self._peer.hold("answer")

    def resume(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self._peer.release("answer")
            self.advance()
            if self._over:
                self.ended()

    def _take_turns(self) -> None:
        """Go on after others; who waits for an answer goes on with that."""
        if not self._paused:
            self.pause()
            self._session.soon(self.resume)

    def advance(self) -> None:
        """Read on as long as there is something to read."""
        while self._buffer and not self._paused and self._read():
            pass

    def _read_head(self) -> bool:
        session, hooks = self._session, self._session.hooks
        data = bytes(self._buffer)
        self._buffer.clear()
        try:
            if self._reader is None and is_whole(data):
                raw = data
            else:
                self._reader = self._reader or HeadReader(session.limits)
                begun = self._reader.begun
                found = self._reader.feed(data)
                if found is None:
                    if not begun and self._reader.begun:
                        session.head_begun()
                    return False
                raw, rest = found
                self._reader = None
                session.head_done()
                self._buffer += rest
        except HeadError as error:
            session.head_done()
            self._begin(hooks.malformed(error))
        else:
            session.ask("hook_request", self, self._begin, hooks.request, raw)
        return True

    def _begin(self, exchange: Exchange | None) -> None:
        """Refuse a request, or hand it on and read its body."""
        session = self._session
        if exchange is None:
            exchange = session.hooks.broken(Reason.INTERNAL_ERROR, Stage.REQUEST)
        self._exchange = exchange
        self._requested = self._responded = False
        head = exchange.head
        if exchange.refused or head is None:
            self._requested = head is not None and head.length == 0
            self._refuse(exchange)
            return
        data, complete = b"", head.length == 0
        if not complete:
            self._body = body_of(head.length, session.trailers_dropped_up)
            try:  # what has come of the body is read before anything is dialled: broken framing then costs no packet
                data, complete = self._body.read(self._buffer)
            except BodyError:
                exchange.refuse(Reason.MALFORMED_REQUEST, Stage.REQUEST)
                self._refuse(exchange)
                return
        self._read = self._read_body
        self.transfer = transfer = Transfer(session, exchange)
        transfer.begin()
        self._pass_on(exchange, transfer, data, complete=complete)

    def _read_body(self) -> bool:
        exchange, transfer = self._current
        try:
            data, complete = self._body.read(self._buffer)
        except BodyError:
            exchange.refuse(Reason.MALFORMED_REQUEST, Stage.REQUEST)
            self._give_up(exchange, transfer)
            return False
        self._pass_on(exchange, transfer, data, complete=complete)
        if self._body.more and self._read == self._read_body:
            self._take_turns()
        return complete or self._body.more

    def _pass_on(self, exchange: Exchange, transfer: Transfer, data: bytes, *, complete: bool) -> None:
        if data:
            exchange.up += len(data)
            transfer.request_data(data)
        if complete and self._read == self._read_body:
            self._requested = True
            self._read = self._wait
            transfer.request_ended()

    def _wait(self) -> bool:
        """Leave what comes behind a request until the response is complete, up to a bound."""
        if len(self._buffer) > _PIPELINED:
            self._peer.hold("pipelined")
        return False

    def _relay(self) -> bool:
        exchange, transfer = self._current
        data = bytes(self._buffer)
        self._buffer.clear()
        exchange.up += len(data)
        transfer.request_data(data)
        return False

    def _drop(self) -> bool:
        self._buffer.clear()
        return False

    @property
    def _current(self) -> tuple[Exchange, Transfer]:
        if self._exchange is None or self.transfer is None:
            raise RuntimeError("nothing has been asked")
        return self._exchange, self.transfer

    @property
    def _under_way(self) -> bool:
        return self._exchange is not None and not self._responded and self._read != self._drop

    def ended(self) -> None:
        """End with the client, unless it has merely said all that it had to say.

        Inside TLS nobody half-closes: a client that leaves takes its request with it, and the destination is told so.
        """
        if self._paused:
            self._over = True
            return
        self._session.head_done()
        if self._read == self._wait and not self._session.hooks.sealed:
            self._keep_open = False
            return
        if self._under_way and self.transfer is not None:
            self.transfer.leave(gone=True)
        self._read = self._drop
        self._peer.close()

    def late(self, *, head: bool) -> None:
        """Act on a deadline: refuse a head or an exchange, close what is merely idle."""
        if head:
            exchange = self._session.hooks.broken(Reason.TIMEOUT, Stage.REQUEST)
            exchange.event.status = _REQUEST_TIMEOUT
            self._exchange = exchange
            self._responded = False
            self._refuse(exchange)
        elif self._under_way:
            exchange, transfer = self._current
            exchange.refuse(Reason.TIMEOUT, Stage.RESPONSE)
            self._give_up(exchange, transfer)
        else:
            self._peer.close()

    def close(self) -> None:
        """Record what is under way: the client is gone."""
        if self._exchange is not None:
            self._exchange.close()

    def drain(self) -> None:
        """Close now if nothing is under way; otherwise after the response."""
        if self._exchange is None or self._exchange.closed:
            self._session.expired()

    # Answering ------------------------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Ask the client for the body that it holds back."""
        self._peer.write(CONTINUE)

    def reply(self, raw: bytes, *, chunked: bool, keep: bool, wait: bool) -> None:
        """Send the head of a response, or let it wait: some of the body follows at once, to be sent with it."""
        self._chunked, self._keep = chunked, keep
        if wait:
            self._head_out = raw
        else:
            self._peer.write(raw)

    def switch(self) -> None:
        """Relay from now on, beginning with what the client has said already."""
        self._read = self._relay
        self._peer.release("pipelined")
        self.advance()

    def data(self, data: bytes) -> None:
        """Send a piece of the response."""
        if self._head_out:
            self._peer.write(self._head_out)
            self._head_out = b""
        self._peer.write(chunk(data) if self._chunked else data)

    def finish(self) -> None:
        """End the response, and go on to the next request, or close."""
        # A drain may have begun since the head promised to keep the connection.
        self._keep = self._keep and self._keep_open and not self._session.draining
        if self._head_out:
            self._peer.write(self._head_out)
            self._head_out = b""
        if self._chunked:
            self._peer.write(LAST_CHUNK)
        self._responded = True
        if not self._keep or not self._requested or self._read == self._relay:
            self._close()
            return
        self._read = self._read_head
        self._peer.release("pipelined")
        self.advance()

    def deny(self, answer: bytes) -> None:
        """Send a denial, and close."""
        self._responded = True
        self._head_out = b""
        self._peer.write(answer)
        self._close()

    def cut(self) -> None:
        """Close so that the client cannot take what it has for the whole."""
        self._read = self._drop
        self._buffer.clear()
        self._session.abandon()

    def _close(self) -> None:
        """Close; give the client time to read the answer if it may still be sending."""
        finished = self._requested and not self._buffer
        self._read = self._drop
        self._buffer.clear()
        if finished:
            self._peer.close()
        else:
            self._session.linger()

    def _give_up(self, exchange: Exchange, transfer: Transfer) -> None:
        """Take the transfer down, and tell the client if that is still possible."""
        self._requested = False
        transfer.leave()
        if exchange.begun:
            exchange.close()
            self.cut()
        else:
            self._refuse(exchange)

    def _refuse(self, exchange: Exchange) -> None:
        self._read = self._drop
        self._session.ask("hook_refusal", self, self._refused, self._session.hooks.refusal, exchange)

    def _refused(self, _waited: object) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.closed:
            answer = exchange.answer()
            exchange.close()
            self.deny(answer)

"""HTTP/1 towards the client: requests in, responses out, every head and body through our strict readers.

Replaces mitmproxy's Http1Server, which accepts obs-fold, bare CR, NUL and heads without bound, keeps what is pipelined
without bound, and stops for ever at trailers.
"""

from collections.abc import Callable

from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpConnection, HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseProtocolError,
)

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.proxy.fields import HeadError
from outward.proxy.headreader import HeadReader, is_whole
from outward.proxy.inspection.bodies import LAST_CHUNK, Body, BodyError, Sized, body_of, chunk
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.guard import Line, guarded
from outward.proxy.inspection.signals import Asked, CloseAbruptly, CloseLingering, Continue, Late, Refusal, Reply

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PIPELINED = 64 * 1024  # bytes that may wait behind a request
_REQUEST_TIMEOUT = 408


class ClientSide(HttpConnection):
    """The server's part: requests in, responses out."""

    def __init__(self, context: Context, line: Line) -> None:
        super().__init__(context, context.client)
        self._line = line
        self._stream_id = 1
        self._buffer = bytearray()
        self._reader: HeadReader | None = None
        self._body: Body = Sized(0)
        self._exchange: Exchange | None = None
        self._chunked = self._keep = False
        self._head_out = b""
        self._keep_open = True  # the client may ask again
        self._requested = self._responded = False
        self._read: Callable[[], CommandGenerator[bool]] = self._read_head

    @property
    def _current(self) -> Exchange:
        if self._exchange is None:
            raise RuntimeError("nothing has been asked")
        return self._exchange

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            self._buffer += event.data
            yield from self._advance()
        elif isinstance(event, HttpEvent):
            yield from self._send(event)
        elif isinstance(event, events.ConnectionClosed):
            yield from self._closed()
        elif isinstance(event, Late):
            yield from self._late(head=event.head)

    def _advance(self) -> CommandGenerator[None]:
        """Read on as long as there is something to read."""
        while self._buffer and (yield from self._read()):
            pass

    # Reading ------------------------------------------------------------------------------------------------------

    def _read_head(self) -> CommandGenerator[bool]:
        data = bytes(self._buffer)
        self._buffer.clear()
        try:
            if self._reader is None and is_whole(data):
                raw, rest = data, b""
            else:
                self._reader = self._reader or HeadReader(self._line.limits)
                begun = self._reader.begun
                found = self._reader.feed(data)
                if found is None:
                    if not begun and self._reader.begun:
                        self._line.head_begun()
                    return False
                raw, rest = found
                self._reader = None
                self._line.head_done()
            exchange = yield from guarded(self._line, self._line.hooks.request, raw)
        except HeadError as error:
            exchange = self._line.hooks.malformed(error)
        if exchange is None:
            exchange = self._line.hooks.broken(Reason.INTERNAL_ERROR, Stage.REQUEST)
        self._buffer += rest if exchange.head else b""
        return (yield from self._begin(exchange))

    def _begin(self, exchange: Exchange) -> CommandGenerator[bool]:
        """Refuse a request, or hand it on and read its body."""
        self._exchange = self._line.exchange = exchange
        self._requested = self._responded = False
        head = exchange.head
        if exchange.refused or head is None:
            self._requested = head is not None and head.length == 0
            yield from self._refuse(exchange)
            return False
        self._body = body_of(head.length, lambda: self._line.judge.metrics.trailers_dropped("up"))
        try:  # what has come of the body is read before anything is dialled: broken framing then costs no packet
            data, complete = self._body.read(self._buffer)
        except BodyError:
            exchange.refuse(Reason.MALFORMED_REQUEST, Stage.REQUEST)
            yield from self._refuse(exchange)
            return False
        self._read = self._read_body
        yield ReceiveHttp(Asked(self._stream_id, exchange))
        yield from self._pass_on(exchange, data, complete=complete)
        return True

    def _read_body(self) -> CommandGenerator[bool]:
        exchange = self._current
        try:
            data, complete = self._body.read(self._buffer)
        except BodyError:
            exchange.refuse(Reason.MALFORMED_REQUEST, Stage.REQUEST)
            yield from self._give_up("malformed body")
            return False
        yield from self._pass_on(exchange, data, complete=complete)
        return complete

    def _pass_on(self, exchange: Exchange, data: bytes, *, complete: bool) -> CommandGenerator[None]:
        if data:
            exchange.up += len(data)
            yield ReceiveHttp(RequestData(self._stream_id, data))
        if complete and self._read == self._read_body:
            yield from self._request_read()

    def _request_read(self) -> CommandGenerator[None]:
        self._requested = True
        self._read = self._wait
        yield ReceiveHttp(RequestEndOfMessage(self._stream_id))

    def _wait(self) -> CommandGenerator[bool]:
        """Leave what comes behind a request until the response is complete, up to a bound."""
        if len(self._buffer) > _PIPELINED:
            self._line.hold("pipelined")
        yield from ()
        return False

    def _relay(self) -> CommandGenerator[bool]:
        data = bytes(self._buffer)
        self._buffer.clear()
        self._current.up += len(data)
        yield ReceiveHttp(RequestData(self._stream_id, data))
        return False

    def _drop(self) -> CommandGenerator[bool]:
        self._buffer.clear()
        yield from ()
        return False

    def _closed(self) -> CommandGenerator[None]:
        """End with the client, unless it has merely said all that it had to say.

        Inside TLS nobody half-closes: a client that leaves takes its request with it, and the destination is told so.
        """
        self._line.head_done()
        if self._read == self._wait and not self._line.hooks.sealed:
            self._keep_open = False
            return
        if self._exchange is not None and not self._responded and self._read != self._drop:
            yield ReceiveHttp(RequestProtocolError(self._stream_id, "client left", ErrorCode.CLIENT_DISCONNECTED))
        self._read = self._drop
        yield commands.CloseConnection(self.conn)

    def _late(self, *, head: bool) -> CommandGenerator[None]:
        """Act on a deadline: refuse a head or an exchange, close what is merely idle."""
        if head:
            exchange = self._line.hooks.broken(Reason.TIMEOUT, Stage.REQUEST)
            exchange.event.status = _REQUEST_TIMEOUT
            self._exchange, self._responded = exchange, False
            yield from self._refuse(exchange)
        elif self._exchange is not None and not self._responded and self._read != self._drop:
            self._exchange.refuse(Reason.TIMEOUT, Stage.RESPONSE)
            yield from self._give_up("timeout")
        else:
            yield commands.CloseConnection(self.conn)

    # Answering ----------------------------------------------------------------------------------------------------

    def _send(self, event: HttpEvent) -> CommandGenerator[None]:
        if isinstance(event, Reply):
            yield from self._reply(event)
        elif isinstance(event, ResponseData):
            yield from self._write(chunk(event.data) if self._chunked else event.data)
        elif isinstance(event, ResponseEndOfMessage):
            # A drain may have begun since the head promised to keep the connection.
            self._keep = self._keep and self._keep_open and not self._line.draining
            if self._chunked or self._head_out:
                yield from self._write(LAST_CHUNK if self._chunked else b"")
            yield from self._response_sent()
        elif isinstance(event, Refusal):
            yield from self._deny(event.answer)
        elif isinstance(event, Continue):
            yield commands.SendData(self.conn, CONTINUE)
        elif isinstance(event, ResponseProtocolError):
            self._read = self._drop
            yield CloseAbruptly(self.conn)

    def _reply(self, event: Reply) -> CommandGenerator[None]:
        """Send the head of a response; after a switch, what the client has said already goes on too."""
        self._chunked, self._keep = event.chunked, event.keep
        self._head_out = event.head
        if not event.more:
            yield from self._write(b"")
        if event.switching:
            self._read = self._relay
            self._line.release("pipelined")
            yield from self._advance()

    def _write(self, data: bytes) -> CommandGenerator[None]:
        """Send a piece of the response, behind the head where that waits: one record and one packet are enough."""
        head, self._head_out = self._head_out, b""
        yield commands.SendData(self.conn, head + data)

    def _response_sent(self) -> CommandGenerator[None]:
        """Go on to the next request, or close."""
        self._responded = True
        if not self._keep or not self._requested or self._read == self._relay:
            finished = self._requested and not self._buffer
            self._read = self._drop
            yield (commands.CloseConnection if finished else CloseLingering)(self.conn)
            return
        self._stream_id += 2
        self._read = self._read_head
        self._line.release("pipelined")
        yield from self._advance()

    def _give_up(self, why: str) -> CommandGenerator[None]:
        """Take the stream down, and tell the client where that is still possible."""
        exchange = self._current
        self._requested = False
        yield ReceiveHttp(RequestProtocolError(self._stream_id, why, ErrorCode.GENERIC_CLIENT_ERROR))
        if exchange.begun:
            self._read = self._drop
            exchange.close()
            yield CloseAbruptly(self.conn)
        else:
            yield from self._refuse(exchange)

    def _refuse(self, exchange: Exchange) -> CommandGenerator[None]:
        yield from guarded(self._line, self._line.hooks.refusal, exchange)
        answer = exchange.answer()
        exchange.close()
        yield from self._deny(answer)

    def _deny(self, answer: bytes) -> CommandGenerator[None]:
        self._responded = True
        finished = self._requested and not self._buffer
        self._read = self._drop
        self._buffer.clear()
        yield commands.SendData(self.conn, answer)
        yield (commands.CloseConnection if finished else CloseLingering)(self.conn)

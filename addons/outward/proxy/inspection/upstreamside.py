"""HTTP/1 towards the destination: requests out, responses in, every head and body through our strict readers.

Replaces mitmproxy's Http1Client, which reads heads without bound, takes an interim response for the final one, and
reuses a connection on which a response was ambiguous.
"""

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

from outward.core.reasons import Reason
from outward.proxy.fields import HeadError
from outward.proxy.head import END, ResponseHead, parse_response_head
from outward.proxy.headreader import judge_begun_response
from outward.proxy.inspection.bodies import LAST_CHUNK, Body, BodyError, Sized, UntilClose, body_of, chunk
from outward.proxy.inspection.guard import Line
from outward.proxy.inspection.signals import Forward, Replied

_INTERIM = 16  # responses before the final one
_NOTHING = Sized(0)
_RELAYED = UntilClose()  # what follows a 101


class UpstreamSide(HttpConnection):
    """The client's part: requests out, responses in.

    Attributes:
        idle: the connection may carry another request.
    """

    def __init__(self, context: Context, line: Line) -> None:
        super().__init__(context, context.server)
        self._line = line
        self._stream_id = 0  # none
        self._buffer = bytearray()
        self._scanned = 0  # bytes of a head that is not complete
        self._method = ""
        self._chunked = self._keep = self._requested = False
        self._interim = 0
        self._head: ResponseHead | None = None
        self._body: Body = _NOTHING

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return not self._stream_id

    def handle_event(self, event: events.Event) -> CommandGenerator[None]:
        """Take an event. This layer never waits, so it needs nothing that waiting takes."""
        return self._handle_event(event)

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            self._buffer += event.data
            yield from self._advance()
        elif isinstance(event, HttpEvent):
            yield from self._send(event)
        elif isinstance(event, events.ConnectionClosed):
            yield from self._closed()

    def _send(self, event: HttpEvent) -> CommandGenerator[None]:
        if isinstance(event, Forward):
            self._stream_id, self._method, self._chunked = event.stream_id, event.method, event.chunked
            self._requested, self._interim, self._head, self._body = False, 0, None, _NOTHING
            yield commands.SendData(self.conn, event.head)
        elif event.stream_id != self._stream_id:
            return  # the response was complete, or the connection lost, before the request was
        elif isinstance(event, RequestData):
            yield commands.SendData(self.conn, chunk(event.data) if self._chunked else event.data)
        elif isinstance(event, RequestEndOfMessage):
            self._requested = True
            if self._chunked:
                yield commands.SendData(self.conn, LAST_CHUNK)
        elif isinstance(event, RequestProtocolError):
            yield from self._leave()

    def _advance(self) -> CommandGenerator[None]:
        while self._buffer:
            if not self._stream_id:
                self._buffer.clear()
                yield from self._leave()  # nobody has asked for what it says
                return
            try:
                going_on = (yield from self._read_body()) if self._head else (yield from self._read_head())
            except (HeadError, BodyError) as error:
                yield from self._fail(str(error))
                return
            if not going_on:
                return

    def _read_head(self) -> CommandGenerator[bool]:
        scanned = max(0, self._scanned - 3)
        end = self._buffer.find(END, scanned)
        if end < 0:
            if len(self._buffer) > self._line.limits.head_bytes:
                raise HeadError(Reason.TOO_LARGE, "the response head is too long")
            judge_begun_response(self._buffer, scanned)
            self._scanned = len(self._buffer)
            return False
        self._scanned = 0
        raw = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        head = parse_response_head(raw, self._line.limits, self._method)
        if head.status < 200 and head.status != 101:
            self._interim += 1
            if self._interim > _INTERIM:
                raise HeadError(Reason.UPSTREAM_FAILED, "too many interim responses")
            return True
        self._head = head
        options = {
            each.strip().lower() for name, value in head.fields if name == "connection" for each in value.split(",")
        }
        self._keep = not (head.http_10 or head.until_close or "close" in options)
        self._body = (
            _RELAYED
            if head.status == 101
            else body_of(
                head.length, lambda: self._line.judge.metrics.trailers_dropped("down"), until_close=head.until_close
            )
        )
        yield ReceiveHttp(Replied(self._stream_id, raw, head, more=bool(self._buffer) and head.length != 0))
        if head.length == 0 and self._body is not _RELAYED:
            yield from self._done()
        return True

    def _read_body(self) -> CommandGenerator[bool]:
        data, complete = self._body.read(self._buffer)
        if data:
            yield ReceiveHttp(ResponseData(self._stream_id, data))
        if complete:
            yield from self._done()
        return complete

    def _done(self) -> CommandGenerator[None]:
        """End the response; keep the connection only where both messages ended as they said."""
        stream_id, self._stream_id = self._stream_id, 0
        if not stream_id:
            return
        if not self._keep or not self._requested or self._buffer:
            yield from self._leave()
        yield ReceiveHttp(ResponseEndOfMessage(stream_id))

    def _closed(self) -> CommandGenerator[None]:
        if not self._stream_id:
            yield from self._leave()
        elif self._head is None:
            yield from self._fail("the destination closed without a response")
        else:
            try:
                self._body.finish()
            except BodyError as error:
                yield from self._fail(str(error))
            else:
                self._keep = False
                yield from self._done()

    def _fail(self, why: str) -> CommandGenerator[None]:
        stream_id, self._stream_id = self._stream_id, 0
        yield from self._leave()
        if stream_id:
            yield ReceiveHttp(ResponseProtocolError(stream_id, why, ErrorCode.GENERIC_SERVER_ERROR))

    def _leave(self) -> CommandGenerator[None]:
        self._stream_id = 0
        yield commands.CloseConnection(self.conn)

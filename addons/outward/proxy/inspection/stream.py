"""One request on its way through the engine: asked, dialled, forwarded, answered; streamed both ways.

Replaces mitmproxy's HttpStream, which buffers bodies, answers `Expect` before the verdict, and lets a failing hook
pass. Nothing is dialled before the request was judged; nothing of a response is passed on before its head was.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.http import DropStream, GetHttpConnection, SendHttp
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
from outward.proxy.inspection.budget import too_long
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.forwarding import request_head, response_head
from outward.proxy.inspection.governor import CutError, Pass, Refuse, Said, Tap, Whole
from outward.proxy.inspection.guard import Line, Wait, guarded
from outward.proxy.inspection.signals import Asked, Continue, Forward, Refusal, Replied, Reply

_log = logging.getLogger(__name__)

_LONGEST_REFUSAL = 64 * 1024  # bytes of a response that is read before the client sees it


class Stream(Layer):
    """Carries one exchange between the two HTTP/1 sides."""

    def __init__(self, context: Context, stream_id: int, line: Line) -> None:
        super().__init__(context)
        self._id = stream_id
        self._line = line
        self._exchange: Exchange | None = None
        self._collected: bytearray | None = None
        self._tap: Tap | None = None
        self._held: tuple[Replied, bytearray] | None = None
        self._untold: Replied | None = None
        self._connected = self._requested = self._over = False

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, Asked):
            yield from self._asked(event.exchange)
        elif not self._over and self._exchange is not None:
            handler = _HANDLERS.get(type(event))
            if handler is not None:
                yield from handler(self, self._exchange, event)

    # Up -----------------------------------------------------------------------------------------------------------

    def _asked(self, exchange: Exchange) -> CommandGenerator[None]:
        self._exchange = exchange
        if not exchange.governed:
            yield from self._forward(exchange, None, Pass())
        elif not exchange.collected:
            yield from self._govern(exchange, b"")
        else:
            self._collected = bytearray()
            if exchange.request.expect:
                yield SendHttp(Continue(self._id), self.context.client)

    def _request_data(self, exchange: Exchange, event: RequestData) -> CommandGenerator[None]:
        if self._collected is None:
            yield SendHttp(event, self.context.server)
            return
        self._collected += event.data
        if len(self._collected) > self._line.limits.body_inspect_bytes:
            exchange.refuse(Reason.TOO_LARGE, Stage.SEARCH)
            exchange.event.detail = too_long(self._line.limits.body_inspect_bytes)
            yield from self._refuse(exchange)
        elif not exchange.hold(len(event.data)):
            exchange.refuse(Reason.OVERLOADED, Stage.SEARCH)
            yield from self._refuse(exchange)

    def _request_ended(self, exchange: Exchange, event: RequestEndOfMessage) -> CommandGenerator[None]:
        self._requested = True
        if self._collected is not None:
            body, self._collected = bytes(self._collected), None
            yield from self._govern(exchange, body)
        elif self._connected:
            yield SendHttp(event, self.context.server)

    def _govern(self, exchange: Exchange, body: bytes) -> CommandGenerator[None]:
        """Let governance judge, and forward what it lets through."""
        verdict = yield from guarded(self._line, self._line.hooks.body, exchange, body)
        if isinstance(verdict, Said):
            exchange.said = verdict.answer
            yield from self._refuse(exchange)
            return
        if not isinstance(verdict, Pass) or exchange.refused:
            reason = verdict.reason if isinstance(verdict, Refuse) else Reason.INTERNAL_ERROR
            exchange.refuse(reason, Stage.SEARCH)
            if isinstance(verdict, Refuse):
                exchange.line, exchange.detail = verdict.line, verdict.detail
                exchange.dialect = verdict.dialect or exchange.dialect
            yield from self._refuse(exchange)
            return
        whole = (body if verdict.body is None else verdict.body) if exchange.collected else None
        yield from self._forward(exchange, whole, verdict)

    def _forward(self, exchange: Exchange, body: bytes | None, verdict: Pass) -> CommandGenerator[None]:
        """Connect, and send the head, and the body where it was collected."""
        head = exchange.request
        tls = self._line.hooks.sealed
        connection, _ = yield GetHttpConnection((head.host.name, head.port), tls, None)
        if connection is None or exchange.refused or exchange.closed:
            exchange.refuse(Reason.UPSTREAM_FAILED, Stage.ADDRESS)
            yield from self._refuse(exchange)
            return
        self.context.server, self._connected = connection, True
        exchange.parent = self._line.parent_of(connection)
        raw = request_head(
            exchange.raw,
            head,
            tls=tls,
            overrides=not exchange.decision.sighted,
            length=None if body is None else len(body),
            fields=verdict.fields,
            parent=self._line.parent_fields(exchange.parent),
        )
        yield SendHttp(Forward(self._id, raw, head.method, chunked=head.length is None and body is None), connection)
        if body is not None:
            yield SendHttp(RequestData(self._id, body), connection)
            yield SendHttp(RequestEndOfMessage(self._id), connection)
        elif head.expect:
            yield SendHttp(Continue(self._id), self.context.client)

    # Down ---------------------------------------------------------------------------------------------------------

    def _replied(self, exchange: Exchange, event: Replied) -> CommandGenerator[None]:
        onward = yield from guarded(self._line, self._line.hooks.response, exchange, event.head)
        if onward is None:
            exchange.refuse(Reason.INTERNAL_ERROR, Stage.RESPONSE)
        if onward is None or exchange.refused:
            yield from self._refuse(exchange)
            return
        if onward.held:
            self._held = (event, bytearray())
            return
        self._tap = onward.tap
        if isinstance(self._tap, Whole):
            self._untold = event
        else:
            yield from self._reply(exchange, event)

    def _after_refusal(self, exchange: Exchange, event: Replied, body: bytes) -> CommandGenerator[bool]:
        """Send a mended request once more, or pass on what was held; tells whether it was sent."""
        self._held = None
        answer = yield from guarded(self._line, self._line.hooks.again, exchange, event.head, body)
        mended, self._tap = answer or (None, None)
        if mended is not None and mended.body is not None:
            yield from self._forward(exchange, mended.body, mended)
            return True
        yield from self._reply(exchange, event)
        if body:
            yield from self._response_data(exchange, ResponseData(self._id, body))
        return False

    def _reply(self, exchange: Exchange, event: Replied) -> CommandGenerator[None]:
        head = exchange.request
        switching = event.head.status == 101
        keep = head.keep_alive and not self._line.draining and not switching
        raw, chunked = response_head(event.raw, event.head, head, keep=keep, rewritten=self._tap is not None)
        exchange.begun = True
        exchange.event.status = event.head.status
        more = event.more and self._tap is None
        yield SendHttp(Reply(self._id, raw, more, chunked, keep, switching), self.context.client)

    def _response_data(self, exchange: Exchange, event: ResponseData) -> CommandGenerator[None]:
        data = event.data
        if self._held is not None:
            replied, held = self._held
            held += data
            if len(held) > _LONGEST_REFUSAL:
                self._held = None
                yield from self._reply(exchange, replied)
                yield from self._response_data(exchange, ResponseData(self._id, bytes(held)))
            return
        if self._tap is not None:
            tapped = yield from self._tapped(exchange, self._tap, data)
            if not tapped:
                return
            data = tapped
        exchange.down += len(data)
        yield SendHttp(ResponseData(self._id, data), self.context.client)

    def _tapped(self, exchange: Exchange, tap: Tap, data: bytes) -> CommandGenerator[bytes]:
        """Let the tap see a piece; a tap that cuts or fails ends the response."""
        passed = yield from self._tell(tap, data)
        if isinstance(passed, bytes) and not exchange.closed:
            return passed
        if passed is None:
            exchange.refuse(Reason.INTERNAL_ERROR, Stage.RESPONSE)
        elif isinstance(passed, CutError) and passed.last and not exchange.closed:
            exchange.down += len(passed.last)
            yield SendHttp(ResponseData(self._id, passed.last), self.context.client)
        yield from self._cut(exchange) if exchange.begun else self._refuse(exchange)
        return b""

    def _tell(self, tap: Tap, data: bytes) -> CommandGenerator[bytes | CutError | None]:
        """Return what a tap says of a piece, its cut, or None where it fails: what could not be read does not go on."""
        try:
            passed = tap(data)
        except CutError as cut:
            return cut
        except Exception:  # noqa: BLE001 - fail closed
            self._line.judge.metrics.internal_error("response_tap")
            _log.exception("a tap failed: the response is cut")
            return None
        if isinstance(passed, bytes):
            return passed
        waited = yield Wait("response_tap", _or_cut(passed), self.context.server)
        return waited[0] if waited else None

    def _response_ended(self, exchange: Exchange, _event: ResponseEndOfMessage) -> CommandGenerator[None]:
        if self._held is not None:
            replied, held = self._held
            sent = yield from self._after_refusal(exchange, replied, bytes(held))
            if sent:
                return
        if self._tap is not None:
            rest = yield from self._tapped(exchange, self._tap, b"")
            if self._over:
                return
            if self._untold is not None:
                yield from self._reply(exchange, self._untold)
            if rest:
                exchange.down += len(rest)
                yield SendHttp(ResponseData(self._id, rest), self.context.client)
        exchange.close()
        yield from self._end()
        yield SendHttp(ResponseEndOfMessage(self._id), self.context.client)

    # Ends ---------------------------------------------------------------------------------------------------------

    def _end(self) -> CommandGenerator[None]:
        """Be done; what the destination has not been sent in full, it never will be."""
        self._over = True
        if self._connected and not self._requested:
            yield from self._leave()
        yield DropStream(self._id)

    def _leave(self) -> CommandGenerator[None]:
        yield SendHttp(RequestProtocolError(self._id, "given up", ErrorCode.CLIENT_DISCONNECTED), self.context.server)

    def _refuse(self, exchange: Exchange) -> CommandGenerator[None]:
        """Answer with the denial, unless the client has been told something already."""
        self._over = True
        if self._connected:
            yield from self._leave()
        if not exchange.closed:
            answer = exchange.answer()
            exchange.close()
            yield SendHttp(Refusal(self._id, answer), self.context.client)
        yield DropStream(self._id)

    def _cut(self, exchange: Exchange) -> CommandGenerator[None]:
        """End a response that has begun so that nobody takes it for the whole."""
        self._over = True
        yield from self._leave()
        exchange.close()
        yield SendHttp(ResponseProtocolError(self._id, "cut", ErrorCode.KILL), self.context.client)
        yield DropStream(self._id)

    def _client_failed(self, exchange: Exchange, event: RequestProtocolError) -> CommandGenerator[None]:
        """Take the upstream side down; the client's side sees to the client."""
        self._over = True
        if self._connected:
            yield SendHttp(event, self.context.server)
        if event.code is ErrorCode.CLIENT_DISCONNECTED:
            exchange.close()
        yield DropStream(self._id)

    def _upstream_failed(self, exchange: Exchange, event: ResponseProtocolError) -> CommandGenerator[None]:
        exchange.fail(Reason.UPSTREAM_FAILED, Stage.RESPONSE, f"the destination's answer: {event.message}")
        if exchange.begun:
            yield from self._cut(exchange)
        else:
            self._connected = False
            yield from self._refuse(exchange)


async def _or_cut(passed: Awaitable[bytes]) -> bytes | CutError:
    try:
        return await passed
    except CutError as cut:
        return cut


_HANDLERS: dict[type[events.Event], Callable[[Stream, Exchange, Any], CommandGenerator[None]]] = {
    RequestData: Stream._request_data,  # noqa: SLF001 - the table of this class
    RequestEndOfMessage: Stream._request_ended,  # noqa: SLF001 - as above
    Replied: Stream._replied,  # noqa: SLF001 - as above
    ResponseData: Stream._response_data,  # noqa: SLF001 - as above
    ResponseEndOfMessage: Stream._response_ended,  # noqa: SLF001 - as above
    RequestProtocolError: Stream._client_failed,  # noqa: SLF001 - as above
    ResponseProtocolError: Stream._upstream_failed,  # noqa: SLF001 - as above
}

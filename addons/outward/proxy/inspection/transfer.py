"""One request on its way: asked, dialled, forwarded, answered; streamed both ways.

Nothing is dialled before the request was judged; nothing of a response is passed on before its head was. Nothing is
sent twice but what may be (RFC 9110 9.2.2): a request that a kept connection lost before a byte of its answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.http1.fields import Fields
from outward.http1.forwarding import request_head, response_head
from outward.http1.head import ResponseHead
from outward.proxy.inspection.budget import too_long
from outward.proxy.inspection.carrier import Carrier, Upward
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.governor import CutError, Pass, Refuse, Said, Tap, Whole
from outward.proxy.inspection.hooks import Onward

_LONGEST_REFUSAL = 64 * 1024  # bytes of a response that is read before the client sees it
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 9.2.2
_UNCHANGED = Pass()


class Transfer:
    """Carries one exchange between the client's side and a destination's.

    Attributes:
        over: nothing more of it is passed on.
        trailers: fields behind the response's body, as they go on.
    """

    __slots__ = (
        "_again",
        "_asked",
        "_collected",
        "_early",
        "_exchange",
        "_held",
        "_lookout",
        "_onward",
        "_raw",
        "_requested",
        "_response",
        "_session",
        "_tap",
        "_told",
        "_upstream",
        "_waiting",
        "over",
        "trailers",
    )

    def __init__(self, session: Carrier, exchange: Exchange) -> None:
        self._session = session
        self._exchange = exchange
        self.trailers: Fields = []
        self._upstream: Upward | None = None
        self._onward: tuple[bytes | None, Pass] = (None, _UNCHANGED)  # the body, and what else goes on
        self._collected: bytearray | None = None
        self._early = bytearray()  # of the body, before there is a connection
        self._asked = 0.0
        self._requested = self._again = self._told = self.over = False
        self._raw = b""
        self._response: ResponseHead | None = None
        self._held: bytearray | None = None
        self._tap: Tap | None = None
        self._lookout = session.hooks.lookout()

    # Up -------------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Forward the request, or collect what is to be judged first."""
        exchange = self._exchange
        if not exchange.governed:
            self._forward()
        elif not exchange.collected:
            self._govern(b"")
        else:
            self._collected = bytearray()
            if exchange.request.expect:
                self._session.downstream.go_on()

    def request_data(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        if self.over:
            return
        if self._lookout is not None:
            self._lookout.look(data)
        if self._collected is not None:
            self._collect(self._collected, data)
        elif self._upstream is not None:
            self._upstream.data(data)
        else:
            self._early += data
            self._session.client.hold("early")

    def _collect(self, collected: bytearray, data: bytes) -> None:
        exchange, limit = self._exchange, self._session.limits.body_inspect_bytes
        collected += data
        if len(collected) > limit:
            exchange.refuse(Reason.TOO_LARGE, Stage.SEARCH)
            exchange.event.detail = too_long(limit)
            self._refuse()
        elif not exchange.hold(len(data)):
            exchange.refuse(Reason.OVERLOADED, Stage.SEARCH)
            self._refuse()

    def request_ended(self) -> None:
        """Take the request's end."""
        self._requested = True
        if self.over:
            return
        if self._lookout is not None:
            self._lookout.look(b"", last=True)
        if self._collected is not None:
            body, self._collected = bytes(self._collected), None
            self._govern(body)
        elif self._upstream is not None:
            self._upstream.finish()

    def _govern(self, body: bytes) -> None:
        """Let governance judge."""
        self._asked = asyncio.get_running_loop().time()
        governed = partial(self._governed, body)
        self._session.ask("hook_body", None, governed, self._session.hooks.body, self._exchange, body)

    def _governed(self, body: bytes, verdict: Pass | Refuse | Said | None) -> None:
        """Forward what governance lets through."""
        exchange = self._exchange
        if exchange.event.span is not None:
            exchange.event.span.stage("search", asyncio.get_running_loop().time() - self._asked)
        if self.over:
            return
        if isinstance(verdict, Said):
            exchange.said = verdict.answer
            self._refuse()
            return
        if not isinstance(verdict, Pass) or exchange.refused:
            exchange.refuse(verdict.reason if isinstance(verdict, Refuse) else Reason.INTERNAL_ERROR, Stage.SEARCH)
            if isinstance(verdict, Refuse):
                exchange.line, exchange.detail = verdict.line, verdict.detail
                exchange.dialect = verdict.dialect or exchange.dialect
            self._refuse()
            return
        whole = (body if verdict.body is None else verdict.body) if exchange.collected else None
        self._onward = (whole, verdict)
        self._forward()

    def _forward(self, *, fresh: bool = False) -> None:
        """Ask for a connection to the destination."""
        self._session.destinations.connect(self._exchange, self._connected, fresh=fresh)

    def _connected(self, upstream: Upward | None) -> None:
        """Send the head, and the body as far as it is there."""
        exchange = self._exchange
        if self.over or upstream is None or exchange.refused or exchange.closed:
            if upstream is not None:
                upstream.close()
            if not self.over:
                exchange.refuse(Reason.UPSTREAM_FAILED, Stage.ADDRESS)
                self._refuse()
            return
        self._upstream, exchange.parent = upstream, upstream.parent
        head, (body, verdict) = exchange.request, self._onward
        fields = verdict.fields
        if exchange.placed or exchange.event.span is not None:
            fields = {**fields, **exchange.placed, **exchange.traced}
        raw = request_head(
            exchange.raw,
            head,
            tls=self._session.hooks.sealed,
            overrides=not exchange.decision.needs_inspection,
            length=None if body is None else len(body),
            fields=fields,
            parent=self._session.destinations.parent_fields(upstream.parent),
        )
        upstream.request(self, raw, head, chunked=head.length is None and body is None)
        if body is not None:
            upstream.data(body)
            upstream.finish()
            return
        if head.expect:
            self._session.downstream.go_on()
        early, self._early = bytes(self._early), bytearray()
        self._session.client.release("early")
        if early:
            upstream.data(early)
        if self._requested:
            upstream.finish()

    # Down -----------------------------------------------------------------------------------------------------------

    def replied(self, raw: bytes, head: ResponseHead, *, more: bool) -> None:
        """Judge a response head."""
        self._raw, self._response, self._waiting = raw, head, more
        response = self._session.hooks.response
        self._session.ask("hook_response", self._upstream, self._judged, response, self._exchange, head)

    def _judged(self, onward: Onward | None) -> None:
        exchange = self._exchange
        if self.over:
            return
        if onward is None:
            exchange.refuse(Reason.INTERNAL_ERROR, Stage.RESPONSE)
        if onward is None or exchange.refused:
            self._refuse()
        elif onward.held:
            self._held = bytearray()
        else:
            self._tap = onward.tap
            if not isinstance(self._tap, Whole):
                self._reply()

    def _reply(self) -> None:
        """Pass the head on."""
        exchange, response, session = self._exchange, self._answered, self._session
        head, switching = exchange.request, response.status == 101
        keep = head.keep_alive and not session.draining and not switching
        raw, response = session.hooks.masked(exchange, self._raw, response)
        raw, chunked = response_head(raw, response, head, keep=keep, rewritten=self._tap is not None)
        exchange.begin(response.status)
        self._told = True
        session.downstream.reply(raw, chunked=chunked, keep=keep, wait=self._waiting and self._tap is None)
        if switching:
            session.downstream.switch()

    def response_data(self, data: bytes) -> None:
        """Take a piece of the response's body."""
        if self.over:
            return
        if self._held is not None:
            self._held += data
            if len(self._held) > _LONGEST_REFUSAL:
                held, self._held = bytes(self._held), None
                self._reply()
                self._pass_on(held)
        elif self._tap is not None:
            self._read(self._tap, data, self._pass_on)
        else:
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if data:
            self._exchange.down += len(data)
            self._session.downstream.data(data)

    def response_trailers(self, fields: Fields) -> None:
        """Keep the fields behind the body, without the secrets that the request carried."""
        self.trailers = self._session.hooks.masked_fields(self._exchange, fields)

    def response_ended(self) -> None:
        """Take the response's end."""
        self._upstream = None
        if self.over:
            return
        if self._held is not None:
            again = self._session.hooks.again
            held = bytes(self._held)
            self._session.ask("hook_again", None, self._after_refusal, again, self._exchange, self._answered, held)
        else:
            self._end()

    def _after_refusal(self, answer: tuple[Pass | None, Tap | None] | None) -> None:
        """Send a mended request once more, or pass on what was held."""
        if self.over or self._held is None:
            return
        held, self._held = bytes(self._held), None
        mended, self._tap = answer or (None, None)
        if mended is not None and mended.body is not None:
            self._onward = (mended.body, mended)
            self._forward()
            return
        self._waiting = False
        self._reply()
        if not held:
            self._end()
        elif self._tap is None:
            self._pass_on(held)
            self._end()
        else:
            self._read(self._tap, held, self._pass_on_and_end)

    def _pass_on_and_end(self, data: bytes) -> None:
        self._pass_on(data)
        self._end()

    def _end(self) -> None:
        """Let the tap have the last word, if there is one, and be done."""
        if self._tap is None:
            self._finish(b"")
        else:
            self._read(self._tap, b"", self._finish)

    def _finish(self, rest: bytes) -> None:
        if not self._told:
            self._waiting = bool(rest)
            self._reply()
        self._pass_on(rest)
        self.over = True
        self._exchange.close()
        self._session.downstream.finish()

    # Taps -----------------------------------------------------------------------------------------------------------

    def _read(self, tap: Tap, data: bytes, then: Callable[[bytes], None]) -> None:
        """Let the tap see a piece, and go on with what it passes; meanwhile nothing else is read of the response."""
        self._session.ask("response_tap", self._upstream, partial(self._tapped, then), _piece, tap, data)

    def _tapped(self, then: Callable[[bytes], None], passed: bytes | CutError | None) -> None:
        """Go on, or end the response: a tap cuts it, or has failed."""
        exchange = self._exchange
        if self.over:
            return
        if isinstance(passed, bytes) and not exchange.closed:
            then(passed)
            return
        if passed is None:
            exchange.refuse(Reason.INTERNAL_ERROR, Stage.RESPONSE)
        elif isinstance(passed, CutError) and not exchange.closed:
            self._pass_on(passed.last)
        if exchange.begun:
            self._cut()
        else:
            self._refuse()

    @property
    def _answered(self) -> ResponseHead:
        if self._response is None:
            raise RuntimeError("there is no response")
        return self._response

    # Ends -----------------------------------------------------------------------------------------------------------

    def leave(self, *, gone: bool = False) -> None:
        """Be done: the client's side is over, and sees to the client; `gone` if the client has left."""
        self.over = True
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        self._session.client.release("early")
        if gone:
            self._exchange.close()

    def _refuse(self) -> None:
        """Answer with the denial, unless the client has been told something already."""
        self.leave()
        exchange = self._exchange
        if not exchange.closed:
            answer = exchange.answer()
            exchange.close()
            self._session.downstream.deny(answer)

    def _cut(self) -> None:
        """End a response that has begun so that nobody takes it for the whole."""
        self.leave(gone=True)
        self._session.downstream.cut()

    def failed(self, why: str, *, unheard: bool) -> None:
        """Send it once more, or give up: the destination's side is lost."""
        upstream, self._upstream = self._upstream, None
        if self.over:
            return
        if unheard and upstream is not None and upstream.used and self._repeatable():
            self._again = True
            self._forward(fresh=True)
            return
        exchange = self._exchange
        exchange.fail(Reason.UPSTREAM_FAILED, Stage.RESPONSE, f"the destination's answer: {why}")
        if exchange.begun:
            self._cut()
        else:
            self._refuse()

    def _repeatable(self) -> bool:
        """Tell whether the request may be sent again: it asks for the same a second time, and nothing of it is gone."""
        head = self._exchange.request
        return not self._again and head.length == 0 and head.method in _IDEMPOTENT and not head.websocket


def _piece(tap: Tap, data: bytes) -> bytes | CutError | Awaitable[bytes | CutError]:
    """Return what a tap passes of a piece, or its cut."""
    try:
        passed = tap(data)
    except CutError as cut:
        return cut
    return passed if isinstance(passed, bytes) else _or_cut(passed)


async def _or_cut(passed: Awaitable[bytes]) -> bytes | CutError:
    try:
        return await passed
    except CutError as cut:
        return cut

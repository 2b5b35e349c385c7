"""A request on its way through mitmproxy: governed, sent to a judged address, answered, and read on its way back.

Owns what `inspection.stream` owns in `serve`, with the means that mitmproxy's flows have. Judges nothing itself.
"""

import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from inspect import isawaitable

from mitmproxy import http

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.http1.fields import HeadError
from outward.http1.forwarding import request_head, response_head
from outward.http1.head import ResponseHead, parse_response_head
from outward.mitmdump.connections import MitmConnection
from outward.mitmdump.messages import put_request, put_response, response_bytes, response_of
from outward.proxy.inspection.budget import too_long
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.governor import CutError, Pass, Refuse, Said, Tap, Whole
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.secrets import Lookout

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class MitmExchange:
    """A request under way.

    Attributes:
        flow: mitmproxy's.
        head: of the answer.
    """

    connection: MitmConnection
    flow: http.HTTPFlow
    exchange: Exchange
    head: ResponseHead | None = None
    _tap: Tap | None = field(default=None)
    _held: bool = False
    _ended: bool = False
    _told: bytes = b""
    _lookout: Lookout | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.connection.cut = self.cut
        self._lookout = None if self.connection.hooks is None else self.connection.hooks.lookout()

    @property
    def _hooks(self) -> Hooks:
        if self.connection.hooks is None:
            raise ValueError("nothing was let through on this connection")
        return self.connection.hooks

    # Up -----------------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Send the head once it may be, and stream the body behind it, unless the body is to be read first."""
        exchange = self.exchange
        if not exchange.refused and not exchange.collected:
            await self._send(None)
        if exchange.refused or exchange.said is not None:
            await self.tell()
        elif not exchange.collected:  # mitmproxy cannot answer and stream
            self.flow.request.stream = self._count

    async def go_on(self, body: bytes) -> None:
        """Judge a body that was read as a whole, and let it be sent."""
        exchange, limit = self.exchange, self.connection.service.settings.limits.body_inspect_bytes
        self._look(body)
        self._look(b"")
        if len(body) > limit:
            exchange.refuse(Reason.TOO_LARGE, Stage.SEARCH)
            exchange.event.detail = too_long(limit)
        elif not exchange.hold(len(body)):
            exchange.refuse(Reason.OVERLOADED, Stage.SEARCH)
        else:
            await self._send(body)
        if exchange.refused or exchange.said is not None:
            await self.tell()

    async def _send(self, body: bytes | None) -> None:
        exchange, request = self.exchange, self.flow.request
        verdict: Pass | Refuse | Said = Pass()
        if exchange.governed:
            judged = self._hooks.body(exchange, body or b"")
            verdict = await judged if isawaitable(judged) else judged
        if isinstance(verdict, Refuse):
            exchange.refuse(verdict.reason, Stage.SEARCH)
            exchange.line, exchange.detail = verdict.line, verdict.detail
            exchange.dialect = verdict.dialect or exchange.dialect
            return
        if isinstance(verdict, Said):
            exchange.said = verdict.answer
            return
        address = await self.connection.resolve(exchange)
        if address is None:
            return
        if body is not None:
            body = body if verdict.body is None else verdict.body
            request.raw_content, exchange.up = body, len(body)
        raw = request_head(
            exchange.raw,
            exchange.request,
            tls=self._hooks.sealed,
            overrides=not exchange.decision.needs_inspection,
            length=None if body is None else len(body),
            fields={**verdict.fields, **exchange.placed, **exchange.traced},
        )
        request.host = address  # what is dialled; Host and the server name still say the name
        put_request(request, raw)

    def _count(self, data: bytes) -> list[bytes]:
        """Pass on a piece of the body, unless all has ended; an empty one would be sent as the last chunk."""
        self.exchange.up += len(data)
        self._look(data)
        return [data] if data and not self._ended else []

    def _look(self, data: bytes) -> None:
        """Count placeholders in a piece of the body; the last one is empty."""
        if self._lookout is not None:
            self._lookout.look(data, last=not data)

    async def tell(self) -> None:
        """Answer with the denial, or what the proxy itself says; wrong credentials wait, where there were many."""
        wait = None if self.connection.hooks is None else self.connection.hooks.refusal(self.exchange)
        if wait is not None:
            await wait
        self.flow.response = response_of(self.exchange.answer())
        self.exchange.close()

    # Down ---------------------------------------------------------------------------------------------------------

    def answered(self, response: http.Response) -> None:
        """Judge an answer's head, and stream its body, unless it is to be read first."""
        exchange, raw = self.exchange, response_bytes(response)
        try:
            self.head = parse_response_head(raw, self.connection.service.settings.limits, exchange.request.method)
            onward = self._hooks.response(exchange, self.head)
            self._tap, self._held = onward.tap, onward.held
        except HeadError as error:
            exchange.fail(Reason.UPSTREAM_FAILED, Stage.RESPONSE, f"the destination's answer: {error}")
        if exchange.refused:
            self.replace()
        elif not self._held and not isinstance(self._tap, Whole):
            self._reply(response)
            response.stream = self._pieces

    async def read(self, response: http.Response) -> None:
        """Judge an answer that was read as a whole, and record the request; one that was streamed is recorded."""
        exchange, body = self.exchange, response.raw_content or b""
        if self._told:  # the answer had no body in whose place ours could be streamed
            response.raw_content, self._told = self._told, b""
        if exchange.closed:
            return
        if self._held and self.head is not None:  # what is learned counts from the next request on: none is sent twice
            again = self._hooks.again(exchange, self.head, body)
            self._tap = (await again if isawaitable(again) else again)[1]
        if not self._ended:
            rest = (self._tapped(body) if body else b"") + self._tapped(b"")
            if exchange.refused:
                self.flow.response = response_of(exchange.answer())
            else:
                if not exchange.begun:
                    self._reply(response)
                response.raw_content = rest
        if self.flow.websocket is None:
            exchange.close()

    def replace(self) -> None:
        """Put the denial in the place of an answer that may be endless: it is told at the answer's first piece."""
        answer = response_of(self.exchange.answer())
        self._told, self._ended = answer.raw_content or b"", True
        answer.stream = self._tell
        self.flow.response = answer
        self.exchange.close()

    def _tell(self, _data: bytes) -> list[bytes]:
        told, self._told = self._told, b""
        return [told] if told else []

    def _reply(self, response: http.Response) -> None:
        """Give a response the head that the client gets."""
        if self.head is None:
            raise ValueError("the answer was not read")
        head = self.exchange.request
        raw, answer = self._hooks.masked(self.exchange, response_bytes(response), self.head)
        put_response(
            response, response_head(raw, answer, head, keep=head.keep_alive, rewritten=self._tap is not None)[0]
        )
        self.exchange.begin(self.head.status)

    def _pieces(self, data: bytes) -> list[bytes]:
        """Return what goes on of a piece of an answer; an empty one would be sent as the last chunk."""
        passed = self._tapped(data)
        return [passed] if passed else []

    def _tapped(self, data: bytes) -> bytes:
        """Let the tap see a piece of an answer, the last one empty; what it cuts, or fails on, ends the answer."""
        if self._ended:
            return b""
        self._ended = not data
        try:
            passed = data if self._tap is None else _at_once(self._tap(data))
        except CutError as cut:
            passed = cut.last
            self.cut()
        except Exception:  # noqa: BLE001 - fail closed: what could not be read does not go on
            _log.exception("a tap failed: the answer is cut")
            self.connection.service.metrics.internal_error("response_tap")
            self.exchange.refuse(Reason.INTERNAL_ERROR, Stage.RESPONSE)
            passed = b""
            self.cut()
        self.exchange.down += len(passed)
        return passed

    def cut(self) -> None:
        """End an answer; one that has begun so that nobody takes it for the whole, once the destination has ended."""
        self._ended = True
        if self.exchange.begun and self.flow.killable:
            self.flow.kill()  # type: ignore[no-untyped-call] # mitmproxy's

    # Ends ---------------------------------------------------------------------------------------------------------

    def failed(self, why: str) -> None:
        """Record a request that came to nothing; mitmproxy has its own words for the client."""
        if self.flow.client_conn.connected and not self.exchange.closed:
            stage = Stage.RESPONSE if self.head else Stage.ADDRESS
            self.exchange.fail(Reason.UPSTREAM_FAILED, stage, f"the destination: {why}"[:256])
        self.exchange.close()

    def break_off(self, hook: str) -> None:
        """Refuse a request on which a hook has failed."""
        exchange = self.exchange
        exchange.refuse(Reason.INTERNAL_ERROR, Stage.RESPONSE if self.head else Stage.REQUEST)
        if exchange.begun:
            self.cut()
        elif not exchange.closed and hook == "responseheaders":
            self.replace()
        elif not exchange.closed:
            self.flow.response = response_of(exchange.answer())
        exchange.close()


def _at_once(read: bytes | Awaitable[bytes]) -> bytes:
    """Return what a tap passes on; mitmproxy's streams cannot wait for it, so that none here reads in a thread."""
    if isinstance(read, bytes):
        return read
    raise TypeError("a stream of mitmproxy cannot wait")

"""One request of a client's HTTP/2 connection and its response: judged, carried and answered by itself.

Owns how a denial, a response and a cut go out on a stream; gRPC's clients get a denial in their own words.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outward.config.settings import Limits
from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.http1.fields import HeadError
from outward.http2.frames import Code
from outward.http2.grpc import refusal
from outward.http2.messages import Pairs, is_grpc, request_head, response_fields
from outward.http2.session import Session
from outward.http2.told import Data, Head, Trailers
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.inspection.http2.multiplex import FULL, Part, Stream
from outward.proxy.inspection.http2.upstream import ClientStream
from outward.proxy.inspection.transfer import Transfer
from outward.proxy.parent import Parent

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import Pausable
    from outward.proxy.inspection.http2.downstream import Http2Downstream


class ServerStream(Stream):
    """One request and its response; carries a `Transfer`.

    Attributes:
        exchange: None until its head was read.
        code: with which the destination has cut it; None if it has not.
        touched: something has passed lately.
    """

    def __init__(self, owner: "Http2Downstream", ident: int) -> None:
        super().__init__(ident)
        self._owner = owner
        self.exchange: Exchange | None = None
        self.code: int | None = None
        self.touched = False
        self._transfer: Transfer | None = None
        self._source: ClientStream | None = None
        self._head_out: Pairs | None = None
        self._come = 0  # bytes of the request's body
        self._requested = self._responded = False
        self._placed = owner.session.engine.streams.take(self.hooks.client)
        owner.session.engine.waits.idle.start(self)

    # What a transfer asks of who carries it ---------------------------------------------------------------------------

    @property
    def http2(self) -> Session:
        """The connection that it is on."""
        return self._owner.http2

    @property
    def hooks(self) -> Hooks:
        """The policy."""
        return self._owner.session.hooks

    @property
    def limits(self) -> Limits:
        """Bounds."""
        return self._owner.session.limits

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to stop."""
        return self._owner.session.draining

    @property
    def client(self) -> "ServerStream":
        """What is held while the client must not send on."""
        return self

    @property
    def downstream(self) -> "ServerStream":
        """What is answered."""
        return self

    @property
    def destinations(self) -> "ServerStream":
        """What finds the way."""
        return self

    def ask[*A, T](
        self, where: str, side: "Pausable | None", then: Callable[[T | None], None], function: Any, *args: *A
    ) -> None:
        """Ask a hook; see `InspectedConnection.ask`."""
        self._owner.session.ask(where, side, then, function, *args)

    def connect(self, exchange: Exchange, then: Callable[[Any], None], *, fresh: bool) -> None:  # noqa: ARG002 - as `destinations`
        """Find a stream to the destination."""

        def found(source: ClientStream | None) -> None:
            self._source = source
            then(source)

        self._owner.destination.reach(self, exchange, found)

    @staticmethod
    def parent_fields(parent: Parent | None) -> list[bytes] | None:  # noqa: ARG004 - inside a tunnel no parent reads requests
        """Return what a request to a parent proxy has beside its own: there is none."""
        return None

    def active(self) -> None:
        """Take note that something passes."""
        self.touched = self._owner.session.touched = True

    # Reading --------------------------------------------------------------------------------------------------------

    def begin(self, head: Head) -> None:
        """Read and judge a request."""
        if self._placed:
            self._judge(head)
        else:
            self._begin(self.hooks.broken(Reason.OVERLOADED, Stage.REQUEST))
        if head.ended:
            self.deliver(Data(self.ident, b"", 0, ended=True))

    def _judge(self, head: Head) -> None:
        hooks = self.hooks
        try:
            raw = request_head(head.fields, self.limits, ended=head.ended)
        except HeadError as error:
            self._begin(hooks.malformed(error))
        else:
            self.ask("hook_request", self, self._begin, hooks.request, raw)

    def _begin(self, exchange: Exchange | None) -> None:
        """Refuse a request, or hand it on."""
        if exchange is None:
            exchange = self.hooks.broken(Reason.INTERNAL_ERROR, Stage.REQUEST)
        self.exchange = exchange
        if self.over:
            exchange.close()
        elif exchange.refused or exchange.head is None:
            self._refuse(exchange)
        else:
            self._transfer = Transfer(self, exchange)
            self._transfer.begin()

    def take(self, part: Part) -> None:
        """Take a part of the request's body."""
        self.active()
        exchange, transfer = self.exchange, self._transfer
        if exchange is None or transfer is None:  # it is being refused
            return
        if isinstance(part, Data):
            self._data(exchange, transfer, part.data)
        elif isinstance(part, Trailers):
            self._owner.session.trailers_dropped_up()
        elif not isinstance(part, Head):
            self._request_ended(exchange, transfer)

    def _data(self, exchange: Exchange, transfer: Transfer, data: bytes) -> None:
        self._come += len(data)
        length = exchange.request.length
        if length is not None and self._come > length:  # nobody must take the rest for another request
            self._misfit(exchange, transfer)
        elif data:
            exchange.up += len(data)
            transfer.request_data(data)

    def _misfit(self, exchange: Exchange, transfer: Transfer) -> None:
        """Refuse a body that is not as long as was said (RFC 9113 8.1.1); what has gone on of it is taken back."""
        self.http2.fault()
        exchange.refuse(Reason.MALFORMED_REQUEST, Stage.REQUEST)
        self._give_up(exchange, transfer)

    def _request_ended(self, exchange: Exchange, transfer: Transfer) -> None:
        if exchange.request.length not in (None, self._come):
            self._misfit(exchange, transfer)
            return
        self._requested = True
        transfer.request_ended()

    def was_reset(self, code: int) -> None:  # noqa: ARG002 - whatever the reason is
        """End with the client, which wants no answer any more."""
        self.leave()

    def leave(self) -> None:
        """End: the client cannot be answered."""
        if self._transfer is not None:
            self._transfer.leave(gone=True)
        if self.exchange is not None:
            self.exchange.close()
        self.http2.reset(self.ident, Code.CANCEL)
        self._done()

    def gone(self) -> None:
        """Record it, and no more."""
        self._leave_place()
        self.over = True
        if self.exchange is not None:
            self.exchange.close()

    def expired(self) -> None:
        """End what has not moved for the idle time."""
        self._owner.session.run(self.late)

    def late(self) -> None:
        """Refuse it, or cut what has begun."""
        exchange, transfer = self.exchange, self._transfer
        if exchange is None or transfer is None or self._responded:
            self.leave()
            return
        exchange.refuse(Reason.TIMEOUT, Stage.RESPONSE)
        self._give_up(exchange, transfer)

    def _give_up(self, exchange: Exchange, transfer: Transfer) -> None:
        """Take the transfer down, and tell the client if that is still possible."""
        transfer.leave()
        if exchange.begun:
            exchange.close()
            self.cut()
        else:
            self._refuse(exchange)

    def _refuse(self, exchange: Exchange) -> None:
        self.ask("hook_refusal", self, self._refused, self.hooks.refusal, exchange)

    def _refused(self, _waited: object) -> None:
        exchange = self.exchange
        if exchange is not None and not (exchange.closed or self.over):
            answer = exchange.answer()
            exchange.close()
            self.deny(answer)

    def _leave_place(self) -> None:
        engine = self._owner.session.engine
        engine.waits.idle.stop(self)
        if self._placed:
            self._placed = False
            engine.streams.give(self.hooks.client)

    def _done(self) -> None:
        self._leave_place()
        self._source = None
        self.stop()
        self._owner.forget(self)

    # Answering ------------------------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Ask the client for the body that it holds back."""
        self.http2.reply(self.ident, [(b":status", b"100")])

    def reply(self, raw: bytes, *, chunked: bool, keep: bool, wait: bool) -> None:  # noqa: ARG002 - of HTTP/1
        """Send the head of a response, or let it wait: what follows at once decides how it is sent."""
        self._head_out = response_fields(raw)
        if not wait:
            self._send_head()

    def _send_head(self) -> None:
        if self._head_out is not None:
            self.http2.reply(self.ident, self._head_out)
            self._head_out = None

    def switch(self) -> None:
        """Never: HTTP/2 has no 101 (RFC 9113 8.6).

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a response that HTTP/2 does not have")

    def data(self, data: bytes) -> None:
        """Send a piece of the response."""
        self._send_head()
        if self.http2.send(self.ident, data) > FULL and self._source is not None:
            self._source.hold(self)

    def moved(self, left: int) -> None:
        """Let the destination send on, once little enough waits."""
        self.active()
        if self._responded:
            if not left:
                self._done()
        elif left <= FULL and self._source is not None:
            self._source.release(self)

    def finish(self) -> None:
        """End the response."""
        found = [] if self._transfer is None else self._transfer.trailers
        trailers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in found] or None
        if self._head_out is not None and trailers is None:
            self._end(self._head_out, b"")
        else:
            self._send_head()
            self._end(None, b"", trailers)

    def deny(self, answer: bytes) -> None:
        """Send a denial; the client of a gRPC call whose destination has cut it gets the cut."""
        head, _, body = answer.partition(b"\r\n\r\n")
        fields = response_fields(head)
        asked = None if self.exchange is None else self.exchange.head
        if asked is not None and is_grpc(asked.get("content-type")):
            if self.code is not None:
                self.http2.reset(self.ident, self.code or Code.INTERNAL_ERROR)
                self._done()
                return
            fields, body = refusal(fields, body), b""
        self._end(fields, body)

    def _end(self, head: Pairs | None, body: bytes, trailers: Pairs | None = None) -> None:
        """Send all that is left; then tell a client that is still sending to stop (RFC 9113 8.1)."""
        self._responded = True
        reset = None if self._requested or self.whole else Code.NO_ERROR
        http2, ident = self.http2, self.ident
        if head is not None and not body:
            http2.answer(ident, head, reset=reset)
            self._done()
            return
        if head is not None:
            http2.reply(ident, head)
        waits = http2.send(ident, body)
        http2.finish(ident, trailers, reset=reset)
        if waits:
            self.over = True  # what still comes of the request is not read
        else:
            self._done()

    def cut(self) -> None:
        """Cut the stream so that the client cannot take what it has for the whole."""
        self._owner.pump()
        self.http2.reset(self.ident, self.code or Code.INTERNAL_ERROR)  # NO_ERROR would tell of a whole answer
        self._done()

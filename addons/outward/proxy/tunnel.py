"""The tunnel lane: a CONNECT that was allowed, carried without being decrypted.

Owns the order: dial (resolve, judge the address), answer 200, judge the ClientHello, relay. Plain HTTP is left to the
inspect lane, also where a parent proxy opens no tunnel for it. Before the hello is judged, nothing goes either way.
What is behind the hello waits until the server has answered: the server may ask for a second hello, which is judged
too. A tunnel is one event, closed once, when it ends.
"""

import asyncio
from collections.abc import Callable

from outward.core.model import Lane, Stage
from outward.core.reasons import Reason
from outward.http1.headreader import begins_request
from outward.proxy.answer import Linger, close_event, refusal_of
from outward.proxy.context import ConnectionContext
from outward.proxy.dial import HTTP, DialError
from outward.proxy.judge import judge_hello, refuse
from outward.proxy.parent import via_of
from outward.proxy.relay import RelayEndpoint, join
from outward.proxy.resources import Resources
from outward.records.sending.spans import TRACED
from outward.tls.alert import Alert
from outward.tls.client_hello import HANDSHAKE, Hello, HelloError, HelloReader, NotTlsError
from outward.tls.hello_retry import SecondReader, ServerReader

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

_EARLY = 64 * 1024  # bytes that a client may send before it is answered


class Tunnel(asyncio.Protocol):
    """Carries one allowed CONNECT; it is the client's protocol until the relay begins."""

    def __init__(
        self,
        resources: Resources,
        transport: asyncio.Transport,
        context: ConnectionContext,
        ended: Callable[[], None],
        clear: Callable[[bytes], None],
    ) -> None:
        """Take over a client's transport.

        Args:
            resources: what all connections share.
            transport: the client's.
            context: an allowed decision in the tunnel lane; its event is closed here.
            ended: called once, when nothing is left of the tunnel.
            clear: called instead where plain HTTP comes through it, with what has come: who is called judges each
                request, and closes the event.
        """
        self._resources = resources
        self._transport = transport
        self._context = context
        self._ended = ended
        self._clear = clear
        self._first: bytearray | None = bytearray()  # what the client says, until it shows whether it is HTTP
        self._left = False
        self._unopened: DialError | None = None  # the parent's refusal, which stands unless plain HTTP comes
        self._event = context.event
        self._hello = HelloReader()
        self._early = bytearray()
        self._greeting: ServerReader | None = None
        self._second: SecondReader | None = None
        self._answered = False
        self._recorded = False
        self._client_gone = self._server_gone = False
        self._client = RelayEndpoint(self._client_lost)
        self._server = RelayEndpoint(self._server_lost)
        resources.judge.metrics.connections(Lane.TUNNEL).inc()
        transport.set_protocol(self)

    def start(self, rest: bytes) -> None:
        """Take the bytes that came behind the head, and dial at once where the address is known."""
        if rest:
            self.data_received(rest)
        self._task = asyncio.Task(self._open(), loop=asyncio.get_running_loop(), eager_start=True)

    # Opening -------------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Dial; whatever fails becomes a denial."""
        head = self._context.head
        TRACED.set(self._event.span)
        try:
            via = via_of(head.fields) if self._resources.dialer.parent is not None else ""
            _, _, address = await self._resources.dialer.connect(
                head.host, head.port, lambda: self._server, self._context.decision, via
            )
        except DialError as error:
            if error.reason is Reason.PARENT_REFUSED and head.port == HTTP and self._context.original is None:
                self._unopened = error  # the parent takes `http://` in absolute form: see what comes
                self._answer()
            else:
                self._fail(error)
        except Exception:  # noqa: BLE001 - fail closed: whatever goes wrong is a denial
            self._resources.judge.metrics.internal_error("tunnel")
            self._refuse(Reason.INTERNAL_ERROR, Stage.ADDRESS)
        else:
            self._resources.judge.reached(self._event, self._context.decision, address)
            self._answer()

    def _answer(self) -> None:
        """Tell the client that the tunnel stands, and look at what it has said already."""
        if self._transport.is_closing():
            self._cut()
            return
        self._answered = True
        if self._context.original is None:
            self._event.status = 200
            self._transport.write(ESTABLISHED)
        self._resources.waits.handshakes.start(self)
        if self._early:
            self._transport.resume_reading()
            early, self._early = bytes(self._early), bytearray()
            self._judge(early)
        if self._context.decision.plain and self._first is not None and self._unopened is None:
            self._server.listen(self._spoke)

    def data_received(self, data: bytes) -> None:
        """Collect the ClientHello, or hold back what comes behind it; nothing is passed on yet."""
        if self._answered and self._greeting is None:
            self._judge(data)
            return
        self._early += data
        if len(self._early) > _EARLY:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Stop reading the server before the relay begins: the client takes nothing."""
        self._client.pause_writing()
        if self._server.transport is not None and not self._server.transport.is_closing():
            self._server.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading the server."""
        self._client.resume_writing()
        if self._server.transport is not None and not self._server.transport.is_closing():
            self._server.transport.resume_reading()

    def _judge(self, data: bytes) -> None:
        """Find out what comes, and judge the ClientHello; an exception is a refusal, like everywhere."""
        try:
            if self._first is None:
                self._judge_hello(data)
            else:
                self._judge_first(self._first, data)
        except Exception:  # noqa: BLE001 - fail closed: whatever goes wrong is a denial
            self._resources.judge.metrics.internal_error("tunnel")
            self._refuse(Reason.INTERNAL_ERROR, Stage.TLS, Alert.ACCESS_DENIED)

    def _judge_first(self, first: bytearray, data: bytes) -> None:
        """Leave plain HTTP to who judges each request; relay what is neither that nor TLS where a rule says so."""
        first += data
        clear = begins_request(first)
        if clear is None:
            return
        self._first = None
        if clear:
            self._leave(bytes(first))
        elif self._unopened is not None:
            self._fail(self._unopened, Alert.ACCESS_DENIED if first[0] == HANDSHAKE else None)
        elif self._context.decision.plain:
            self._relay(bytes(first))
        else:
            self._judge_hello(bytes(first))

    def _leave(self, data: bytes) -> None:
        """Leave the connection; its event is open, and nothing has gone either way."""
        self._left = True
        self._resources.waits.handshakes.stop(self)
        self._resources.judge.metrics.connections(Lane.TUNNEL).dec()
        if self._server.transport is not None:
            self._server.transport.abort()
        self._clear(data)

    def _spoke(self, data: bytes) -> None:
        """Carry from now on: a server that speaks before its client speaks no HTTP."""
        self._transport.write(data)
        self._give_in()

    def _give_in(self) -> None:
        """Take for no HTTP what does not show it, where a rule lets anything pass."""
        first, self._first = bytes(self._first or b""), None
        self._relay(first)

    def eof_received(self) -> bool | None:
        """Pass a client's end on where anything may pass; who has ended before a ClientHello is closed."""
        if not self._answered or not self._context.decision.plain or self._left or self._unopened is not None:
            return None
        self._give_in()
        return self._client.eof_received()

    def _judge_hello(self, data: bytes) -> None:
        try:
            hello = self._hello.feed(data) if self._second is None else self._again(self._second, data)
        except NotTlsError:
            self._refuse(Reason.NOT_TLS, Stage.TLS)
            return
        except HelloError as error:
            self._refuse(error.reason, Stage.TLS, Alert.DECODE_ERROR)
            return
        if hello is None:
            return
        self._event.sni, self._event.ech = hello.sni, hello.ech
        reason = judge_hello(hello, self._context.head.host, self._context.decision)
        if reason is not None:
            alert = Alert.ACCESS_DENIED if reason is Reason.ECH_REFUSED else Alert.UNRECOGNIZED_NAME
            self._refuse(reason, Stage.TLS, alert)
        elif self._second is None:
            self._greet(self._hello)
        else:
            self._relay(self._second.held)

    def _greet(self, hello: HelloReader) -> None:
        """Pass on a judged hello and no more, and find out from the answer whether the server wants another one."""
        self._greeting, self._early = ServerReader(), hello.data[hello.end :]
        self._pass_on(bytes(hello.data[: hello.end]))
        self._server.listen(self._heard)

    def _heard(self, data: bytes) -> None:
        """Read the server's answer as it goes to the client."""
        self._transport.write(data)
        again = self._greeting.feed(data) if self._greeting is not None else None
        if again:
            self._greeting, self._second = None, SecondReader()
            self._judge(bytes(self._early))
            if not self._transport.is_closing():
                self._transport.resume_reading()
        elif again is not None:
            self._relay(bytes(self._early))

    def _again(self, second: SecondReader, data: bytes) -> Hello | None:
        """Read the second hello; what stands beside it decides nothing, and goes on."""
        passed, hello = second.feed(data)
        self._pass_on(passed)
        return hello

    def _pass_on(self, data: bytes) -> None:
        self._client.received += len(data)
        if data and self._server.transport is not None:
            self._server.transport.write(data)

    def _relay(self, first: bytes) -> None:
        """Pass on what was held back, and carry from now on."""
        self._resources.waits.handshakes.stop(self)
        self._resources.waits.idle.start(self)
        self._client.transport = self._transport
        self._transport.set_protocol(self._client)
        self._pass_on(first)
        self._early, self._hello, self._greeting, self._second = bytearray(), HelloReader(), None, None
        join(self._client, self._server)

    # Refusing ------------------------------------------------------------------------------------------------------

    def _fail(self, error: DialError, alert: Alert | None = None) -> None:
        """Refuse for a dial that failed."""
        self._event.address = str(error.address) if error.address is not None else None
        self._event.detail = str(error)
        self._event.rule = error.rule or self._event.rule
        self._refuse(error.reason, Stage.ADDRESS, alert)

    def _refuse(self, reason: Reason, stage: Stage, alert: Alert | None = None) -> None:
        """Refuse: over HTTP before the 200, with a TLS alert after it, and without a byte to the server."""
        self._resources.waits.handshakes.stop(self)
        if self._server.transport is not None:
            self._server.transport.abort()
        if self._recorded:
            return
        refuse(self._event, reason, stage)
        self._event.status = None
        if not self._answered:
            self._transport.write(refusal_of(self._resources.judge, self._event, self._context))
        elif alert is not None:
            self._transport.write(alert.wire)
        self._record()
        if not self._transport.is_closing():
            Linger(self._transport, self._resources.waits.lingering, self._client_lost)

    def expired(self) -> None:
        """Give up: a first line or ClientHello that does not come, or a tunnel that carries nothing any more."""
        if self._unopened is not None:
            self._fail(self._unopened)
        elif self._client.transport is None and self._context.decision.plain:
            self._give_in()
        elif self._client.transport is None:
            self._refuse(Reason.TIMEOUT, Stage.TLS)
        else:
            self._cut()

    @property
    def touched(self) -> bool:
        """Whether the tunnel has carried bytes lately."""
        return self._client.touched or self._server.touched

    @touched.setter
    def touched(self, value: bool) -> None:
        self._client.touched = self._server.touched = value

    # Ending --------------------------------------------------------------------------------------------------------

    def connection_lost(self, _exc: Exception | None) -> None:
        """Stop opening: the client has left before the relay began."""
        self._task.cancel()
        if self._unopened is not None:
            self._fail(self._unopened)
        self._cut()
        self._client_lost()

    def _cut(self) -> None:
        for transport in (self._transport, self._server.transport):
            if transport is not None:
                transport.abort()

    def _client_lost(self) -> None:
        self._client_gone = True
        self._end()

    def _server_lost(self) -> None:
        self._server_gone = True
        if self._left:
            return
        if self._client.transport is None:
            self._transport.close()  # before the relay began: nothing else would
        self._end()

    def _end(self) -> None:
        """End the tunnel once both ends are gone."""
        if self._client_gone and (self._server_gone or self._server.transport is None):
            self._resources.waits.idle.stop(self)
            self._resources.waits.handshakes.stop(self)
            self._record()
            self._resources.judge.metrics.connections(Lane.TUNNEL).dec()
            self._ended()

    def _record(self) -> None:
        """Close the event, once."""
        if self._recorded:
            return
        self._recorded = True
        self._event.bytes_up, self._event.bytes_down = self._client.received, self._server.received
        metrics = self._resources.judge.metrics
        metrics.bytes("up", Lane.TUNNEL).inc(self._client.received)
        metrics.bytes("down", Lane.TUNNEL).inc(self._server.received)
        close_event(self._resources.judge, self._event, self._context.started)

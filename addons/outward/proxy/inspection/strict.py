"""The engine's layers that are not taken as they are: TLS on both legs, and the routing between the HTTP sides.

What of mitmproxy's private interfaces is used here, in `stream`, `clientside`, `upstreamside`, `guard` and `session` is
named by `tests/unit/test_mitmproxy_contract.py`. Each class says what it changes and why.
"""

import contextlib
import time

from mitmproxy.connection import Connection, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.http import (
    DropStream,
    GetHttpConnection,
    HttpLayer,
    HTTPMode,
    RegisterHttpConnection,
    SendHttp,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.tls import TLSLayer
from mitmproxy.proxy.tunnel import LayerStack, TunnelState
from OpenSSL import SSL

from outward.core.model import Stage
from outward.core.names import Host
from outward.core.reasons import Reason
from outward.proxy.alert import Alert
from outward.proxy.hello import HelloError, HelloReader, NotTlsError
from outward.proxy.inspection.clientside import ClientSide
from outward.proxy.inspection.guard import Line, guarded
from outward.proxy.inspection.signals import Asked, CloseAbruptly, CloseLingering, Late
from outward.proxy.inspection.stream import Stream
from outward.proxy.inspection.upstreamside import UpstreamSide


class _Tls(TLSLayer):
    """TLS without hooks, certificate objects and logging, and with the alert of a failed handshake sent."""

    def __init__(self, context: Context, conn: Connection, line: Line) -> None:
        super().__init__(context, conn)
        self._line = line

    def event_to_child(self, event: events.Event) -> CommandGenerator[None]:
        """Give the layer above an event; what it sends is encrypted."""
        if self.tunnel_state is TunnelState.OPEN:
            for command in self.child_layer.handle_event(event):
                if isinstance(command, commands.SendData) and command.connection is self.conn:
                    yield from self.send_data(command.data)
                else:
                    yield from self._handle_command(command)
        else:
            yield from super().event_to_child(event)

    def _shake(self, data: bytes) -> CommandGenerator[tuple[bool, str | None]]:
        if data:
            self.tls.bio_write(data)
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            yield from self.tls_interact()
            return False, None
        except SSL.Error as error:
            yield from self.tls_interact()
            return False, repr(error)
        self.conn.timestamp_tls_setup = time.time()
        yield from self.receive_data(b"")
        return True, None

    def send_close(self, command: commands.CloseConnection) -> CommandGenerator[None]:
        """Say close_notify, so that the peer can tell an end from a cut; not where it is one."""
        if not isinstance(command, CloseAbruptly) and self.tls is not None:
            with contextlib.suppress(SSL.Error):  # the handshake was not complete, or the peer is gone
                self.tls.shutdown()
            yield from self.tls_interact()
        yield from super().send_close(command)


class ClientTls(_Tls):
    """TLS towards the client: the ClientHello is read by our strict reader and judged before it is answered."""

    def __init__(self, context: Context, line: Line) -> None:
        super().__init__(context, context.client, line)
        self._reader: HelloReader | None = HelloReader()
        self.child_layer = Inspect(context, line, HTTPMode.transparent)

    def start_handshake(self) -> CommandGenerator[None]:
        """Wait for the ClientHello."""
        yield from ()

    def receive_handshake_data(self, data: bytes) -> CommandGenerator[tuple[bool, str | None]]:
        """Read, judge and answer the ClientHello; then shake hands."""
        if self._reader is not None:
            try:
                hello = self._reader.feed(data)
            except NotTlsError:
                return (yield from self._not_tls())
            except HelloError as error:
                return (yield from self._alert(error.reason, Alert.DECODE_ERROR))
            if hello is None:
                return False, None
            welcome = yield from guarded(self._line, self._line.hooks.hello, hello)
            if isinstance(welcome, Alert):
                return (yield from self._alert(None, welcome))
            if not isinstance(welcome, Host):  # the hook failed
                return (yield from self._alert(Reason.INTERNAL_ERROR, Alert.INTERNAL_ERROR))
            data, self._reader = bytes(self._reader.data), None
            self.tls = self._line.contexts.accept(welcome)
        done, error_text = yield from self._shake(data)
        if done or error_text:
            self._line.shaken()
        return done, error_text

    def on_handshake_error(self, err: str) -> CommandGenerator[None]:
        """Close; the alert, or the denial, has been sent."""
        self.conn.error = err
        self._reader = None
        yield CloseLingering(self.conn)

    def event_to_child(self, event: events.Event) -> CommandGenerator[None]:
        """Tell the layers above nothing of a connection whose handshake failed."""
        if self.conn.error is None:
            yield from super().event_to_child(event)

    def _alert(self, reason: Reason | None, alert: Alert) -> CommandGenerator[tuple[bool, str]]:
        """Refuse in the clear, with an alert: the client could read nothing else."""
        if reason is not None:
            self._line.hooks.broken(reason, Stage.TLS).close()
        self._line.shaken()
        yield commands.SendData(self.conn, alert.wire)
        return False, "refused"

    def _not_tls(self) -> CommandGenerator[tuple[bool, str]]:
        """Refuse what is not TLS in the language that it may be."""
        exchange = self._line.hooks.broken(Reason.NOT_TLS, Stage.TLS)
        self._line.shaken()
        yield commands.SendData(self.conn, exchange.answer())
        exchange.close()
        return False, "not TLS"


class UpstreamTls(_Tls):
    """TLS towards the destination: always verified, against the host that was judged."""

    def __init__(self, context: Context, line: Line) -> None:
        super().__init__(context, context.server, line)

    def start_handshake(self) -> CommandGenerator[None]:
        """Begin, with the judged host as server name."""
        exchange = self._line.exchange
        if exchange is None:
            raise RuntimeError("the engine would connect before anything was asked")
        self.tls = self._line.contexts.connect(exchange.request.host)
        self._line.greeting(self.conn)
        yield from self.receive_handshake_data(b"")

    def receive_handshake_data(self, data: bytes) -> CommandGenerator[tuple[bool, str | None]]:
        """Shake hands; a certificate that does not verify ends it before a byte of the request is sent."""
        done, error_text = yield from self._shake(data)
        if done:
            self._line.greeted(self.conn)
        return done, error_text

    def on_handshake_error(self, err: str) -> CommandGenerator[None]:
        """Refuse the request, and close."""
        self.conn.error = err
        self._line.greeted(self.conn)
        if self._line.exchange is not None:
            self._line.exchange.fail(Reason.UPSTREAM_FAILED, Stage.TLS, f"TLS with the destination: {err}")
        yield commands.CloseConnection(self.tunnel_connection)


def forked(context: Context) -> Context:
    """Return a copy of a context; the engine's own makes a server connection for it first, and throws it away."""
    copy = Context.__new__(Context)
    copy.client, copy.server, copy.options, copy.layers = context.client, context.server, context.options, []
    copy.layers += context.layers
    return copy


class Upstream(Layer):
    """Opens the connection and puts our HTTP/1 side on it; mitmproxy's would choose by ALPN, HTTP/2 included.

    Attributes:
        side: the HTTP/1 side, once connected.
    """

    def __init__(self, context: Context, line: Line) -> None:
        super().__init__(context)
        self._line = line
        self.side: UpstreamSide | None = None

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.Start):
            error = yield commands.OpenConnection(self.context.server)
            if not error:
                self.side = UpstreamSide(self.context, self._line)
                self.handle_event = self.side.handle_event  # type: ignore[method-assign] # as mitmproxy's NextLayer
            yield RegisterHttpConnection(self.context.server, error)


class Inspect(HttpLayer):
    """Routes between the HTTP sides; one upstream connection for each client connection, kept while it fits.

    The commonest commands are told apart first: mitmproxy's order was a quarter of the cost of a request.
    """

    def __init__(self, context: Context, line: Line, mode: HTTPMode) -> None:
        super().__init__(context, mode)
        self._line = line
        self._upstreams: dict[Connection, Upstream] = {}

    def handle_event(self, event: events.Event) -> CommandGenerator[None]:
        """Take an event. Only the layers below ever wait, so this one needs nothing that waiting takes."""
        return self._handle_event(event)

    def event_to_child(self, child: Layer, event: events.Event) -> CommandGenerator[None]:
        """Give a layer an event, and bring what it commands to where it belongs; the commonest first."""
        for command in child.handle_event(event):
            if isinstance(command, commands.SendData):
                yield command
            elif isinstance(command, ReceiveHttp):
                if isinstance(command.event, Asked):
                    yield from self.make_stream(command.event.stream_id)
                stream = self.streams.get(command.event.stream_id)
                if stream is not None:
                    yield from self.event_to_child(stream, command.event)
            elif isinstance(command, SendHttp):
                yield from self.event_to_child(self.connections[command.connection], command.event)
            else:
                yield from self._route(child, command)

    def _route(self, child: Layer, command: commands.Command) -> CommandGenerator[None]:
        """Bring the other commands to where they belong; who waits for an answer is remembered."""
        if command.blocking:
            self.command_sources[command] = child
        if isinstance(command, DropStream):
            self.streams.pop(command.stream_id, None)
        elif isinstance(command, GetHttpConnection):
            yield from self.get_connection(command)
        elif isinstance(command, RegisterHttpConnection):
            yield from self.register_connection(command)
        else:
            yield command

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        client = self.context.client
        if isinstance(event, events.DataReceived):
            side = self.connections.get(event.connection)
            if side is not None:
                yield from self.event_to_child(side, event)
        elif isinstance(event, events.Start):
            self.connections[client] = ClientSide(forked(self.context), self._line)
            yield from self.event_to_child(self.connections[client], event)
        elif isinstance(event, Late):
            yield from self.event_to_child(self.connections[client], event)
        elif isinstance(event, events.ConnectionEvent) and event.connection not in self.connections:
            return  # of an upstream connection that was given up
        else:
            yield from super()._handle_event(event)

    def make_stream(self, stream_id: int) -> CommandGenerator[None]:
        """Make our stream."""
        self.streams[stream_id] = Stream(forked(self.context), stream_id, self._line)  # type: ignore[assignment] # ours stands in for HttpStream
        yield from ()

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> CommandGenerator[None]:
        """Use the connection of the last request if this one may go there, or open one and give up the last."""
        for connection, upstream in list(self._upstreams.items()):
            idle = upstream.side is not None and upstream.side.idle and connection.connected
            if reuse and idle and event.connection_spec_matches(connection) and self._line.reaches():
                yield from self._connected(event, connection)
                return
            yield commands.CloseConnection(connection)
            del self._upstreams[connection], self.connections[connection]
        context = forked(self.context)
        context.server = Server(address=event.address)
        stack = LayerStack()
        if event.tls:
            stack /= UpstreamTls(context, self._line)
        upstream = Upstream(context, self._line)
        stack /= upstream
        self._upstreams[context.server] = upstream
        self.connections[context.server] = stack[0]
        self.waiting_for_establishment[context.server].append(event)
        yield from self.event_to_child(stack[0], events.Start())

    def _connected(self, event: GetHttpConnection, connection: Connection) -> CommandGenerator[None]:
        self.waiting_for_establishment[connection].append(event)
        yield from self.register_connection(RegisterHttpConnection(connection, None))

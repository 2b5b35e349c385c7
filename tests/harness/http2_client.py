"""A client of HTTP/2 that sends what it is told, well formed or not, through a proxy; and a server that does the same."""

import asyncio
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, cast

import h2.config
import h2.connection
import h2.events

from harness.waiting import PATIENCE

if TYPE_CHECKING:
    from harness.grpc_world import GrpcWorld

NAME = "allowed.test"


def fields(
    path: str = "/", *more: tuple[str, str], method: str = "GET", host: str = "allowed.test"
) -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", "https"), (":authority", host), (":path", path), *more]


@dataclass
class Answer:
    """What came on one stream.

    Attributes:
        reset: the code of a RST_STREAM.
        ended: END_STREAM has come.
    """

    head: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None
    ended: bool = False

    @property
    def status(self) -> str:
        return self.head.get(":status", "")


class Http2Peer:
    """One end of a connection; `answers` by stream are what the other end said."""

    def __init__(self, *, client: bool) -> None:
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.answers: dict[int, Answer] = {}
        self.goaway: int | None = None
        self.closed = False
        self.takes = True  # gives windows back
        self.h2.initiate_connection()

    def send(self, data: bytes = b"") -> None:
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.take(event)
        self.send()

    def take(self, event: h2.events.Event) -> None:
        stream = getattr(event, "stream_id", None)
        answer = self.answers.setdefault(stream, Answer()) if stream else Answer()
        if isinstance(event, h2.events.ResponseReceived | h2.events.RequestReceived):
            answer.head = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self.takes:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = int(event.error_code)


class Http2Client(Http2Peer):
    """A client on a socket, in the test's own thread."""

    def __init__(self, sock: socket.socket, *, begin: bytes | None = None) -> None:
        super().__init__(client=True)
        self.sock = sock
        if begin is not None:  # instead
            self.h2.clear_outbound_data_buffer()
        self.send(begin or b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    def send(self, data: bytes = b"") -> None:
        try:
            self.sock.sendall(self.h2.data_to_send() + data)
        except (OSError, ssl.SSLError):
            self.closed = True

    def ask(self, head: list[tuple[str, str]], body: bytes | None = None, *, end: bool = True) -> int:
        """Send a request, and return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, head, end_stream=end and body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=end)
        self.send()
        return stream

    def read(self) -> bool:
        """Take what comes next; False once the connection is over."""
        data = self._bytes()
        if not data:
            self.closed = True
            return False
        self.receive(data)
        return True

    def until(self, condition: Callable[[], object]) -> None:
        """Read until a condition holds."""
        while not condition():
            assert self.read(), "the connection ended before that"

    def take_what_came(self) -> None:
        """Read what has come, if anything has."""
        if cast("ssl.SSLSocket", self.sock).pending() or select.select([self.sock], [], [], 0)[0]:
            assert self.read(), "the connection ended before that"

    def answer(self, stream: int) -> Answer:
        """Read one answer to its end."""
        found = self.answers[stream]
        self.until(lambda: found.ended or found.reset is not None)
        return found

    def rest(self) -> int | None:
        """Read to the end of the connection, frames as they are, and return the code of its GOAWAY."""
        data, at = b"", 0
        while piece := self._bytes():
            data += piece
        self.closed = True
        while at + 9 <= len(data):
            if data[at + 3] == 7:
                self.goaway = int.from_bytes(data[at + 13 : at + 17])
            at += 9 + int.from_bytes(data[at : at + 3])
        return self.goaway

    def _bytes(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except (OSError, ssl.SSLError):
            return b""


@contextmanager
def tunnel(
    proxy: tuple[str, int],
    host: str,
    port: int,
    trusted: ssl.SSLContext,
    sni: str | None = None,
    begin: bytes | None = None,
) -> Iterator[Http2Client]:
    """Speak HTTP/2 alone to a host behind a proxy."""
    with socket.create_connection(proxy, PATIENCE) as plain:
        plain.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            said += plain.recv(1)
        assert b" 200 " in said, said
        with trusted.wrap_socket(plain, server_hostname=sni or host) as sock, Http2Client(sock, begin=begin) as client:
            yield client


class Http2Origin:
    """A server on the proxy's loop, whose streams are answered by a function there; see `GrpcWorld.on` for other acts.

    Attributes:
        respond: called with the connection and the stream of each request's head.
        connections: so far, whose handshake is done.
        accepts: connections so far.
    """

    def __init__(self, respond: "Respond") -> None:
        self.respond = respond
        self.connections: list[Serving] = []
        self.accepts = 0
        self.port = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]

    async def serve(self, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        with self._listening:
            while True:
                accepted, _ = await loop.sock_accept(self._listening)
                self.accepts += 1
                made = loop.connect_accepted_socket(lambda: Serving(self), accepted, ssl=context)
                loop.create_task(made).add_done_callback(lambda done: done.exception())


class Serving(asyncio.Protocol, Http2Peer):
    """One connection of a server."""

    def __init__(self, owner: Http2Origin) -> None:
        Http2Peer.__init__(self, client=False)
        self._owner = owner
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._owner.connections.append(self)
        self.send()

    def data_received(self, data: bytes) -> None:
        self.receive(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed = True

    def send(self, data: bytes = b"") -> None:
        if self.transport is not None:
            self.transport.write(self.h2.data_to_send() + data)

    def take(self, event: h2.events.Event) -> None:
        super().take(event)
        if isinstance(event, h2.events.RequestReceived):
            self._owner.respond(self, event.stream_id)


type Respond = Callable[[Serving, int], None]


def hello(connection: Http2Peer, stream: int) -> None:
    """Answer at once, with a field behind the body, and fields that do not go on."""
    connection.h2.send_headers(
        stream, [(":status", "200"), ("x-a", "b"), ("outward-decision", "forged"), ("alt-svc", "h3")]
    )
    connection.h2.send_data(stream, b"hello")
    connection.h2.send_headers(stream, [("x-sum", "5"), ("proxy-status", "forged")], end_stream=True)
    connection.send()


@contextmanager
def origin(
    world: "GrpcWorld",
    respond: Respond = hello,
    alpn: str = "h2",
    name: str = NAME,
    context: ssl.SSLContext | None = None,
) -> Iterator[Http2Origin]:
    """Run a server of HTTP/2 that a name resolves to."""
    context = context or world.world.server_tls(name)
    context.set_alpn_protocols([alpn])
    found = Http2Origin(respond)
    world.on(lambda: world.world.dns.add(name, "A", "127.0.0.1"))
    serving = asyncio.run_coroutine_threadsafe(found.serve(context), world.loop)
    try:
        yield found
    finally:
        serving.cancel()
        world.on(lambda: [each.transport.abort() for each in found.connections if each.transport])


def asking(
    world: "GrpcWorld", port: int, sni: str | None = None, *, begin: bytes | None = None, name: str = NAME
) -> AbstractContextManager[Http2Client]:
    """Speak HTTP/2 to a server behind the proxy."""
    return tunnel(world.world.address, name, port, world.world.client_tls(("h2",)), sni, begin)


def at(
    server: Http2Origin, path: str = "/", *more: tuple[str, str], method: str = "GET", name: str = NAME
) -> list[tuple[str, str]]:
    """Return the fields of a request to a server."""
    return fields(path, *more, method=method, host=f"{name}:{server.port}")

"""A client of HTTP/2 that sends what it is told, well formed or not, through a proxy; and a server that does the same."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.events

PATIENCE = 10.0  # seconds


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


class Http2Client:
    """A connection; `answers` by stream."""

    def __init__(self, sock: socket.socket, *, client: bool = True) -> None:
        self.sock = sock
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
        self.send()

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
        for event in self.h2.receive_data(data):
            self.take(event)
        self.send()
        return True

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

    def until(self, condition: Callable[[], object]) -> None:
        """Read until a condition holds."""
        while not condition():
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
    proxy: tuple[str, int], host: str, port: int, trusted: ssl.SSLContext, sni: str | None = None
) -> Iterator[Http2Client]:
    """Speak HTTP/2 alone to a host behind a proxy."""
    with socket.create_connection(proxy, PATIENCE) as plain:
        plain.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            said += plain.recv(1)
        assert b" 200 " in said, said
        with trusted.wrap_socket(plain, server_hostname=sni or host) as sock, Http2Client(sock) as client:
            yield client


class Http2Origin:
    """A server whose streams are answered by a function; each connection has a thread.

    Attributes:
        respond: called with the connection and the stream of each request's head.
        connections: so far, whose handshake is done.
        accepts: connections so far.
    """

    def __init__(self, context: ssl.SSLContext, respond: Callable[[Http2Client, int], None]) -> None:
        self.respond = respond
        self.connections: list[Http2Client] = []
        self.accepts = 0
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            self.accepts += 1
            thread = threading.Thread(target=self._serve, args=(plain,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            sock = self._context.wrap_socket(plain, server_side=True)
        except (OSError, ssl.SSLError):
            plain.close()
            return
        connection = _Serving(sock, self.respond)
        self.connections.append(connection)
        while connection.read():
            pass
        sock.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # which ends the wait for another connection
        self._listening.close()
        for each in self.connections:
            try:
                each.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Serving(Http2Client):
    def __init__(self, sock: socket.socket, respond: Callable[[Http2Client, int], None]) -> None:
        super().__init__(sock, client=False)
        self._respond = respond

    def take(self, event: h2.events.Event) -> None:
        super().take(event)
        if isinstance(event, h2.events.RequestReceived):
            self._respond(self, event.stream_id)

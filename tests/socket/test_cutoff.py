"""A server that drips its answer holds up nobody for longer than an exchange may take, wherever it drips."""

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from outward.proxy import keyfetch
from outward.proxy.keyfetch import KeyReader
from outward.proxy.keysets import KeySetError
from outward.records.sending.destination import DeliveryError, Destination

OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "the head": (OK + b"A: ", b"x", b"\r\nContent-Length: 0\r\n\r\n"),
    "a body": (OK + b"Content-Length: 60\r\n\r\n", b"x", b""),
    "a body that ends with the connection": (b"HTTP/1.0 200 OK\r\n\r\n", b"x", b""),
    "a body of a connection that is closed": (OK + b"Connection: close\r\nContent-Length: 60\r\n\r\n", b"x", b""),
    "the size of a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0", b"\r\n\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"),
}


class Dripping:
    """Answers one request: a beginning, sixty pieces in about three seconds, and an end."""

    def __init__(self, first: bytes, piece: bytes, last: bytes) -> None:
        self._answer, self._gone = (first, piece, last), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        first, piece, last = self._answer
        with self._listener, self._listener.accept()[0] as client:
            try:
                client.recv(65_536)
                client.sendall(first)
                for _ in range(60):
                    client.sendall(piece)
                    self._gone.wait(0.05)
                client.sendall(last)
            except OSError:
                return

    def stop(self) -> None:
        self._gone.set()
        self._thread.join()


@pytest.fixture(params=DRIPS)
def dripping(request: pytest.FixtureRequest) -> Iterator[Dripping]:
    server = Dripping(*DRIPS[request.param])
    yield server
    server.stop()


def test_a_key_set_that_drips_is_given_up(dripping: Dripping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfetch, "TIMEOUT", 0.3)
    with pytest.raises(TimeoutError):
        KeyReader(None, None, None)(f"http://127.0.0.1:{dripping.port}/keys")  # type: ignore[arg-type]


def test_a_receiver_that_drips_is_given_up(dripping: Dripping) -> None:
    with pytest.raises(DeliveryError) as failed:
        Destination(f"http://127.0.0.1:{dripping.port}/", deadline=0.3).send(b"", {})
    assert failed.value.reason == "timeout"


def test_a_handshake_that_drips_is_given_up() -> None:
    server = Dripping(b"\x16\x03\x03\x10\x00", b"x", b"")
    with pytest.raises(DeliveryError) as failed:
        Destination(f"https://127.0.0.1:{server.port}/", deadline=0.3, context=ssl.create_default_context).send(b"", {})
    server.stop()
    assert failed.value.reason == "timeout"


def test_what_is_ended_while_it_connects_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are resolved in a call that nobody can end; what it connects to is not asked any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        destination = Destination(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        resolve = socket.getaddrinfo

        def slowly(*names: object, **more: object) -> object:
            destination.abort()
            return resolve(*names, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", slowly)
        with pytest.raises(DeliveryError):
            destination.send(b"words", {})
        with listener.accept()[0] as client:
            assert client.recv(100) == b""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 X\r\nRetry-After: Mon, 01 Jan 999999999999 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", "503"),
        (b"\x9b\xff" * 500 + b"\r\n\r\n", "\\u009b"),
    ],
)
def test_no_answer_breaks_who_reads_it(answer: bytes, said: str) -> None:
    server = Dripping(answer, b"", b"")
    with pytest.raises(DeliveryError) as failed:
        Destination(f"http://127.0.0.1:{server.port}/").send(b"", {})
    server.stop()
    assert (failed.value.retry_after, len(str(failed.value)) <= 200, str(failed.value).isprintable()) == (0, True, True)
    assert said in str(failed.value)


def test_no_key_server_writes_into_the_log() -> None:
    server = Dripping(b"\x9b\xff" * 500 + b"\r\n\r\n", b"", b"")
    with pytest.raises(KeySetError) as failed:
        KeyReader(None, None, None)(f"http://127.0.0.1:{server.port}/keys")  # type: ignore[arg-type]
    server.stop()
    assert (len(str(failed.value)) <= 200, str(failed.value).isprintable()) == (True, True)

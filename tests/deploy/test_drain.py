"""An upgrade: the old process drains, and no stream that was open is cut."""

import http.server
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import Served, wait_for

STREAMS, EVENTS = 24, 12


class Sse(http.server.BaseHTTPRequestHandler):
    """Answers with a long stream of server-sent events, at the pace that the test sets."""

    go_on = threading.Event()
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: 0\n\n")
        self.go_on.wait(30)
        for number in range(1, EVENTS):
            self.wfile.write(f"data: {number}\n\n".encode())
            time.sleep(0.05)  # a model that writes; not a wait for anything

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def origin() -> Iterator[int]:
    """Run the origin and return its port."""
    Sse.go_on.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    Sse.go_on.set()
    server.shutdown()


class Stream(threading.Thread):
    """A client that reads one stream to its end; half of them by CONNECT, half of them as plain HTTP."""

    def __init__(self, proxy: tuple[str, int], port: int, *, tunnel: bool) -> None:
        super().__init__(daemon=True)
        self._proxy, self._port, self._tunnel = proxy, port, tunnel
        self.got = b""
        self.start()

    def run(self) -> None:
        target = f"origin.test:{self._port}"
        with socket.create_connection(self._proxy, timeout=30) as sock:
            if self._tunnel:
                sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")
                sock.sendall(f"GET / HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            else:
                sock.sendall(f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            while data := sock.recv(65536):
                self.got += data

    @property
    def whole(self) -> bool:
        """Whether the last event has come."""
        return f"data: {EVENTS - 1}\n".encode() in self.got


def configuration(folder: Path, port: int, database: Path) -> Path:
    """Write a configuration; two processes share a database and have everything else to themselves."""
    folder.mkdir(exist_ok=True)
    path = folder / "outward.yaml"
    path.write_text(
        f"version: 1\nserver: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{database}', grace: 30s}}\n"
        "upstream: {internal: [127.0.0.1/32], dns: {hosts: {origin.test: [127.0.0.1]}}}\n"
        f"groups: {{dev: {{allow: [{{host: origin.test, ports: [{port}], tls: false}}]}}}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return path


@pytest.mark.slow
def test_no_open_stream_is_cut_by_an_upgrade(tmp_path: Path, origin: int) -> None:
    """The new process takes new connections while the old one finishes its streams, and both write to one store."""
    old = Served(configuration(tmp_path / "old", origin, tmp_path / "state"))
    new = None
    try:
        streams = [Stream(old.proxy, origin, tunnel=bool(number % 2)) for number in range(STREAMS)]
        wait_for(lambda: all(b"data: 0" in each.got for each in streams))
        new = Served(configuration(tmp_path / "new", origin, tmp_path / "state"))
        began = time.monotonic()
        old.signal(signal.SIGTERM)
        wait_for(lambda: "draining" in old.log)
        later = Stream(new.proxy, origin, tunnel=True)
        Sse.go_on.set()
        assert old.wait() == 0
        seconds = time.monotonic() - began
        for each in (*streams, later):
            each.join(20)
        cut = sum(not each.whole for each in streams)
        print(f"streams in flight {STREAMS}, cut {cut}, drained in {seconds:.1f} s")
        assert cut == 0
        assert later.whole
        new.signal(signal.SIGTERM)
        assert new.wait() == 0
        assert len(old.events) == STREAMS
        assert len(new.events) == 1
    finally:
        for each in filter(None, (old, new)):
            each.end()

"""Long streams of server-sent events, and clients that read them to their end: what an upgrade must not cut."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVENTS = 12


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
        self.go_on.wait(60)
        for number in range(1, EVENTS):
            self.wfile.write(f"data: {number}\n\n".encode())
            time.sleep(0.05)  # a model that writes; not a wait for anything

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def streaming() -> Iterator[int]:
    """Run the origin and yield its port; its streams go on once `Sse.go_on` is set."""
    Sse.go_on.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        Sse.go_on.set()
        server.shutdown()
        server.server_close()


class Stream(threading.Thread):
    """A client that reads one stream to its end; half of them by CONNECT, half of them as plain HTTP."""

    def __init__(self, proxy: tuple[str, int], port: int, *, tunnel: bool) -> None:
        super().__init__(daemon=True)
        self._proxy, self._port, self._tunnel = proxy, port, tunnel
        self.got = b""
        self.start()

    def run(self) -> None:
        target = f"origin.test:{self._port}"
        with socket.create_connection(self._proxy, timeout=60) as sock:
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

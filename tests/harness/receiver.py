"""An HTTP server on loopback, in threads, that goes away and comes back at the same port."""

import http.server
import ssl
import threading


class Receiver:
    """What a test's receiver of requests has in common with others; `answer_to` says what is its own.

    Attributes:
        port: stays the same over `stop` and `start`.
        release: what hangs waits for it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.release = threading.Event()
        self.port = 0
        self.start()

    def answer_to(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer a POST, or do not."""
        raise NotImplementedError

    def start(self) -> None:
        """Listen, on the port of the last time."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.answer_to(self)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._server.server_close()

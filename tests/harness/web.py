"""An HTTPS or HTTP origin that serves files, in a thread: for real clients, which run as processes of their own."""

import http.server
import ssl
import threading
from pathlib import Path

import trustme


class Web:
    """A web server on loopback with a certificate for `origin.test` and `other.test`.

    Attributes:
        ca: file with the certificate that signed it.
        seen: request lines, in their order.
    """

    def __init__(self, folder: Path, *, tls: bool = True) -> None:
        authority = trustme.CA()
        self.ca = folder / "origin-ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.root = folder / "www"
        self.root.mkdir()
        self.seen: list[str] = []
        web = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(web.root))

            def log_message(self, _format: str, *_args: object) -> None:
                web.seen.append(self.requestline)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("origin.test", "other.test").configure_cert(context)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls else "http"
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self._scheme}://origin.test:{self.port}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

"""Secrets, used and misplaced: an origin that tells what it was sent, curl, and where no placeholder may stand."""

import base64
import http.server
import ssl
import subprocess
import threading
from pathlib import Path

import trustme

from harness.process import Served, environment

VALUE = "ghp_R3al-value-0123456789"
HELD = "outward-secret-github"


class Origin:
    """An HTTPS origin for `api.test`, `other.test` and `plain.test` that keeps the heads it was sent, and echoes one field.

    Attributes:
        heads: of each request: the request line and the fields.
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "origin-ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.heads: list[str] = []
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                origin.heads.append(f"{self.requestline}\n{self.headers}{body.decode()}")
                echo = f"you sent {self.headers.get('Authorization', 'nothing')}"
                location = self.path.partition("to=")[2]
                self.send_response(302 if location else 200)
                self.send_header("X-Echo", echo)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_POST = do_PUT = do_GET  # noqa: N815 - as the server calls them

            def log_message(self, *_args: object) -> None:
                return

        self._servers = []
        for tls in (True, False):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                authority.issue_cert("api.test", "other.test").configure_cert(context)
                server.socket = context.wrap_socket(server.socket, server_side=True)
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.port, self.plain = (server.server_address[1] for server in self._servers)

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def curl(served: Served, *words: str) -> "subprocess.CompletedProcess[str]":
    ca = served.config.parent / "state" / "ca.pem"
    proxy = "http://{}:{}".format(*served.proxy)
    return subprocess.run(
        ["curl", "-sS", "--max-time", "60", "--proxy", proxy, "--cacert", ca, "-D", "-", *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


ATTACKS = {
    "another header": (["-H", f"X-Key: {HELD}"], "/v1/x"),
    "a cookie": (["-H", f"Cookie: a={HELD}"], "/v1/x"),
    "the referer": (["-H", f"Referer: https://a.test/?k={HELD}"], "/v1/x"),
    "the user agent": (["-A", HELD], "/v1/x"),
    "capitals": (["-H", f"X-Key: {HELD.upper()}"], "/v1/x"),
    "escapes": (["-H", "X-Key: outward%2dsecret%2Dgithub"], "/v1/x"),
    "escaped twice": (["-H", "X-Key: outward%252dsecret-github"], "/v1/x"),
    "Base64": (["-H", f"X-Key: {base64.b64encode(HELD.encode()).decode()}"], "/v1/x"),
    "Basic elsewhere": (["-H", f"X-Auth: Basic {base64.b64encode(f'a:{HELD}'.encode()).decode()}"], "/v1/x"),
    "the query": ([], f"/v1/x?key={HELD}"),
    "the query, escaped": ([], "/v1/x?key=%6futward-secret-github"),
    "the path": ([], f"/v1/{HELD}"),
    "a key of one's own": (["-H", "Authorization: Bearer mine"], "/v1/x"),
    "the value itself": (["-H", f"Authorization: Bearer {VALUE}"], "/v1/x"),
    "Basic of one's own": (["-u", "me:mine"], "/v1/x"),
    "an empty field": (["-H", "Authorization;"], "/v1/x"),
    "two fields": (["-H", f"Authorization: Bearer {HELD}", "-H", "Authorization: Bearer mine"], "/v1/x"),
    "more behind it": (["-H", f"Authorization: Bearer {HELD}, Bearer mine"], "/v1/x"),
    "beside a rule without": (["-H", f"Authorization: Bearer {HELD}"], "/public/x"),
}

"""Secrets in `…_FILE` of the environment: a change is taken up without a signal."""

import base64
import contextlib
import socket
import threading

import pytest

from harness.process import Served
from harness.waiting import wait_for


@pytest.fixture
def parent():
    """A parent proxy that refuses all; yields its port and the credentials that it was sent."""
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock = listener.accept()[0]
                with sock, contextlib.suppress(OSError):
                    head = sock.recv(65536).decode()
                    seen.extend(each.split()[-1] for each in head.splitlines() if each.lower().startswith("proxy-auth"))
                    sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], seen
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_parents_password_is_taken_up_when_its_file_changes(tmp_path, parent):
    port, seen = parent
    secret = tmp_path / "parent"
    secret.write_text(f"http://user:one@127.0.0.1:{port}")
    config = tmp_path / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{state: '{tmp_path}/state', listen: '127.0.0.1:0', ops: '127.0.0.1:0'}}\n"
        "groups: {a: {allow: [example.com]}}\nclients: [{group: a, anyone: true}]\n"
    )
    served = Served(config, OUTWARD_UPSTREAM_PROXY_FILE=str(secret))

    def sent() -> str:
        with socket.create_connection(served.proxy, 10) as sock:
            sock.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
            sock.recv(65536)
        return base64.b64decode(seen[-1]).decode() if seen else ""

    try:
        wait_for(lambda: sent() == "user:one")
        secret.write_text(f"http://user:two@127.0.0.1:{port}")
        wait_for(lambda: sent() == "user:two")
        assert "two" not in served.log
    finally:
        served.end()

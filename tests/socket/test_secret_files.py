"""Secrets in `…_FILE` of the environment: a change is taken up without a signal."""

import base64
import contextlib
import socket
import threading

import psycopg
import pytest

from harness.process import Served
from harness.waiting import PATIENCE, wait_for
from outward.records.credentials import in_force, renew


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
        with socket.create_connection(served.proxy, PATIENCE) as sock:
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


def test_the_databases_credentials_are_taken_up_when_their_file_changes(server, tmp_path):
    """The old user may no longer log in, and its connections are ended: what follows is recorded by the new one."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        for name in ("one", "two"):
            admin.execute(f"CREATE ROLE {name} SUPERUSER LOGIN")
        secret, config = tmp_path / "url", tmp_path / "outward.yaml"
        secret.write_text(server.url.replace("outward@", "one:first@"))
        config.write_text(
            f"version: 1\nserver: {{state: '{tmp_path}/state', listen: '127.0.0.1:0', ops: '127.0.0.1:0'}}\n"
            "groups: {a: {allow: [example.com]}}\nclients: [{group: a, anyone: true}]\n"
        )
        served = Served(config, OUTWARD_RECORDS_URL_FILE=str(secret))

        def users() -> set[str]:
            rows = admin.execute(
                "SELECT usename FROM pg_stat_activity WHERE application_name = 'outward' AND datname = current_database()"
            )
            return {name for (name,) in rows}

        def recorded(host: str) -> bool:
            return bool(admin.execute("SELECT 1 FROM events WHERE host = %s", [host]).fetchall())

        try:
            assert "403" in served.answer("before.test")
            wait_for(lambda: recorded("before.test"))
            assert users() == {"one"}
            secret.write_text(server.url.replace("outward@", "two:second@"))
            admin.execute("ALTER ROLE one NOLOGIN")

            def ended() -> bool:
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'one'")
                return users() == {"two"}

            wait_for(ended)
            assert "403" in served.answer("after.test")
            wait_for(lambda: recorded("after.test"))
            assert "second" not in served.log
            assert "take effect at the next start" not in served.log
        finally:
            served.end()


@pytest.mark.parametrize(
    ("now", "taken"),
    [
        ("postgresql://two:x@db/records?sslmode=require", True),
        ("postgresql://db/records?sslmode=require&user=two&password=x", True),
        ("postgresql://one:y@db:5433/records?sslmode=require", False),
        ("postgresql://one:y@db/other?sslmode=require", False),
        ("postgresql://one:y@db/records?sslmode=disable", False),
        ("sqlite", False),
    ],
)
def test_only_credentials_are_renewed(now, taken):
    """Another place is another database: it takes a start."""
    configured = "postgresql://one:x@db/records?sslmode=require"
    assert renew(configured, now) is taken
    assert in_force(configured) == (now if taken else configured)
    assert renew(configured, configured)
    assert in_force(configured) == configured

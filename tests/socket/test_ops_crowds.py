"""Readers that take long, leave at once or may no longer read: none of them takes the ops port from the others."""

import socket
import struct
import time
from contextlib import ExitStack, closing, suppress

import httpx
import pytest

from harness.admin import TOKEN, Admin, admin, denied, grant
from harness.waiting import PATIENCE, wait_for
from outward.ops import admin as application
from outward.ops import server, stream

SSE = "/api/v1/events/stream"


@pytest.fixture
def running(tmp_path):
    with admin(tmp_path) as found:
        with found.client() as first:
            assert first.get("/api/v1/groups").status_code == 200  # the application is built when somebody asks
        yield found


@pytest.fixture
def client(running):
    with running.client() as found:
        yield found


def ask(running: Admin, path: str, token: str = TOKEN, method: str = "GET") -> socket.socket:
    """Send a request and read nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", running.port))
    sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    return sock


def rest_of(sock: socket.socket) -> bytes:
    """Read until the server closes, in order or not."""
    got = b""
    with suppress(ConnectionError):
        while data := sock.recv(65_536):
            got += data
    return got


def some(sock: socket.socket, count: int) -> bool:
    """Read a number of bytes; False where the server closes before."""
    while count > 0 and (data := sock.recv(65_536)):
        count -= len(data)
    return count <= 0


def reset(sock: socket.socket) -> None:
    """Close with a reset, as a process that is killed with unread data does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def revoke(running: Admin, secret: str) -> None:
    running.administration.state.revoke_token(f"id-{secret}", "test")


def many(running: Admin, count: int = 12_000) -> None:
    running.write(denied(time=1_800_000_000 + n / 1000, path="/" + "x" * 800) for n in range(count))


def healthy(running: Admin) -> None:
    assert httpx.get(f"{running.url}/healthz", timeout=PATIENCE).status_code == 200


def test_readers_of_exports_who_do_not_read_keep_no_probe_out(running):
    """They are few for each token, the others are told so, and health answers meanwhile."""
    many(running)
    grant(running, "one", "acme/platform")
    with ExitStack() as stack:
        held = [stack.enter_context(closing(ask(running, "/export.jsonl", "one"))) for _ in range(280)]
        for _ in range(20):
            healthy(running)
        last = [sock.recv(12) for sock in held[-40:]]  # the port holds fewer: the oldest may go before they are told
        assert set(last) <= {b"HTTP/1.1 200", b"HTTP/1.1 429"}
        assert last.count(b"HTTP/1.1 429") >= 40 - application.EXPORTS[1]


def test_an_export_is_read_a_page_at_a_time_and_a_slow_reader_is_dropped(running, client, monkeypatch):
    """Its place is free again; one who reads gets every row, however many there are."""
    many(running)
    grant(running, "one", "acme/platform")
    with closing(ask(running, "/export.jsonl", "one")) as lines, closing(ask(running, "/export.csv", "one")) as table:
        assert lines.recv(12) == table.recv(12) == b"HTTP/1.1 200"
        assert len(running.administration._admin._exports) == 2
        monkeypatch.setattr(server, "WRITE_TIMEOUT", 0.3)
        for sock in (lines, table):  # the next time that a reader is waited for, it is not for long
            assert some(sock, 4 << 20)
        wait_for(lambda: len(running.administration._admin._exports) == 0)
    text = client.get("/export.jsonl").text
    assert len(set(text.splitlines())) == 12_000


def test_an_export_ends_early_and_says_so_when_its_token_is_taken_back(running):
    many(running)
    grant(running, "one", "acme/platform")
    with closing(ask(running, "/export.jsonl", "one")) as sock:
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        revoke(running, "one")
        got = rest_of(sock)  # without the end of the chunks, so that a client takes it for what it is
        assert not got.endswith(b"0\r\n\r\n")
        assert len(got) < 8 << 20
    wait_for(lambda: len(running.administration._admin._exports) == 0)


@pytest.mark.parametrize("heartbeat", [0.2, 15.0])
def test_who_watches_with_a_token_that_is_taken_back_sees_nothing_more(running, monkeypatch, heartbeat):
    """Neither in a quiet hour nor while events come all the time."""
    monkeypatch.setattr(stream, "HEARTBEAT", heartbeat)
    monkeypatch.setattr(stream, "RECHECK", 0.1)
    scoped = running.client(grant(running, "one", "acme/platform"))
    with scoped.stream("GET", SSE) as reply:
        lines = reply.iter_lines()
        assert next(lines).startswith("retry")
        running.publish(denied())
        assert any("decision" in line for line in lines)
        revoke(running, "one")
        deadline = time.monotonic() + PATIENCE
        if heartbeat > 1:
            publish_until_nobody_watches(running, denied)
        for _ in lines:
            assert time.monotonic() < deadline
    wait_for(lambda: len(running.administration._admin._watchers) == 0)


def publish_until_nobody_watches(running: Admin, make) -> None:
    """Publish every fifty milliseconds from the loop, until nobody watches."""

    def again() -> None:
        if running.administration.stream._watchers:
            running.administration.stream.publish(make())
            running.loop.call_later(0.05, again)

    running.loop.call_soon_threadsafe(again)


def test_a_session_that_ends_ends_its_stream(running, monkeypatch):
    monkeypatch.setattr(stream, "HEARTBEAT", 0.1)
    page = httpx.Client(base_url=running.url, timeout=PATIENCE)
    assert page.post("/login", data={"token": grant(running, "one", "acme")}).status_code == 303
    with page.stream("GET", SSE) as reply:
        assert reply.status_code == 200
        lines = reply.iter_lines()
        next(lines)
        revoke(running, "one")
        assert list(lines) is not None  # it ends
    wait_for(lambda: len(running.administration._admin._watchers) == 0)


def test_watchers_of_a_token_are_few_and_the_last_place_is_the_administrators(running, client):
    names = [grant(running, f"t{number}", "acme/platform") for number in range(5)]
    with ExitStack() as stack:
        answers = []
        for name in names:
            held = [stack.enter_context(closing(ask(running, SSE, name))) for _ in range(20)]
            answers.append([sock.recv(12)[-3:] for sock in held])
        assert [each.count(b"200") for each in answers] == [16, 16, 16, 15, 0]
        assert answers[0].count(b"429") == 4
        assert answers[4].count(b"503") == 20
        with client.stream("GET", SSE) as reply:
            assert reply.status_code == 200
        healthy(running)


@pytest.mark.parametrize("path", [SSE, "/export.csv", "/export.jsonl"])
@pytest.mark.parametrize("way", ["HEAD", "reset", "half", "OPTIONS"])
def test_who_leaves_before_the_first_byte_is_forgotten(running, client, path, way):
    """However it leaves: a place that leaks is gone until the next start."""
    running.write([denied()])
    for _ in range(80):
        if way == "HEAD":
            assert client.head(path).status_code == 200
        elif way == "OPTIONS":
            assert client.request("OPTIONS", path).status_code == 405
        else:
            sock = ask(running, path)
            reset(sock) if way == "reset" else sock.close()

    app = running.administration._admin

    def free() -> bool:
        """Sooner than any heartbeat would notice; some of the requests may still be on their way."""
        with client.stream("GET", path) as reply:
            return reply.status_code == 200 and len(app._watchers) + len(app._exports) == 1

    wait_for(free)
    wait_for(lambda: not len(app._watchers) + len(app._exports) + len(running.administration.stream._watchers))


def test_long_answers_of_one_token_are_few_while_nobody_reads_them(running, client):
    """A list is in memory until it has been taken."""
    many(running, 600)
    grant(running, "one", "acme/platform")
    with ExitStack() as stack:
        held = [stack.enter_context(closing(ask(running, "/api/v1/blocked?limit=500", "one"))) for _ in range(120)]
        got = [sock.recv(12)[-3:] for sock in held]
        assert got.count(b"429") > 0
        assert client.get("/api/v1/blocked").status_code == 200
        healthy(running)


def test_metrics_and_details_are_not_for_another_sites_page(running):
    """A name that an attacker's DNS answers with this address; group names are nobody's business."""
    for host, status in (("evil.example", 421), ("127.0.0.1.evil.example:9090", 421), ("127.0.0.1", 200), ("a:1", 200)):
        assert httpx.get(f"{running.url}/metrics", headers={"Host": host}, timeout=PATIENCE).status_code == status, host
    ready = httpx.get(f"{running.url}/readyz", headers={"Host": "evil.example"}, timeout=PATIENCE)
    assert ready.json() == {"ready": True}
    assert "checks" in httpx.get(f"{running.url}/readyz", timeout=PATIENCE).json()
    assert httpx.get(f"{running.url}/healthz", headers={"Host": "evil.example"}, timeout=PATIENCE).status_code == 200

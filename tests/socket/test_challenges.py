"""A 407 that its client answers is no refusal; one that nobody answers is recorded once. With the clients that do so."""

import hashlib
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from harness.process import Served, environment
from harness.waiting import PATIENCE, wait_for
from harness.web import Web

TOKENS = {"tunnelled": "correct horse battery", "inspected": "staple correct horse"}
LANES = {"tunnelled": "tunnel", "inspected": "inspect"}
FLOOD = 150


@contextmanager
def serving(folder: Path, *, tls: bool) -> Iterator[tuple[Served, Web]]:
    """A proxy, and a web server that both groups may reach."""
    web = Web(folder, tls=tls)
    (web.root / "page").write_text("the page")
    config = folder / "outward.yaml"
    groups = ", ".join(
        f"{name}: {{lane: {lane}, ech: refuse, allow: ['origin.test:{web.port}']}}" for name, lane in LANES.items()
    )
    clients = ", ".join(
        f"{{group: {name}, token_sha256: {hashlib.sha256(token.encode()).hexdigest()}}}"
        for name, token in TOKENS.items()
    )
    config.write_text(
        "version: 1\n"
        f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{folder}/state'}}\n"
        f"upstream: {{internal: [127.0.0.1/32], trust: [system, '{web.ca}'], dns: {{hosts: {{origin.test: [127.0.0.1]}}}}}}\n"
        f"groups: {{{groups}}}\nclients: [{clients}]\n"
    )
    running = Served(config)
    try:
        yield running, web
    finally:
        running.end()
        web.close()


@pytest.fixture(scope="module", params=[True, False], ids=["https", "http"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Web]]:
    """One for all tests that tell their own events from others'."""
    with serving(tmp_path_factory.mktemp("shared"), tls=request.param) as both:
        yield both


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Served, Web]]:
    with serving(tmp_path, tls=False) as both:
        yield both


def run(*command: object, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(each) for each in command],
        env=environment() | more,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def curl(served: Served, web: Web, group: str, *options: str) -> list[str]:
    """Fetch the page by a curl that sends its credentials when it is asked for them; return the ids that it was told."""
    bundle = served.config.with_name("bundle.pem")
    ours = served.config.with_name("state") / "ca.pem"
    bundle.write_text(web.ca.read_text() + (ours.read_text() if ours.exists() else ""))
    done = run(
        *(
            "curl",
            "-sS",
            "-D",
            "/dev/stderr",
            "--proxy",
            f"http://{served.proxy[0]}:{served.proxy[1]}",
            "--noproxy",
            "",
        ),
        *("--cacert", bundle, "--proxy-user", f"u:{TOKENS[group]}", *options, f"{web.url}/page"),
    )
    assert done.stdout == "the page", done.stderr
    assert " 407 " in done.stderr
    return re.findall(r"Outward-Decision: (\w+)", done.stderr)


def recorded(served: Served) -> list[dict[str, object]]:
    """Return the events, once a later refusal is among them: so nothing is held back any more that came before it."""
    last = f"last-{len(served.events)}.example"
    served.answer(last)
    wait_for(lambda: [event for event in served.events if event.get("host") == last])
    return [event for event in served.events if not str(event.get("host")).startswith("last-")]


@pytest.mark.parametrize("group", LANES)
@pytest.mark.parametrize(
    "options", [("--proxy-anyauth",), ("--proxy-anyauth", "--proxytunnel"), ("--proxy-anyauth", "--http1.0")]
)
def test_an_answered_challenge_is_one_event_with_the_answer(
    shared: tuple[Served, Web], group: str, options: tuple[str, ...]
):
    served, web = shared

    def counted() -> tuple[float, float]:
        return tuple(
            served.metric_sum("outward_requests_total", each) for each in ('verdict="allow"', 'reason="unknown_client"')
        )

    before, (allowed, unknown) = len(recorded(served)), counted()
    told = curl(served, web, group, *options)
    wait_for(lambda: [event for event in served.events if event["id"] in told])  # a tunnel's, once it has ended
    (event,) = recorded(served)[before:]
    assert (event["verdict"], event["group"], event["host"]) == ("allow", group, "origin.test")
    assert [event["id"]] == told
    assert counted() == (allowed + 1, unknown + 1)  # the last one


def test_git_leaves_no_unknown_client(shared: tuple[Served, Web]):
    """It asks for every scheme that a proxy may offer, and so sends nothing before it is asked."""
    served, web = shared
    before, asked = len(recorded(served)), len(web.seen)
    proxy = f"http://u:{TOKENS['tunnelled']}@{served.proxy[0]}:{served.proxy[1]}"
    done = run(
        *("git", "-c", f"http.proxy={proxy}", "ls-remote", f"{web.url}/x.git"),
        HOME=str(web.root), GIT_CONFIG_NOSYSTEM="1", GIT_SSL_CAINFO=str(web.ca),
    )  # fmt: skip
    assert len(web.seen) > asked, done.stderr
    wait_for(lambda: len(recorded(served)) > before)
    assert {event["group"] for event in recorded(served)[before:]} == {"tunnelled"}


def ask(served: Served, host: str, port: int, *fields: str, version: str = "1.1", sock: socket.socket | None = None):
    sock = sock or socket.create_connection(served.proxy, timeout=PATIENCE)
    sock.sendall(
        "\r\n".join((f"CONNECT {host}:{port} HTTP/{version}", f"Host: {host}:{port}", *fields, "", "")).encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    length = re.search(rb"Content-Length: (\d+)", head)
    body = b""
    while length and len(body) < int(length[1]):
        body += sock.recv(65536)
    return sock, head.decode()


def test_credentials_may_come_on_the_connection_that_was_asked_for_them(own: tuple[Served, Web]):
    served, web = own
    bearer = f"Proxy-Authorization: Bearer {TOKENS['tunnelled']}"
    sock, head = ask(served, "origin.test", web.port)
    assert head.startswith("HTTP/1.1 407 ")
    assert "\r\nConnection: close" not in head
    with closing(sock):
        _, head = ask(served, "origin.test", web.port, bearer, sock=sock)
        assert head.startswith("HTTP/1.1 200 ")
    for fields, version in (((), "1.0"), (("Connection: close",), "1.1")):
        sock, head = ask(served, "origin.test", web.port, *fields, version=version)
        assert "\r\nConnection: close" in head
        with closing(sock):
            assert sock.recv(1) == b""
    sock, head = ask(served, "second.example", 443)
    with closing(sock):
        _, head = ask(served, "second.example", 443, sock=sock)  # asked once, it is not asked again there
        assert head.startswith("HTTP/1.1 407 ")
        assert "\r\nConnection: close" in head
        assert sock.recv(1) == b""


def test_what_nobody_answers_is_recorded_once_and_counted_exactly(own: tuple[Served, Web], tmp_path: Path):
    """Another host, another program and a wrong token answer nothing; of two challenges one answer takes one."""
    served, web = own
    bearer = f"Proxy-Authorization: Bearer {TOKENS['tunnelled']}"
    agent = "User-Agent: agent/1"
    asked = [
        ("origin.test", agent),
        ("origin.test", agent),
        ("origin.test", "User-Agent: agent/2"),
        ("a.example", agent),
    ]
    for host, *fields in asked:
        ask(served, host, web.port, *fields)[0].close()
    ask(served, "origin.test", web.port, agent, bearer)[0].close()
    ask(served, "a.example", web.port, agent, "Proxy-Authorization: Bearer wrong")[0].close()
    for number in range(FLOOD):
        ask(served, f"h{number % 100}.example", 443)[0].close()
    wait_for(lambda: served.metric_sum("outward_requests_total", 'reason="unknown_client"') == 3 + FLOOD)
    served.signal(signal.SIGTERM)
    assert served.wait() == 0
    with closing(sqlite3.connect(tmp_path / "state" / "records.sqlite")) as database:
        rows = database.execute("SELECT id, reason, count FROM events").fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    assert sum(count for _, reason, count in rows if reason == "unknown_client") == 3 + FLOOD
    assert [count for _, reason, count in rows if reason == "bad_credentials"] == [1]


def test_the_end_of_the_proxy_loses_no_challenge(own: tuple[Served, Web], tmp_path: Path):
    served, _ = own
    _, head = ask(served, "a.example", 443)
    served.signal(signal.SIGTERM)
    assert served.wait() == 0
    with closing(sqlite3.connect(tmp_path / "state" / "records.sqlite")) as database:
        assert database.execute("SELECT id, reason FROM events").fetchall() == [
            (re.findall(r"Outward-Decision: (\w+)", head)[0], "unknown_client")
        ]

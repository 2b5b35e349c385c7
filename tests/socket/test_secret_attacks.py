"""Attempts to get at a secret's value, or to have it sent elsewhere: raw bytes through a real proxy to a real TLS server.

The server sends back what it is sent in every place that a head has. Those that any client can make are in
`test_secrets` and its harness; what the proxy says of itself is searched in `test_secret_canaries`.
"""

import base64
import hashlib
import json
import re
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import pytest
import trustme

from harness.misplacing import HELD, VALUE
from harness.process import Served
from harness.waiting import PATIENCE, wait_for

OTHER, TOKEN = "other-value-0123456789", b"guest-token-0123456789"
GUEST = base64.b64encode(b"x:" + TOKEN).decode()
FIELD = f"Authorization: Bearer {HELD}\r\n"


class Mirror:
    """A TLS server that keeps what it is sent, and sends back the credentials as its path says.

    Attributes:
        heads: of each request, with its body.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.heads: list[bytes] = []
        self.deaf = 0  # connections that are closed at their next request
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as sock, sock.makefile("rb") as file:
                asked = False
                while head := b"".join(takewhile(b"\r\n".__ne__, file)):  # or all there is, when the client leaves
                    if asked and self.deaf:
                        self.deaf -= 1
                        return
                    asked = True
                    length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
                    body = file.read(int(length[1])) if length else b""
                    if b"chunked" in head:
                        body = b"".join(takewhile(b"0\r\n".__ne__, file)) + file.readline()
                    self.heads.append(head + body)
                    sock.sendall(self._answer(head))
        except OSError:
            pass

    @staticmethod
    def _answer(head: bytes) -> bytes:
        found = re.search(rb"(?i)^authorization: (.*)\r$", head, re.MULTILINE)
        sent = found[1] if found else b"nothing"
        path = head.split(b" ")[1]
        if path.endswith(b"echo"):
            return (
                b"HTTP/1.1 103 Early Hints\r\nLink: <%b>\r\n\r\nHTTP/1.1 302 you sent %b\r\nX-Echo: %b\r\n%b: name\r\n"
                b'Location: https://elsewhere.test/?%b\r\nSet-Cookie: a=%b\r\nWWW-Authenticate: Bearer realm="%b"\r\n'
                b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: %b\r\n\r\n"
            ) % (sent, sent, sent, sent.rpartition(b" ")[2].rstrip(b"="), sent, sent, sent, sent)  # fmt: skip
        if path.endswith(b"407"):
            return b"HTTP/1.1 407 no\r\nProxy-Authenticate: Basic realm=%b\r\nContent-Length: 0\r\n\r\n" % sent
        if path.endswith(b"101"):
            return b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\nX-Echo: %b\r\n\r\n" % sent
        if path.endswith(b"garbage"):
            return b"HTTP/1.1 200 OK\r\nX-Echo: %b\r\nbroken\r\n\r\n" % sent
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Parent:
    """A parent proxy that keeps every byte that it carries."""

    def __init__(self) -> None:
        self.carried = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            client, _ = self._listener.accept()  # as long as the process lives
            head = client.recv(65536)
            self.carried += head
            port = int(re.match(rb"CONNECT [^:]+:(\d+)", head)[1])  # type: ignore[index]
            server = socket.create_connection(("127.0.0.1", port))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.carried += data
                sink.sendall(data)
        sink.close()


class Scene:
    """One proxy, the servers behind it, and what attackers do."""

    def __init__(self, folder: Path) -> None:
        trusted, foreign = trustme.CA(), trustme.CA()
        trusted.cert_pem.write_to_path(folder / "roots.pem")
        contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
        trusted.issue_cert("api.test", "far.test").configure_cert(contexts[0])
        foreign.issue_cert("api.test").configure_cert(contexts[1])
        self.mirror, self.impostor = map(Mirror, contexts)
        self.parent = Parent()
        port = self.mirror.port
        inject = 'inject: {header: Authorization, value: "Bearer {github}"}'
        config = folder / "outward.yaml"
        config.write_text(
            "version: 1\n"
            f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{folder}/state'}}\n"
            "secrets:\n  github: {env: SECRET, hosts: [api.test, far.test], groups: [dev]}\n"
            "  other: {env: OTHER, hosts: [api.test], groups: [dev]}\n"
            f"upstream:\n  trust: ['{folder}/roots.pem']\n  internal: [127.0.0.1/32]\n"
            f"  proxy: http://127.0.0.1:{self.parent.port}\n  no_proxy: [api.test, other.test]\n"
            "  dns: {hosts: {api.test: [127.0.0.1], far.test: [127.0.0.1], other.test: [127.0.0.1]}}\n"
            "groups:\n  dev:\n    lane: inspect\n    allow:\n"
            f"      - {{host: api.test, port: {port}, paths: ['/v1/**'], {inject}}}\n"
            f"      - {{host: api.test, port: {port}, paths: ['/basic/**'], inject: {{basic: 'me:{{github}}'}}}}\n"
            f"      - {{host: api.test, port: {port}, paths: ['/public/**']}}\n"
            f"      - {{host: api.test, port: {self.impostor.port}, {inject}}}\n"
            f"      - {{host: far.test, port: {port}, {inject}}}\n"
            "      - other.test\n"
            f"  guest:\n    lane: inspect\n    denial: inside\n    allow: [{{host: api.test, port: {port}}}]\n"
            f"clients:\n  - {{group: guest, token_sha256: {hashlib.sha256(TOKEN).hexdigest()}}}\n  - {{group: dev, anyone: true}}\n"
        )
        self.served = Served(config, SECRET=VALUE, OTHER=OTHER)
        self.state = folder / "state"

    def tunnel(
        self, host: str = "api.test", port: int = 0, *, sni: str | None = None, credentials: str = ""
    ) -> ssl.SSLSocket:
        sock = socket.create_connection(self.served.proxy, timeout=PATIENCE)
        target = f"{host}:{port or self.mirror.port}"
        field = f"Proxy-Authorization: Basic {credentials}\r\n" if credentials else ""
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{field}\r\n".encode())
        assert b" 200 " in sock.recv(65536)
        return ssl.create_default_context(cafile=str(self.state / "ca.pem")).wrap_socket(
            sock, server_hostname=sni or host
        )

    def ask(self, raw: str, **way: str | int) -> str:
        """Send a request that closes its connection, and return all that comes back."""
        with self.tunnel(**way) as sock:  # type: ignore[arg-type]
            sock.sendall(raw.encode("latin-1"))
            return b"".join(iter(lambda: sock.recv(65536), b"")).decode("latin-1")

    def get(self, path: str, fields: str = "", method: str = "GET", **way: str | int) -> str:
        host = way.get("host", "api.test")
        host = f"{host}:{way.get('port', self.mirror.port)}"
        return self.ask(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n", **way)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    running = Scene(tmp_path_factory.mktemp("scene"))
    yield running
    running.served.end()
    running.mirror.close()
    running.impostor.close()


def answered(sock: ssl.SSLSocket) -> bool:
    """Read one answer of the mirror on a connection that stays."""
    reply = b""
    while not reply.endswith(b"\r\n\r\nok"):
        piece = sock.recv(65536)
        assert piece, reply
        reply += piece
    return b" 200 " in reply


def reason(reply: str) -> str:
    return str(json.loads(reply.partition("\r\n\r\n")[2])["reason"])


PAIR = base64.b64encode(f"me:{HELD}@other".encode()).decode()
REFUSED = {
    "folded": (f"/v1/x|Authorization: Bearer\r\n {HELD}\r\n", "malformed_request"),
    "a blank before the colon": (f"/v1/x|Authorization : Bearer {HELD}\r\n", "malformed_request"),
    "a bare LF": (f"/v1/x|X: a\nAuthorization: Bearer {HELD}\r\n", "malformed_request"),
    "NUL": (f"/v1/x|Authorization: Bearer {HELD}\0\r\n", "malformed_request"),
    "obs-text": (f"/v1/x|Authorization: Bearer {HELD}\xe9\r\n", "secret_misdirected"),
    "a tab for the blank": (f"/v1/x|Authorization: Bearer\t{HELD}\r\n", "secret_misdirected"),
    "capitals where it belongs": (f"/v1/x|Authorization: Bearer {HELD.upper()}\r\n", "secret_misdirected"),
    "escaped where it belongs": ("/v1/x|Authorization: Bearer outward%2Dsecret-github\r\n", "secret_misdirected"),
    "a longer pair": (f"/v1/x|Authorization: Basic {PAIR}\r\n", "secret_misdirected"),
    "Basic within Basic": (f"/v1/x|Authorization: Basic {base64.b64encode(PAIR.encode()).decode()}\r\n", "secret_misdirected"),
    "another secret's": ("/v1/x|Authorization: Bearer outward-secret-other\r\n", "secret_misdirected"),
    "two values in one": (f"/v1/x|Authorization: Bearer {HELD}, Bearer {HELD}\r\n", "secret_misdirected"),
    "a conversation's name": (f"/v1/x|Outward-Conversation: {HELD}\r\n", "secret_misdirected"),
    "hop by hop": (f"/v1/x|X-Key: {HELD}\r\nConnection: x-key\r\n", "secret_misdirected"),
    "the target of another": (f"http://other.test/v1/x|{FIELD}", "malformed_request"),
    "another field, where nothing is allowed": (f"/elsewhere|X-Key: {HELD}\r\n", "secret_misdirected"),
    "its field, where nothing is allowed": (f"/elsewhere|{FIELD}", "path_not_allowed"),
    "the path left by dots": (f"/public/../v1/x|{FIELD}", "path_not_allowed"),
    "the path left by escaped dots": (f"/v1/%2e%2e/public/x|{FIELD}", "path_not_allowed"),
    "the path left by a slash": (f"/public/..%2fv1/x|{FIELD}", "path_not_allowed"),
    "an upgrade to HTTP/2": (f"/v1/x|{FIELD}Upgrade: foo\r\nConnection: upgrade\r\n", "upgrade_not_allowed"),
    "an answer that is a 407": (f"/v1/407|{FIELD}", "upstream_failed"),
    "an answer that switches protocols": (f"/v1/101|{FIELD}", "upstream_failed"),
    "an answer that is none": (f"/v1/garbage|{FIELD}", "upstream_failed"),
}  # fmt: skip


@pytest.mark.parametrize("attack", REFUSED)
def test_the_request_is_refused(scene: Scene, attack: str) -> None:
    scene.mirror.heads.clear()
    told, expected = REFUSED[attack]
    path, _, fields = told.partition("|")
    reply = scene.get(path, fields)
    assert reason(reply) == expected
    assert VALUE not in reply
    assert (scene.mirror.heads == []) is (expected != "upstream_failed")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get"])
def test_methods_that_are_not_carried(scene: Scene, method: str) -> None:
    scene.mirror.heads.clear()
    assert reason(scene.get("/v1/x", FIELD, method)) == "malformed_request"
    assert scene.mirror.heads == []


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (f"GET http://unlisted.test/?key={HELD} HTTP/1.1\r\nHost: unlisted.test\r\n\r\n", "secret_misdirected"),
        (f"CONNECT {HELD}.unlisted.test:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", "secret_misdirected"),
        (f"GET http://unlisted.test/ HTTP/1.1\r\nHost: unlisted.test\r\n{FIELD}\r\n", "secret_misdirected"),
        ("GET http://unlisted.test/ HTTP/1.1\r\nHost: unlisted.test\r\n\r\n", "no_rule"),
    ],
)
def test_a_host_that_is_not_allowed_is_no_less_telling(scene: Scene, raw: str, expected: str) -> None:
    """What an agent was talked into is told as that, and no line is proposed that would allow it."""
    with socket.create_connection(scene.served.proxy, timeout=PATIENCE) as sock:
        sock.sendall(raw.encode())
        reply = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    found = json.loads(reply.partition("\r\n\r\n")[2])
    assert (found["reason"], bool(found["suggestion"])) == (expected, expected == "no_rule")


def test_a_refused_connect_that_is_answered_within_is_no_less_telling(scene: Scene) -> None:
    found = [
        reason(scene.get("/", fields, host="unlisted.test", credentials=GUEST)) for fields in (f"X-Key: {HELD}\r\n", "")
    ]
    assert found == ["secret_misdirected", "no_rule"]


def test_another_server_name_gets_nothing(scene: Scene) -> None:
    """The leaf is for the name that was asked for, and the request is refused."""
    scene.mirror.heads.clear()
    assert reason(scene.get("/v1/x", FIELD, sni="other.test")) == "sni_mismatch"
    assert scene.mirror.heads == []


def test_who_cannot_prove_the_name_gets_nothing(scene: Scene) -> None:
    """Whatever a name resolves to: the value goes over TLS that was verified, after the handshake."""
    reply = scene.get("/v1/x", port=scene.impostor.port)
    assert reason(reply) == "upstream_failed"
    assert "certificate" in reply
    assert (scene.impostor.heads, VALUE in reply) == ([], False)


@pytest.mark.parametrize("path", ["/v1/echo", "/basic/echo"])
def test_what_comes_back_in_a_head_is_masked_wherever_it_stands(scene: Scene, path: str) -> None:
    """Reason phrase, names, values, redirects, cookies; what comes before and after the answer does not go on."""
    reply = scene.get(path)
    pair = base64.b64encode(f"me:{VALUE}".encode()).decode().rstrip("=")
    assert VALUE in scene.mirror.heads[-1].decode() or pair in scene.mirror.heads[-1].decode()
    assert reply.startswith("HTTP/1.1 302 you sent B")
    assert (VALUE in reply, pair in reply, "103" in reply, "X-Trailer" in reply) == (False, False, False, False)
    assert f"X-Echo: Bearer {HELD}" in reply or "X-Echo: Basic " in reply


def test_what_a_client_that_knows_the_value_writes_stands_in_no_record(scene: Scene) -> None:
    """Path, method, host, conversation and user agent are the client's own words."""
    known = f"User-Agent: a {VALUE}\r\nOutward-Conversation: {VALUE}\r\n"
    for path, method, host in (
        (f"/public/{base64.b64encode(VALUE.encode()).decode()}", VALUE, "api.test"),
        (f"/nope/{VALUE}", "GET", f"{VALUE}.test"),
    ):
        with socket.create_connection(scene.served.proxy, timeout=PATIENCE) as sock:
            sock.sendall(f"{method} http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{known}\r\n".encode())
            assert sock.recv(100)
    wait_for(lambda: [each for each in scene.served.events if each["host"] == f"{HELD}.test"])
    said = scene.served.log.lower()
    assert (VALUE.lower() in said, base64.b64encode(VALUE.encode()).decode().lower() in said) == (False, False)


def test_a_pipelined_request_is_judged_by_itself(scene: Scene) -> None:
    scene.mirror.heads.clear()
    host = f"Host: api.test:{scene.mirror.port}\r\n"
    reply = scene.ask(
        f"GET /v1/a HTTP/1.1\r\n{host}\r\nGET /public/b HTTP/1.1\r\n{host}\r\nGET /public/c HTTP/1.1\r\n{host}{FIELD}\r\n"
    )
    assert [VALUE.encode() in head for head in scene.mirror.heads] == [True, False]
    assert reply.count("HTTP/1.1 200") == 2
    assert '"secret_misdirected"' in reply


def test_http_1_0_is_judged_alike(scene: Scene) -> None:
    host = f"Host: api.test:{scene.mirror.port}\r\n"
    scene.ask(f"GET /v1/x HTTP/1.0\r\n{host}{FIELD}\r\n")
    assert f"Bearer {VALUE}".encode() in scene.mirror.heads[-1]
    assert reason(scene.ask(f"GET /v1/x HTTP/1.0\r\n{host}X-Key: {HELD}\r\n\r\n")) == "secret_misdirected"


def test_a_websocket_carries_it_in_its_handshake_alone(scene: Scene) -> None:
    host = f"Host: api.test:{scene.mirror.port}\r\n"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"
    with scene.tunnel() as sock:
        sock.sendall(f"GET /v1/x HTTP/1.1\r\n{host}{upgrade}{FIELD}\r\n".encode())
        assert answered(sock)  # and does not switch, as no server has to
    assert f"Bearer {VALUE}".encode() in scene.mirror.heads[-1]
    assert b"websocket" in scene.mirror.heads[-1]
    assert reason(scene.ask(f"GET /v1/x HTTP/1.1\r\n{host}{upgrade}X-Key: {HELD}\r\n\r\n")) == "secret_misdirected"


def test_trailers_go_nowhere_and_bodies_are_counted(scene: Scene) -> None:
    """A placeholder that is cut between chunks is one all the same; extensions and trailers end here."""
    counted = scene.served.metric_sum("outward_secret_bodies_total", 'secret="github"')
    body = f"7\r\noutward\r\n{len(HELD) - 7:x};x={HELD}\r\n{HELD[7:]}\r\n0\r\nX-Key: {HELD}\r\n\r\n"
    host = f"Host: api.test:{scene.mirror.port}\r\n"
    scene.ask(f"POST /v1/x HTTP/1.1\r\n{host}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    head, _, sent = scene.mirror.heads[-1].decode().partition("chunked\r\n")
    assert HELD not in head
    assert "x-key" not in sent.lower()
    assert ";x=" not in sent
    assert scene.served.metric_sum("outward_secret_bodies_total", 'secret="github"') == counted + 1


def test_another_group_is_another_client(scene: Scene) -> None:
    """Its connections are its own, nothing is set on them, and a placeholder is refused there."""
    scene.get("/v1/x")
    scene.mirror.heads.clear()
    scene.get("/v1/x", credentials=GUEST)
    assert len(scene.mirror.heads) == 1
    assert VALUE.encode() not in scene.mirror.heads[0]
    assert reason(scene.get("/v1/x", FIELD, credentials=GUEST)) == "secret_misdirected"


def test_a_dead_connection_changes_nothing(scene: Scene) -> None:
    """What is sent once more goes to the same host, verified anew, with the same value; what comes after has none."""
    host = f"Host: api.test:{scene.mirror.port}\r\n"
    with scene.tunnel() as sock:
        for path, deaf in (("/v1/a", 0), ("/v1/b", 1), ("/public/c", 0)):
            scene.mirror.heads.clear()
            scene.mirror.deaf = deaf
            sock.sendall(f"GET {path} HTTP/1.1\r\n{host}\r\n".encode())
            assert answered(sock)
            assert [VALUE.encode() in head for head in scene.mirror.heads] == [path.startswith("/v1")]


def test_a_parent_proxy_carries_what_it_cannot_read(scene: Scene) -> None:
    scene.get("/v1/x", host="far.test")
    assert f"Bearer {VALUE}".encode() in scene.mirror.heads[-1]
    wait_for(lambda: b"CONNECT far.test" in scene.parent.carried)
    assert VALUE.encode() not in scene.parent.carried
    assert base64.b64encode(VALUE.encode())[:20] not in scene.parent.carried


def test_refusals_tell_whose_placeholder_it_was(scene: Scene) -> None:
    reply = scene.get("/v1/x", f"X-Key: {HELD}\r\nOutward-Conversation: chat-9\r\n")
    event = wait_for(lambda: [each for each in scene.served.events if each["conversation"] == "chat-9"])[0]
    assert event["detail"] == "the placeholder of github stands in the field x-key"
    assert HELD not in reply
    assert scene.served.metric_sum("outward_secret_misdirected_total", 'secret="github"') >= 1


def test_a_reload_takes_a_secret_from_connections_that_are_open(scene: Scene) -> None:
    """From the next request on; what the client sends as before is refused then."""
    config, host = scene.served.config, f"Host: api.test:{scene.mirror.port}\r\n"
    before = config.read_text()
    after = before.replace(
        "paths: ['/v1/**'], inject: {header: Authorization, value: \"Bearer {github}\"}", "paths: ['/v1/**']"
    )
    assert after != before
    try:
        with scene.tunnel() as sock:

            def taken() -> bool:
                scene.mirror.heads.clear()
                sock.sendall(f"GET /v1/a HTTP/1.1\r\n{host}\r\n".encode())
                assert answered(sock)
                return VALUE.encode() not in scene.mirror.heads[0]

            assert not taken()
            config.write_text(after)
            scene.served.signal(signal.SIGHUP)
            wait_for(taken)
            sock.sendall(f"GET /v1/b HTTP/1.1\r\n{host}{FIELD}\r\n".encode())
            assert b'"secret_misdirected"' in b"".join(iter(lambda: sock.recv(65536), b""))
    finally:
        config.write_text(before)
        scene.served.signal(signal.SIGHUP)
        wait_for(lambda: VALUE.encode() in (scene.get("/v1/x"), scene.mirror.heads[-1])[1])

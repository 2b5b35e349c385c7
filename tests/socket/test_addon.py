"""`mitmdump -s addon.py` is the same proxy: decisions, denials, the blocked log, metrics and reload, over real sockets."""

import asyncio
import contextlib
import hashlib
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import trustme
from joserfc import jwt
from joserfc.jwk import ECKey

from harness.gates import connect, decision_id, status
from harness.inspection import HELLO, WebOrigin, get, replying, response
from harness.loops import on_loop, until
from harness.mitmdump import Mitmdump, command, mitmdump, web
from harness.process import environment
from harness.raw import raw
from harness.waiting import PATIENCE

pytestmark = pytest.mark.slow

POLICY = """
upstream:
  trust: [roots.pem]
  internal: [127.0.0.0/8]
  dns: {hosts: {ours.test: [127.0.0.1], theirs.test: [127.0.0.1], inner.test: [10.9.9.9]}}
groups:
  ours: {allow: [{host: ours.test, ports: [PORT], methods: [GET]}, "inner.test:80"]}
  theirs: {lane: tunnel, allow: [{host: theirs.test, ports: [PORT]}]}
clients:
  - {group: ours, token_sha256: TOKEN}
  - {group: theirs, source: 127.0.0.9/32}
  - {issuer: "https://ci.test", audience: outward, jwks: jwks.json, group_claim: namespace}
""".replace("TOKEN", hashlib.sha256(b"ours").hexdigest())
KEY = ECKey.generate_key("P-256", {"kid": "one"})
OURS = "Proxy-Authorization: Basic Om91cnM="


def ours(
    folder: Path, server: WebOrigin, pki: trustme.CA, methods: str = "GET"
) -> "contextlib.AbstractAsyncContextManager[Mitmdump]":
    """Run it with the policy for a server's port, and a key of an issuer of JWTs."""
    (folder / "jwks.json").write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    return mitmdump(folder, POLICY.replace("PORT", str(server.port)).replace("[GET]", f"[{methods}]"), pki)


def plain(host: str, method: str = "GET", *fields: str) -> bytes:
    lines = (f"{method} http://{host}/x HTTP/1.1", f"Host: {host}", OURS, *fields)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


async def refused(proxy: Mitmdump, data: bytes) -> tuple[int, dict[str, object]]:
    """Return the status and the problem of a denial, whose id is that of its event."""
    async with raw(proxy.address) as client:
        answer = await client.ask(data)
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    event = await proxy.event(id=decision_id(answer))
    assert event["id"] == problem["decision_id"]
    assert event["reason"] == problem["reason"]
    return status(answer), problem


@on_loop
async def test_what_no_rule_allows_is_denied_with_the_problem_and_is_in_the_blocked_log(tmp_path: Path) -> None:
    """A CONNECT, a plain request, a method, an address: each is told, recorded once, listed and counted."""
    async with web(pki := trustme.CA()) as server, ours(tmp_path, server, pki) as proxy:
        name = f"ours.test:{server.port}"
        cases = (
            (connect("evil.test", 443, OURS), 403, "no_rule"),
            (plain("evil.test"), 403, "no_rule"),
            (plain(name, "POST", "Content-Length: 2") + b"{}", 403, "method_not_allowed"),
            (plain("inner.test:80"), 403, "address_not_public"),
            (plain(name, "GET", "Host: evil.test"), 400, "malformed_request"),
            (plain(name).replace(f"Host: {name}".encode(), b"Host: evil.test"), 403, "host_mismatch"),
            (connect("ours.test", 443), 407, "unknown_client"),
            (connect("ours.test", 443, "Proxy-Authorization: Basic OndlbmQ="), 407, "bad_credentials"),
        )
        told = [await refused(proxy, data) for data, *_ in cases]
        assert [(code, problem["reason"]) for code, problem in told] == [tuple(rest) for _, *rest in cases]
        assert server.accepts == 0
        ids = [problem["decision_id"] for _, problem in told]
        await until(lambda: len(proxy.events) == len(cases))
        rows: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):  # the store is written behind the events
            while not rows.keys() >= set(ids):
                rows = {row["id"]: row["reason"] for row in (await proxy.asked("/api/v1/blocked"))["items"]}
        assert {each: rows[each] for each in ids} == {
            each: problem["reason"] for each, (_, problem) in zip(ids, told, strict=True)
        }
        metrics = proxy.ask("/metrics")[1]
        assert re.search(r'outward_requests_total{group="ours",.*reason="method_not_allowed".*} 1.0', metrics)


@on_loop
async def test_each_group_has_its_own_policy_by_token_and_by_address(tmp_path: Path) -> None:
    """One is inspected, the other relayed unread; neither reaches the other's host."""
    pki = trustme.CA()
    async with web(pki, "ours.test", "theirs.test") as server, ours(tmp_path, server, pki) as proxy:
        async with proxy.http("ours") as http:
            url = f"https://ours.test:{server.port}/a?secret=1"
            first, second = await http.get(url), await http.get(url)
            assert (first.text, second.text) == ("hello", "hello")
            assert (await http.post(url)).json()["reason"] == "method_not_allowed"
            with pytest.raises(Exception, match="403"):
                await http.get(f"https://theirs.test:{server.port}/")
        assert server.accepts == 1  # the connection is kept
        assert not any(name.lower().startswith("proxy-") for seen in server.seen for name, _ in seen.fields)
        allowed = await proxy.event(verdict="allow")
        assert (allowed["group"], allowed["lane"], allowed["path"], allowed["sni"]) == (
            "ours",
            "inspect",
            "/a",
            "ours.test",
        )
        assert (allowed["address"], allowed["status"], allowed["conversation"]) == ("127.0.0.1", 200, "chat-1")
        assert allowed["bytes_down"] > 0

        async with raw(proxy.address, source="127.0.0.9") as client:
            await client.send(connect("theirs.test", server.port))
            assert status(await client.head()) == 200
            context = proxy.tls
            await client.tls(context, "theirs.test")
            issuer = dict(each[0] for each in client.writer.get_extra_info("peercert")["issuer"])
            assert "trustme" in str(issuer)  # the origin's own certificate
            await client.send(get("/", f"theirs.test:{server.port}"))
            assert (await response(client)).endswith(HELLO.rpartition(b"\r\n")[2])
        tunnel = await proxy.event(group="theirs")
        assert (tunnel["group"], tunnel["lane"], tunnel["verdict"], tunnel["sni"]) == (
            "theirs",
            "tunnel",
            "allow",
            "theirs.test",
        )


@on_loop
async def test_a_jwt_says_the_group(tmp_path: Path) -> None:
    """One that is signed by somebody else says nothing."""
    async with web(pki := trustme.CA()) as server, ours(tmp_path, server, pki) as proxy:
        stranger = ECKey.generate_key("P-256", {"kid": "one"})
        cases = ((KEY, "ours", 200), (KEY, "theirs", 403), (stranger, "ours", 407), (stranger, "theirs", 407))
        for key, namespace, code in cases:
            claims = {"iss": "https://ci.test", "aud": "outward", "exp": int(time.time()) + 600, "namespace": namespace}
            bearer = f"Proxy-Authorization: Bearer {jwt.encode({'alg': 'ES256', 'kid': 'one'}, claims, key)}"
            async with raw(proxy.address) as client:
                await client.send(plain(f"ours.test:{server.port}").replace(OURS.encode(), bearer.encode()))
                assert status(await client.head()) == code, namespace


@on_loop
async def test_another_server_name_than_the_connects_is_refused_inside_tls(tmp_path: Path) -> None:
    """In both lanes; nothing is dialled for the inspected one, and the relayed one is not relayed."""
    pki = trustme.CA()
    async with web(pki, "ours.test", "theirs.test", "evil.test") as server, ours(tmp_path, server, pki) as proxy:
        for source, host, more in (("127.0.0.1", "ours.test", (OURS,)), ("127.0.0.9", "theirs.test", ())):
            async with raw(proxy.address, source=source) as client:
                await client.send(connect(host, server.port, *more))
                assert status(await client.head()) == 200
                context = proxy.tls
                context.check_hostname = False
                await client.tls(context, "evil.test")
                answer = await client.ask(get("/", f"{host}:{server.port}"))
            assert status(answer) == 403
            assert (await proxy.event(id=decision_id(answer)))["reason"] == "sni_mismatch"
        assert server.seen == []


@on_loop
async def test_plain_http_behind_a_connect_is_judged_request_by_request(tmp_path: Path) -> None:
    """Also in a group whose lane is the tunnel."""
    async with web(pki := trustme.CA()) as server, ours(tmp_path, server, pki) as proxy:
        async with raw(proxy.address) as client:
            await client.send(connect("ours.test", server.port, OURS))
            await client.head()
            await client.send(get("/", f"ours.test:{server.port}").replace(b"Connection: close\r\n", b""))
            assert (await response(client)).endswith(HELLO.rpartition(b"\r\n")[2])
            answer = await client.ask(get("/", f"ours.test:{server.port}").replace(b"GET", b"DELETE"))
            assert status(answer) == 403
        assert [seen.line for seen in server.seen] == ["GET / HTTP/1.1"]


@on_loop
async def test_a_changed_file_is_taken_up_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    """Reloads are audited; the last good policy stays in force."""
    async with web(pki := trustme.CA()) as server, ours(tmp_path, server, pki) as proxy:
        name = f"ours.test:{server.port}"

        async def answer() -> int:
            async with raw(proxy.address) as client:
                await client.send(plain(name, "HEAD"))
                return status(await client.head())

        assert await answer() == 403
        good = proxy.config.read_text()
        proxy.config.write_text(good.replace("methods: [GET]", "methods: [GET, HEAD]"))
        while await answer() != 200:
            pass
        proxy.config.write_text(good + "sets: {odd: ['https://odd.test/']}\n")
        while "ok" in (await proxy.asked("/readyz"))["checks"]["reload"]:
            pass
        assert await answer() == 200
        kinds: set[str] = set()
        while not {"policy_reloaded", "policy_reload_failed"} <= kinds:  # they are written behind the change
            kinds = {row["event_type"] for row in await proxy.verb("audit")}


@on_loop
async def test_a_large_body_streams_through_and_a_hostile_reply_is_stripped(tmp_path: Path) -> None:
    """Nothing that could pass for the proxy's own words comes from an origin."""

    async def answer(_seen: object, _reader: object, writer: object) -> None:
        writer.write(  # type: ignore[attr-defined]
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nProxy-Status: outward; error=x\r\nOutward-Decision: y\r\nAlt-Svc: h3\r\n\r\nok"
        )

    async with web(pki := trustme.CA(), "ours.test") as server, ours(tmp_path, server, pki, "GET, POST") as proxy:
        server.answer = answer
        async with proxy.http("ours") as http:
            done = await http.post(f"https://ours.test:{server.port}/", content=b"x" * 3_000_000)
        assert (done.status_code, done.text, len(server.seen[0].body)) == (200, "ok", 3_000_000)
        assert not {"proxy-status", "outward-decision", "alt-svc"} & set(done.headers)
        event = await proxy.event(verdict="allow")
        assert (event["bytes_up"], event["bytes_down"]) == (3_000_000, 2)


@on_loop
async def test_secrets_are_set_and_masked(tmp_path: Path) -> None:
    """The destination gets the value, once; the client sees its placeholder in what comes back; bodies are counted."""
    (tmp_path / "key").write_text("the-value-0123456789")
    async with web(pki := trustme.CA(), "ours.test") as server:
        inject = 'inject: {header: X-Key, value: "{key}"}'
        policy = POLICY.replace("PORT", str(server.port)).replace("methods: [GET]", inject)
        policy += f"secrets: {{key: {{file: {tmp_path}/key, hosts: [ours.test]}}}}\n"
        server.answer = replying(HELLO.replace(b"\r\n\r\n", b"\r\nX-Echo: the-value-0123456789\r\n\r\n"))
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
        async with mitmdump(tmp_path, policy, pki) as proxy, proxy.http("ours") as client:
            answer = await client.get(f"https://ours.test:{server.port}/x", headers={"X-Key": "outward-secret-key"})
            await client.post(f"https://ours.test:{server.port}/x", content=b"printed: outward-secret-key")
            assert (
                'outward_secret_bodies_total{secret="key"} 1.0' in (await asyncio.to_thread(proxy.ask, "/metrics"))[1]
            )
    assert answer.headers["X-Echo"] == "outward-secret-key"
    assert server.seen[0].all("x-key") == ["the-value-0123456789"]


def test_without_a_policy_it_says_what_is_wrong_and_ends(tmp_path: Path) -> None:
    """Also where mitmproxy is quiet."""
    config = tmp_path / "outward.yaml"
    config.write_text(f"version: 1\nserver: {{state: {tmp_path}/state}}\ngroups: {{ours: {{allow: ['*.com']}}}}\n")
    for named, said in ((str(config), "covers a public suffix"), ("", "no configuration")):
        env = environment() | {"OUTWARD_CONFIG": named, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        done = subprocess.run(
            command(tmp_path, 0), env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode != 0
        assert said in done.stderr


@on_loop
async def test_what_is_open_at_the_end_is_recorded(tmp_path: Path) -> None:
    """A tunnel whose client stays has its event all the same."""
    pki = trustme.CA()
    async with web(pki, "theirs.test") as server, ours(tmp_path, server, pki) as proxy:
        async with raw(proxy.address, source="127.0.0.9") as client:
            await client.send(connect("theirs.test", server.port))
            await client.head()
            await client.tls(proxy.tls, "theirs.test")
            proxy.process.terminate()
            event = await proxy.event(group="theirs")
        assert (event["lane"], event["host"]) == ("tunnel", "theirs.test")


@on_loop
async def test_a_websocket_passes_and_is_recorded_once_at_its_end(tmp_path: Path) -> None:
    """Its messages are counted; another upgrade is refused."""

    async def echo(_seen: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
        )
        frame = await reader.readexactly(11)  # under a mask of mitmproxy's own (RFC 6455 5.3)
        writer.write(b"\x81\x05" + bytes(each ^ frame[2 + at % 4] for at, each in enumerate(frame[6:])))

    shake = ("Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    async with web(pki := trustme.CA()) as server, ours(tmp_path, server, pki) as proxy:
        server.answer = echo
        name = f"ours.test:{server.port}"
        async with raw(proxy.address) as client:
            await client.send(plain(name, "GET", "Upgrade: websocket", *shake))
            assert status(await client.head()) == 101
            await client.send(b"\x81\x85\0\0\0\0hello")
            assert await client.exactly(7) == b"\x81\x05hello"
            assert proxy.events == []
        event = await proxy.event(verdict="allow")
        assert (event["status"], event["bytes_up"], event["bytes_down"]) == (101, 5, 5)
        assert (await refused(proxy, plain(name, "GET", "Upgrade: odd", *shake)))[1]["reason"] == "upgrade_not_allowed"

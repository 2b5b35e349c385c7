"""The inspect lane cannot be talked around: every known way past an inspecting proxy ends in one denial or a close."""

import asyncio
import re
import ssl
from pathlib import Path

import pytest

from harness.gates import connect, status
from harness.inspection import get, inspecting, keep, one, post, replying, response, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.model import LaneChoice
from outward.core.policy import Policy
from outward.core.reasons import Reason


def allowing(**settings: object) -> Policy:
    return policy(group(rule("allowed.test"), rule("other.test"), lane=LaneChoice.INSPECT, **settings))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("GET / HTTP/1.1\r\nHost: other.test:{port}\r\n\r\n", Reason.HOST_MISMATCH),
        ("GET / HTTP/1.1\r\nHost: allowed.test:{port}\r\nHost: evil.test\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("GET / HTTP/1.1\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: allowed.test:{port}\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("GET http://allowed.test:{port}/ HTTP/1.1\r\nHost: allowed.test:{port}\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("TRACE / HTTP/1.1\r\nHost: allowed.test:{port}\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("GET /\r\nHost: allowed.test\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("GET / HTTP/1.1\nHost: allowed.test\n\n", Reason.MALFORMED_REQUEST),
        ("GET / HTTP/1.1\r\nHost: allowed.test:{port}\r\nX: a\r\n b\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("GET / HTTP/1.1\r\nHost: allowed.test:{port}\r\nX: a\x00b\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("GET / HTTP/1.1\r\nHost: allowed.test:{port}\r\nX: a\rb\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("POST / HTTP/1.1\r\nHost: allowed.test:{port}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("POST / HTTP/1.1\r\nHost: allowed.test:{port}\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", Reason.MALFORMED_REQUEST),
        ("POST / HTTP/1.1\r\nHost: allowed.test:{port}\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF1\r\nx", Reason.MALFORMED_REQUEST),
        ("GET / HTTP/1.1\r\nHost: allowed.test:{port}\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", Reason.UPGRADE_NOT_ALLOWED),
        ("GET / HTTP/1.1\r\nHost: allowed.test:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AA\r\n\r\n", Reason.UPGRADE_NOT_ALLOWED),
    ],
)  # fmt: skip
@on_loop
async def test_a_request_that_is_not_what_it_seems_is_refused_before_anything_is_dialled(
    head: str, reason: Reason, tmp_path: Path
) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test", "other.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(head.format(port=server.port).encode("latin-1"))
        one(world, reason, reply)
        assert server.accepts == 0
        assert world.dns.asked("allowed.test") == []


@on_loop
async def test_a_second_request_behind_the_first_is_judged_by_itself(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            second = keep("/", "evil.test")
            await client.send(keep("/", f"allowed.test:{server.port}") + second)
            assert status(await response(client)) == 200
            reply = await client.rest()
        one(world, Reason.HOST_MISMATCH, reply)
        assert len(server.seen) == 1


@on_loop
async def test_a_plain_connection_may_ask_for_several_hosts_and_each_is_judged(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world:
        async with web_origin(world, "allowed.test", "other.test", tls=False) as server, raw(world.address) as client:
            for name in ("allowed.test", "other.test"):
                authority = f"{name}:{server.port}"
                await client.send(f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
                assert status(await response(client)) == 200
            reply = await client.ask(b"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n")
        one(world, Reason.NO_RULE, reply)
        assert server.accepts == 2
        assert [seen.all("host") for seen in server.seen] == [
            [f"allowed.test:{server.port}"],
            [f"other.test:{server.port}"],
        ]


@pytest.mark.parametrize(
    ("host", "reason"), [("allowed.test", Reason.MALFORMED_REQUEST), ("evil.test", Reason.NO_RULE)]
)
@on_loop
async def test_a_connect_behind_a_plain_request_is_refused_and_a_blocked_one_says_why(
    host: str, reason: Reason, tmp_path: Path
) -> None:
    async with inspecting(allowing(), tmp_path) as world:
        async with web_origin(world, "allowed.test", tls=False) as server, raw(world.address) as client:
            authority = f"allowed.test:{server.port}"
            await client.send(f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            assert status(await response(client)) == 200
            reply = await client.ask(connect(host))
        one(world, reason, reply)


@on_loop
async def test_an_upload_that_is_refused_is_answered_before_its_end(tmp_path: Path) -> None:
    methods = policy(group(rule("allowed.test", methods=frozenset({"GET"}))))
    async with inspecting(methods, tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            head = f"POST / HTTP/1.1\r\nHost: allowed.test:{server.port}\r\nContent-Length: 100000000\r\n\r\n"
            await client.send(head.encode() + b"x" * 1000)
            reply = await response(client)
        one(world, Reason.METHOD_NOT_ALLOWED, reply)
        assert server.accepts == 0


@on_loop
async def test_expect_is_not_answered_on_a_refused_upload(tmp_path: Path) -> None:
    methods = policy(group(rule("allowed.test", methods=frozenset({"GET"}))))
    async with inspecting(methods, tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            head = f"POST / HTTP/1.1\r\nHost: allowed.test:{server.port}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
            reply = await client.ask(head.encode())
        assert status(reply) == 403
        one(world, Reason.METHOD_NOT_ALLOWED, reply)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
        b"not http at all\r\n\r\n",
        b"",
    ],
)
@on_loop
async def test_an_ambiguous_or_endless_response_head_is_a_502(reply: bytes, tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = replying(reply, close=True)
        async with world.tunnel("allowed.test", server.port) as client:
            answer = await client.ask(get("/", f"allowed.test:{server.port}"))
        assert status(answer) == 502
        one(world, Reason.UPSTREAM_FAILED, answer)


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nX: a\rb", b"HTTP/2"]
)
@on_loop
async def test_what_can_never_become_a_response_is_not_waited_for(reply: bytes, tmp_path: Path) -> None:
    """The destination says no more and does not close: the client would hear of it after the idle time."""
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = replying(reply)
        async with world.tunnel("allowed.test", server.port) as client:
            answer = await client.ask(get("/", f"allowed.test:{server.port}"))
        assert status(answer) == 502
        one(world, Reason.UPSTREAM_FAILED, answer)


@pytest.mark.parametrize("reply", [b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", b""])
@on_loop
async def test_who_meets_a_destination_of_http2_alone_is_told_so(reply: bytes, tmp_path: Path) -> None:
    """It begins with its SETTINGS, or closes; the cure names what would help."""
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = replying(reply, close=True)
        async with world.tunnel("allowed.test", server.port) as client:
            answer = await client.ask(get("/", f"allowed.test:{server.port}"))
        assert b"offers nothing else than h2 (gRPC), or `lane: tunnel`" in answer
        one(world, Reason.UPSTREAM_FAILED, answer)
        assert re.search("it may speak (HTTP/2 only|nothing else)", world.events[0].detail or "")


@on_loop
async def test_a_response_that_is_cut_short_is_seen_to_be(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = replying(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", close=True)
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            head = await client.head()
            assert b"Content-Length: 50" in head
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ssl.SSLError)):
                await client.exactly(50)
        await until(lambda: world.events)
        assert [event.status for event in world.events] == [200]


@on_loop
async def test_a_second_response_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        server.answer = replying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + poison)
        async with world.tunnel("allowed.test", server.port) as client:
            for _ in range(2):
                await client.send(keep("/", f"allowed.test:{server.port}"))
                assert (await response(client)).endswith(b"hello")
        assert server.accepts == 2


@on_loop
async def test_hop_by_hop_fields_and_credentials_stay_on_their_hop(tmp_path: Path) -> None:
    secret = ("Proxy-Authorization: Basic Og==", "Outward-Conversation: c1", "Proxy-Connection: keep-alive")
    hop = ("Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers", "Proxy-Foo: 1", "outward_x: 1")
    async with inspecting(allowing(), tmp_path) as world:
        async with web_origin(world, "allowed.test", tls=False) as server, raw(world.address) as client:
            server.answer = replying(
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nProxy-Status: x\r\nOutward-Decision: forged\r\n"
                b"Alt-Svc: h3=':443'\r\nKeep-Alive: 5\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\n\r\n"
            )
            authority = f"allowed.test:{server.port}"
            lines = (f"GET http://{authority}/ HTTP/1.1", f"Host: {authority}", *secret, *hop, "X-End: 1", "", "")
            reply = await client.ask("\r\n".join(lines).encode())
        names = {name.lower() for name, _ in server.seen[0].fields}
        assert names == {"host", "x-end"}
        got = {line.partition(":")[0].lower() for line in reply.decode().split("\r\n")[1:-2]}
        assert got == {"content-length", "x-end", "connection"}
        assert world.events[0].conversation == "c1"


@on_loop
async def test_a_method_rule_is_not_got_round_by_an_override(tmp_path: Path) -> None:
    methods = policy(group(rule("allowed.test", methods=frozenset({"GET"}))))
    async with inspecting(methods, tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            fields = ("X-HTTP-Method-Override: DELETE", "X-Original-URL: /admin")
            await client.ask(get("/", f"allowed.test:{server.port}", *fields))
        assert {name.lower() for name, _ in server.seen[0].fields} == {"host"}


@on_loop
@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x_http_method_override", "X.Method.Override"])
async def test_a_deny_rule_for_a_method_is_not_got_round_by_an_override(name: str, tmp_path: Path) -> None:
    """The rule that allows looks at nothing but the host; what the deny rule looks at must be what the server acts on."""
    methods = policy(group(rule("allowed.test"), deny=(rule("allowed.test", methods=frozenset({"DELETE"})),)))
    async with inspecting(methods, tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            await client.ask(post(b"", f"allowed.test:{server.port}", "Connection: close", f"{name}: DELETE"))
        assert not any("override" in each.lower() for each, _ in server.seen[0].fields)


@on_loop
async def test_a_governed_host_without_a_governor_gets_no_body(tmp_path: Path) -> None:
    governed = policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT), vendor_of=lambda _host: "vendor")
    async with inspecting(governed, tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(post(b"{}", f"allowed.test:{server.port}"))
        one(world, Reason.WEB_SEARCH_UNINSPECTABLE, reply)
        assert server.accepts == 0

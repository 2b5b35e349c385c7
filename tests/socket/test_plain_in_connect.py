"""Plain HTTP behind a CONNECT is judged request by request, whatever lane the tunnel is in; what else comes is not."""

import asyncio
import contextlib
import http.client
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as websocket
from websockets.asyncio.server import ServerConnection, serve

from harness.gates import LIMITS, connect, gate_for, opened, status
from harness.inspection import WebOrigin, World, get, inspecting, keep, one, post, response, web_origin
from harness.loops import on_loop, until
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import Raw, raw
from harness.waiting import PATIENCE
from outward.core.explain import explain
from outward.core.model import Lane, LaneChoice, Stage, Verdict
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.core.urls import question_of
from outward.proxy.tunnel import ESTABLISHED

TUNNELLED = policy(group(rule("allowed.test"), rule("other.test")))
INSPECTED = policy(group(rule("allowed.test"), rule("other.test"), lane=LaneChoice.INSPECT))
BARE = policy(group(rule("allowed.test", tls=False), rule("other.test")))
LANES = pytest.mark.parametrize("rules", [TUNNELLED, INSPECTED, BARE], ids=["tunnel", "inspect", "tls: false"])
VENDOR = policy(group(rule("allowed.test", tls=False)), vendor_of=lambda _host: "vendor")


@contextlib.asynccontextmanager
async def standing(
    rules: Policy, state: Path, handshake_timeout: float = 5.0
) -> AsyncIterator[tuple[World, WebOrigin, Raw]]:
    """A client whose tunnel to a plain web server stands."""
    limits = replace(LIMITS, handshake_timeout=handshake_timeout)
    async with (
        inspecting(rules, state, limits) as world,
        web_origin(world, "allowed.test", tls=False) as server,
        raw(world.address) as client,
    ):
        await client.send(connect("allowed.test", server.port))
        assert await client.head() == ESTABLISHED
        yield world, server, client


def nothing_is_left(world: World) -> bool:
    gauge = world.judge.metrics.connections
    return not world.gate.connections and not gauge(Lane.TUNNEL).value and not gauge(Lane.INSPECT).value


@pytest.mark.parametrize("path", ["/public/a", "/secret"])
@on_loop
async def test_explain_says_what_happens(path: str, tmp_path: Path) -> None:
    only = policy(group(rule("allowed.test", paths=(PathGlob("/public/**"),))))
    async with standing(only, tmp_path) as (world, server, client):
        trace = explain(only, question_of(f"http://allowed.test:{server.port}{path}", "dev"))
        await client.ask(get(path, f"allowed.test:{server.port}"))
        (event,) = world.events
        assert (event.verdict, event.reason, event.lane) == (
            trace.decision.verdict, trace.decision.reason, trace.decision.lane,
        )  # fmt: skip


@LANES
@pytest.mark.parametrize("size", [None, 1])
@on_loop
async def test_each_request_is_judged_and_is_one_event(rules: Policy, size: int | None, tmp_path: Path) -> None:
    async with standing(rules, tmp_path) as (world, server, client):
        authority = f"allowed.test:{server.port}"
        await client.send(keep("/a?b=c", authority), size)
        assert (await response(client)).endswith(b"hello")
        await client.send(post(b"x" * 300_000, authority))
        assert (await response(client)).endswith(b"hello")
        assert (await client.ask(get("/last", authority), size)).endswith(b"hello")
        assert [seen.line for seen in server.seen] == ["GET /a?b=c HTTP/1.1", "POST / HTTP/1.1", "GET /last HTTP/1.1"]
        events = [(each.verdict, each.lane, each.stage, each.scheme, each.path, each.status) for each in world.events]
        assert events == [
            (Verdict.ALLOW, Lane.INSPECT, Stage.REQUEST, "http", path, 200) for path in ("/a", "/", "/last")
        ]
        await until(partial(nothing_is_left, world))


@LANES
@on_loop
async def test_requests_that_come_at_once_with_the_connect_are_answered_in_order(rules: Policy, tmp_path: Path) -> None:
    async with inspecting(rules, tmp_path) as world, web_origin(world, "allowed.test", tls=False) as server:
        async with raw(world.address) as client:
            authority = f"allowed.test:{server.port}"
            sent = connect("allowed.test", server.port) + keep("/1", authority) + get("/2", authority)
            reply = await client.ask(sent)
            assert reply.startswith(ESTABLISHED)
            assert reply.count(b"hello") == 2
        assert [event.path for event in world.events] == ["/1", "/2"]


@pytest.mark.parametrize("lane", [LaneChoice.AUTO, LaneChoice.INSPECT])
@on_loop
async def test_methods_and_paths_hold(lane: LaneChoice, tmp_path: Path) -> None:
    only = policy(group(rule("allowed.test", paths=(PathGlob("/public/**"),)), lane=lane))
    async with standing(only, tmp_path) as (world, server, client):
        authority = f"allowed.test:{server.port}"
        await client.send(keep("/public/a", authority))
        assert status(await response(client)) == 200
        reply = await client.ask(keep("/secret", authority))
        one(world, Reason.PATH_NOT_ALLOWED, reply)
        assert [seen.line for seen in server.seen] == ["GET /public/a HTTP/1.1"]


@LANES
@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", Reason.HOST_MISMATCH),
        (b"GET / HTTP/1.1\r\n\r\n", Reason.MALFORMED_REQUEST),
        (b"GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n", Reason.MALFORMED_REQUEST),
        (b"CONNECT other.test:80 HTTP/1.1\r\nHost: other.test:80\r\n\r\n", Reason.MALFORMED_REQUEST),
        (b"GET  / HTTP/1.1\r\nHost: other.test\r\n\r\n", Reason.MALFORMED_REQUEST),
        (b"GET / HTTP/1.1\nHost: other.test\n\n", Reason.MALFORMED_REQUEST),
        (b"\r\n\r\n\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n", Reason.MALFORMED_REQUEST),
        (b"get / HTTP/1.1\r\nHost: other.test\r\n\r\n", Reason.MALFORMED_REQUEST),
        (b"GET /" + b"a" * 100_000, Reason.TOO_LARGE),
    ],
)
@on_loop
async def test_what_is_no_request_to_the_target_is_refused_once(
    rules: Policy, sent: bytes, reason: Reason, tmp_path: Path
) -> None:
    async with standing(rules, tmp_path) as (world, server, client):
        reply = await client.ask(sent)
        one(world, reason, reply)
        assert len(world.events) == 1
        assert not server.seen
        await until(partial(nothing_is_left, world))


@on_loop
async def test_a_policy_from_meanwhile_counts(tmp_path: Path) -> None:
    async with standing(BARE, tmp_path) as (world, server, client):
        authority = f"allowed.test:{server.port}"
        await client.send(keep("/", authority))
        assert status(await response(client)) == 200
        world.judge.policy = policy(group(rule("other.test")))
        one(world, Reason.NO_RULE, await client.ask(keep("/", authority)))


@on_loop
async def test_a_vendor_is_governed_where_a_rule_says_that_anything_passes(tmp_path: Path) -> None:
    async with standing(VENDOR, tmp_path) as (world, server, client):
        one(world, Reason.WEB_SEARCH_UNINSPECTABLE, await client.ask(post(b"{}", f"allowed.test:{server.port}")))
        assert server.accepts == 0


@on_loop
async def test_a_vendor_gets_nothing_else(tmp_path: Path) -> None:
    async with standing(VENDOR, tmp_path) as (world, server, client):
        one(world, Reason.NOT_TLS, await client.ask(b"SSH-2.0-x\r\n"))
        assert server.accepts == 0


@pytest.mark.parametrize("rules", [TUNNELLED, INSPECTED], ids=["tunnel", "inspect"])
@on_loop
async def test_a_line_that_never_ends_is_refused_in_time(rules: Policy, tmp_path: Path) -> None:
    async with standing(rules, tmp_path, 0.05) as (world, server, client):
        await client.ask(b"GET /a")
        one(world, Reason.TIMEOUT)
        assert not server.seen
        await until(partial(nothing_is_left, world))


@LANES
@on_loop
async def test_who_leaves_within_the_line_is_one_event(rules: Policy, tmp_path: Path) -> None:
    async with standing(rules, tmp_path) as (world, _, client):
        await client.send(b"GET /a")
        client.writer.close()
        await until(partial(nothing_is_left, world))
        assert len(world.events) == 1


# What a rule with `tls: false` lets pass ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"JDWP-Handshake",
        b"SSH-2.0-x\r\n",
        b"EHLO x\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"GET key\r\n",
        b"OPTIONS rtsp://a RTSP/1.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x16\x03\x01",
    ],
)
@on_loop
async def test_another_protocol_passes_at_once(said: bytes) -> None:
    limits = replace(LIMITS, handshake_timeout=3600.0)
    async with gate_for(BARE, limits) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        await client.send(said)
        assert await client.exactly(len(said)) == said
        client.writer.close()
        await until(lambda: world.events)
        (event,) = world.events
        assert (event.lane, event.bytes_up, event.status) == (Lane.TUNNEL, len(said), 200)
        assert world.judge.metrics.connections(Lane.TUNNEL).value == 0


@pytest.mark.parametrize("begun", [b"", b"GE"])
@on_loop
async def test_a_server_may_speak_first(begun: bytes) -> None:
    limits = replace(LIMITS, handshake_timeout=3600.0)
    async with gate_for(BARE, limits) as world, origin() as server, raw(world.address) as client:
        server.greeting = b"SSH-2.0-server\r\n"
        await opened(world, server, client)
        await client.send(begun)
        assert await client.exactly(16) == b"SSH-2.0-server\r\n"
        await client.send(b"GET / HTTP/1.1\r\n")
        assert await client.exactly(16 + len(begun)) == begun + b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("begun", [b"", b"PING"])
@on_loop
async def test_what_may_pass_is_held_for_a_time_and_not_refused(begun: bytes) -> None:
    limits = replace(LIMITS, handshake_timeout=0.05)
    async with gate_for(BARE, limits) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        await client.send(begun)
        await until(lambda: not list(world.gate.resources.waits.handshakes))
        await client.send(b"!")
        assert await client.exactly(len(begun) + 1) == begun + b"!"
        assert not world.events


@on_loop
async def test_what_a_client_said_before_its_end_arrives() -> None:
    async with gate_for(BARE) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        await client.send(b"PING")
        client.writer.write_eof()
        assert await client.rest() == b"PING"


# Real clients ---------------------------------------------------------------------------------------------------------


@LANES
@on_loop
async def test_pythons_own_client(rules: Policy, tmp_path: Path) -> None:
    async with inspecting(rules, tmp_path) as world, web_origin(world, "allowed.test", tls=False) as server:

        def fetched(path: str) -> tuple[int, bytes]:
            client = http.client.HTTPConnection(*world.address, timeout=PATIENCE)
            client.set_tunnel("allowed.test", server.port)
            client.request("GET", path)
            reply = client.getresponse()
            return reply.status, reply.read()

        assert await asyncio.to_thread(fetched, "/a") == (200, b"hello")
        await until(lambda: world.events)
        assert [event.path for event in world.events] == ["/a"]


@LANES
@on_loop
async def test_a_websocket_in_the_clear(rules: Policy, tmp_path: Path) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with inspecting(rules, tmp_path) as world, serve(echo, "127.0.0.1", 0) as server:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        proxy = "http://{}:{}".format(*world.address)
        async with websocket(f"ws://allowed.test:{port}/chat", proxy=proxy) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        await until(lambda: world.events)
        (event,) = world.events
        assert (event.reason, event.path, event.status, event.lane) == (Reason.RULE, "/chat", 101, Lane.INSPECT)

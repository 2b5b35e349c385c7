"""The inspect lane is bounded: every wait has an end, and heads and bodies have a longest size."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from harness.gates import LIMITS, connect, decision_id, status
from harness.inspection import PassingGovernor, Seen, get, inspecting, keep, replying, response, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from harness.waiting import PATIENCE
from outward.core.model import LaneChoice, Verdict
from outward.core.reasons import Reason

INSPECT = policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT))
GOVERNED = policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT), vendor_of=lambda _host: "vendor")


@on_loop
async def test_a_handshake_that_does_not_come_ends_the_connection_with_one_event(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, replace(LIMITS, handshake_timeout=0.1)) as world:
        async with raw(world.address) as client:
            await client.send(connect("allowed.test") + b"\x16\x03\x01")
            await client.head()
            assert await client.rest() == b""
        await until(lambda: world.events)
        assert [event.reason for event in world.events] == [Reason.TIMEOUT]


@on_loop
async def test_a_head_that_trickles_is_refused_at_its_deadline(tmp_path: Path) -> None:
    limits = replace(LIMITS, head_timeout=2.0)
    async with inspecting(INSPECT, tmp_path, limits) as world, world.tunnel("allowed.test", 443) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: allowed.test\r\nX: ")

        async def trickle() -> None:
            while True:
                client.writer.write(b"a")
                await asyncio.sleep(0.02)

        task = asyncio.get_running_loop().create_task(trickle())
        reply = await client.rest()
        task.cancel()
        (event,) = world.events
        assert (status(reply), decision_id(reply), event.reason) == (408, event.id, Reason.TIMEOUT)


@on_loop
async def test_an_idle_connection_is_closed_without_an_event_of_its_own(tmp_path: Path) -> None:
    limits = replace(LIMITS, idle_timeout=2.0)
    async with inspecting(INSPECT, tmp_path, limits) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            assert status(await response(client)) == 200
            assert await client.rest() == b""
        assert [event.verdict for event in world.events] == [Verdict.ALLOW]


@on_loop
async def test_an_origin_that_does_not_answer_is_a_504(tmp_path: Path) -> None:
    async def silence(_seen: Seen, reader: asyncio.StreamReader, _writer: object) -> None:
        await reader.read()

    limits = replace(LIMITS, idle_timeout=2.0)
    async with inspecting(INSPECT, tmp_path, limits) as world, web_origin(world, "allowed.test") as server:
        server.answer = silence
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        (event,) = world.events
        assert (status(reply), decision_id(reply), event.reason) == (504, event.id, Reason.TIMEOUT)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: allowed.test\r\nX: " + b"a" * 100_000,
        b"GET / HTTP/1.1\r\nHost: allowed.test\r\n" + b"X: a\r\n" * 5_000 + b"\r\n",
    ],
    ids=["long", "many"],
)
@on_loop
async def test_an_oversized_head_is_refused(head: bytes, tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path) as world:
        async with world.tunnel("allowed.test", 443) as client:
            reply = await client.ask(head)
        (event,) = world.events
        assert (status(reply), decision_id(reply), event.reason) == (431, event.id, Reason.TOO_LARGE)


@pytest.mark.parametrize("chunked", [True, False])
@on_loop
async def test_a_body_that_is_read_as_a_whole_is_bounded(chunked: bool, tmp_path: Path) -> None:
    limits = replace(LIMITS, body_inspect_bytes=1000)
    async with (
        inspecting(GOVERNED, tmp_path, limits, governor=PassingGovernor()) as world,
        web_origin(world, "allowed.test") as server,
    ):
        async with world.tunnel("allowed.test", server.port) as client:
            framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1001"
            head = f"POST / HTTP/1.1\r\nHost: allowed.test:{server.port}\r\n{framing}\r\n\r\n".encode()
            reply = await client.ask(head + (b"3e9\r\n" if chunked else b"") + b"x" * 1001)
        (event,) = world.events
        assert (status(reply), decision_id(reply), event.reason) == (413, event.id, Reason.TOO_LARGE)
        assert server.accepts == 0


@on_loop
async def test_a_client_that_leaves_takes_its_upstream_connection_with_it(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def silence(_seen: Seen, reader: asyncio.StreamReader, _writer: object) -> None:
        await reader.read()
        gone.set()

    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = silence
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            await until(lambda: server.seen)
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
        await until(lambda: world.events and not world.engine._sessions)
        assert len(world.events) == 1


@on_loop
async def test_a_drain_ends_idle_connections_now_and_busy_ones_after_their_response(tmp_path: Path) -> None:
    answering = asyncio.Event()
    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = replying(after=answering)
        async with world.tunnel("allowed.test", server.port) as idle, world.tunnel("allowed.test", server.port) as busy:
            await busy.send(keep("/", f"allowed.test:{server.port}"))
            await until(lambda: server.seen)
            world.engine.drain()
            assert await idle.rest() == b""
            answering.set()
            reply = await busy.rest()
            assert b"Connection: close" in reply
            assert reply.endswith(b"hello")

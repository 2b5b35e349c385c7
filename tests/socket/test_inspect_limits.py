"""The inspect lane is bounded: every wait has an end, every buffer has one, and a slow peer holds the fast one back."""

import asyncio
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from harness.gates import LIMITS, connect, decision_id, status
from harness.inspection import Seen, get, inspecting, keep, response, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.model import LaneChoice, Verdict
from outward.core.reasons import Reason
from outward.proxy.inspection.governor import Pass

INSPECT = policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT))
GOVERNED = policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT), vendor_of=lambda _host: "vendor")
MIB = 1024 * 1024


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
    limits = replace(LIMITS, head_timeout=0.3)
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
    limits = replace(LIMITS, idle_timeout=0.2)
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

    limits = replace(LIMITS, idle_timeout=0.2)
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


async def until_still(count: "list[int]") -> int:
    """Wait until a count has not changed for a while, and return it."""
    loop = asyncio.get_running_loop()
    last, since = -1, loop.time()
    while loop.time() - since < 0.4:
        if count[0] != last:
            last, since = count[0], loop.time()
        await asyncio.sleep(0.01)
    return last


@on_loop
async def test_a_sender_is_held_back_by_an_origin_that_does_not_read(tmp_path: Path) -> None:
    reading = asyncio.Event()

    async def stall(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        writer.close()

    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer, server.reads_body = stall, False
        async with world.tunnel("allowed.test", server.port) as client:
            head = f"POST / HTTP/1.1\r\nHost: allowed.test:{server.port}\r\nContent-Length: {192 * MIB}\r\n\r\n"
            await client.send(head.encode())
            before, sent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, [0]

            async def push() -> None:
                while True:
                    client.writer.write(bytes(MIB))
                    await client.writer.drain()
                    sent[0] += 1

            task = asyncio.get_running_loop().create_task(push())
            assert await until_still(sent) < 48
            task.cancel()
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
        reading.set()


@on_loop
async def test_a_sender_is_held_back_while_the_origin_has_not_shaken_hands(tmp_path: Path) -> None:
    """What comes meanwhile would wait in the proxy's memory, for as long as the handshake may take."""

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await over.wait()
        writer.transport.abort()

    accepted, over = asyncio.Event(), asyncio.Event()
    async with inspecting(INSPECT, tmp_path) as world, await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        async with world.tunnel("allowed.test", port) as client:
            head = f"POST / HTTP/1.1\r\nHost: allowed.test:{port}\r\nContent-Length: {512 * MIB}\r\n\r\n"
            await client.send(head.encode())
            await accepted.wait()
            sent = [0]

            async def push() -> None:
                while sent[0] < 512:
                    client.writer.write(bytes(MIB))
                    await client.writer.drain()
                    sent[0] += 1

            task = asyncio.get_running_loop().create_task(push())
            assert await until_still(sent) < 48
            task.cancel()
        over.set()
        await until(lambda: world.events)


@on_loop
async def test_an_origin_is_held_back_by_a_client_that_does_not_read(tmp_path: Path) -> None:
    sent = [0]

    async def pour(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (192 * MIB))
        while True:
            writer.write(bytes(MIB))
            await writer.drain()
            sent[0] += 1

    async with (
        inspecting(INSPECT, tmp_path) as world,
        web_origin(world, "allowed.test", tls=False) as server,
        raw(world.address) as client,
    ):
        server.answer = pour
        client.reader._limit = 1  # stop reading at once
        authority = f"allowed.test:{server.port}"
        one = f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
        await client.send(one)
        await until(lambda: sent[0])
        assert await until_still(sent) < 48
        client.reader._limit = 2**20
        async with asyncio.timeout(5):
            assert b"200 OK" in await client.reader.read(64)


@on_loop
async def test_a_client_that_does_not_read_gets_no_further_responses_from_new_connections(tmp_path: Path) -> None:
    answered = [0]

    async def answer(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000))
        await writer.drain()
        answered[0] += 1
        writer.close()

    async with (
        inspecting(INSPECT, tmp_path) as world,
        web_origin(world, "allowed.test", tls=False) as server,
        raw(world.address) as client,
    ):
        server.answer = answer
        client.reader._limit = 1  # stop reading at once
        authority = f"allowed.test:{server.port}"
        await client.send(f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode() * 1000)
        await until(lambda: answered[0])
        assert await until_still(answered) * 60_000 < 24 * MIB


@on_loop
async def test_what_is_pipelined_is_bounded(tmp_path: Path) -> None:
    answering = asyncio.Event()

    async def wait(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        await answering.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = wait
        async with world.tunnel("allowed.test", server.port) as client:
            sent, one = [0], keep("/", f"allowed.test:{server.port}")

            async def push() -> None:
                while True:
                    client.writer.write(one * 10_000)
                    await client.writer.drain()
                    sent[0] += 1

            task = asyncio.get_running_loop().create_task(push())
            assert await until_still(sent) * 10_000 * len(one) < 16 * MIB
            answering.set()
            for _ in range(20):
                assert status(await response(client)) == 200
            task.cancel()


class Whole:
    """A governor that reads every body."""

    def request_needs_body(self, _vendor: str, _head: object) -> bool:
        return True

    def on_request(self, _exchange: object, _body: bytes) -> Pass:
        return Pass()

    def response_tap(self, _exchange: object, _response: object) -> None:
        return None

    def on_close(self, _exchange: object) -> None:
        return


@pytest.mark.parametrize("chunked", [True, False])
@on_loop
async def test_a_body_that_is_read_as_a_whole_is_bounded(chunked: bool, tmp_path: Path) -> None:
    limits = replace(LIMITS, body_inspect_bytes=1000)
    async with (
        inspecting(GOVERNED, tmp_path, limits, governor=Whole()) as world,
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
        async with asyncio.timeout(5):
            await gone.wait()
        await until(lambda: world.events)
        assert len(world.events) == 1
        assert world.engine._sessions == set()


@on_loop
async def test_a_drain_ends_idle_connections_now_and_busy_ones_after_their_response(tmp_path: Path) -> None:
    answering = asyncio.Event()

    async def wait(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        await answering.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = wait
        async with world.tunnel("allowed.test", server.port) as idle, world.tunnel("allowed.test", server.port) as busy:
            await busy.send(keep("/", f"allowed.test:{server.port}"))
            await until(lambda: server.seen)
            world.engine.drain()
            assert await idle.rest() == b""
            answering.set()
            reply = await busy.rest()
            assert b"Connection: close" in reply
            assert reply.endswith(b"hello")

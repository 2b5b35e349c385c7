"""A slow peer holds the fast one back: what the inspect lane buffers is bounded in every direction."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from pathlib import Path

from harness.gates import status
from harness.inspection import Seen, inspecting, keep, replying, response, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import Raw, raw
from harness.waiting import PATIENCE
from outward.core.model import LaneChoice

INSPECT = policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT))
MIB = 1024 * 1024


@contextlib.asynccontextmanager
async def pushing(client: Raw, piece: bytes) -> AsyncIterator[list[int]]:
    """Send a piece again and again, as fast as it is taken; the list holds how often it was."""
    sent = [0]

    async def push() -> None:
        while sent[0] < 512:
            client.writer.write(piece)
            await client.writer.drain()
            sent[0] += 1

    task = asyncio.get_running_loop().create_task(push())
    try:
        yield sent
    finally:
        task.cancel()


async def until_still(count: list[int]) -> int:
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
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            async with pushing(client, bytes(MIB)) as sent:
                assert await until_still(sent) < 48
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
            async with pushing(client, bytes(MIB)) as sent:
                assert await until_still(sent) < 48
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
        async with asyncio.timeout(PATIENCE):
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
    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = replying(after=answering)
        async with world.tunnel("allowed.test", server.port) as client:
            one = keep("/", f"allowed.test:{server.port}")
            async with pushing(client, one * 10_000) as sent:
                assert await until_still(sent) * 10_000 * len(one) < 16 * MIB
                answering.set()
                for _ in range(20):
                    assert status(await response(client)) == 200

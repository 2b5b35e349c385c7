"""A server that asks for a second ClientHello reads its server name anew: it is judged like the first."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
import trustme

from harness.gates import World, connect, gate_for, status
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import Raw, raw
from harness.waiting import PATIENCE
from outward.config.settings import Limits
from outward.core.model import Stage
from outward.core.reasons import Reason

DEV = policy(group(rule("allowed.test")))
UNRECOGNIZED_NAME = bytes.fromhex("15030300020270")
CHANGE, DROPPED = b"\x14\x03\x03\x00\x01\x01", b"\x17\x03\x03\x00\x05early"

RETRY = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"  # the random that asks for another hello


@dataclass
class Choosy:
    """A TLS server that knows one group, which no client offers a share of at first."""

    port: int = 0
    names: list[str | None] = field(default_factory=list)


@contextlib.asynccontextmanager
async def choosy() -> AsyncIterator[Choosy]:
    context, subject = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Choosy()
    trustme.CA().issue_cert("allowed.test").configure_cert(context)
    context.set_ecdh_curve("prime256v1")
    context.sni_callback = lambda _socket, name, _context: subject.names.append(name)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    subject.port = server.sockets[0].getsockname()[1]
    try:
        yield subject
    finally:
        server.close()


class Hellos:
    """A real client's two hellos."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="allowed.test")
        self.first = self.said(b"")

    def said(self, heard: bytes) -> bytes:
        """Return what the client says to what it hears."""
        self._in.write(heard)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._out.read()

    def write(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._out.read()

    def read(self, heard: bytes) -> bytes:
        self._in.write(heard)
        with contextlib.suppress(ssl.SSLWantReadError):
            return self.tls.read()
        return b""


async def opened(world: World, server: Choosy, client: Raw) -> Hellos:
    world.dns.add("allowed.test", "A", "127.0.0.1")
    await client.send(connect("allowed.test", server.port))
    assert status(await client.head()) == 200
    return Hellos()


@pytest.mark.parametrize("size", [1, None])
@on_loop
async def test_a_second_hello_for_the_same_host_passes(size: int | None) -> None:
    async with choosy() as server, gate_for(DEV) as world, raw(world.address) as client:
        hellos = await opened(world, server, client)
        await client.send(hellos.first, size)
        second = hellos.said(await client.reader.read(65536))
        assert b"allowed.test" in second
        await client.send(second, size)
        got = b""
        while hellos.tls.version() is None:
            got = hellos.said(await asyncio.wait_for(client.reader.read(65536), PATIENCE))
        await client.send(got + hellos.write(b"hello"))
        plain = b""
        while not plain:
            plain = hellos.read(await asyncio.wait_for(client.reader.read(65536), PATIENCE))
        assert plain == b"hello"
        assert server.names == ["allowed.test", "allowed.test"]
    await until(lambda: world.events)
    assert [event.reason for event in world.events] == [Reason.RULE]


def ahead(first: bytes, second: bytes) -> list[bytes]:
    """Say the second hello before it was asked for."""
    return [first + second]


def asked(first: bytes, second: bytes) -> list[bytes]:
    return [first, second]


@pytest.mark.parametrize("order", [ahead, asked])
@pytest.mark.parametrize("before", [b"", CHANGE, CHANGE + DROPPED])
@on_loop
async def test_a_second_hello_for_another_host_reaches_nobody(
    order: Callable[[bytes, bytes], list[bytes]], before: bytes
) -> None:
    """Nor does one that was sent along with the first, before anybody asked for it."""
    async with choosy() as server, gate_for(DEV) as world:
        async with raw(world.address) as learning:  # what a second hello looks like
            hellos = await opened(world, server, learning)
            await learning.send(hellos.first)
            second = hellos.said(await learning.reader.read(65536))
        switched = before + second.removeprefix(CHANGE).replace(b"allowed.test", b"evil-it.test")
        await until(lambda: len(world.events) == 1)
        server.names.clear()
        async with raw(world.address) as client:
            await opened(world, server, client)
            for piece in order(hellos.first, switched):
                await client.send(piece)
                if order is asked and piece is hellos.first:
                    await client.reader.read(65536)
            assert (await client.rest()).endswith(UNRECOGNIZED_NAME)
        await until(lambda: len(world.events) == 2)
        event = world.events[-1]
        assert (event.reason, event.stage, event.sni) == (Reason.SNI_MISMATCH, Stage.TLS, "evil-it.test")
        assert server.names == ["allowed.test"]


@on_loop
async def test_a_server_that_does_not_answer_a_hello_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    hasty = Limits(handshake_timeout=0.2)
    async with server, gate_for(DEV, hasty) as world, raw(world.address) as client:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        await client.send(connect("allowed.test", server.sockets[0].getsockname()[1]))
        await client.head()
        await client.send(Hellos().first)
        assert await client.rest() == b""
        await until(lambda: world.events)
        assert [event.reason for event in world.events] == [Reason.TIMEOUT]


@on_loop
async def test_a_client_that_reads_nothing_holds_the_server_back_before_the_second_hello_and_after() -> None:
    """A server that goes on behind its question, or the proxy would keep what nobody takes."""
    message = b"\x02\x00\x00\x28\x03\x03" + bytes.fromhex(RETRY) + bytes(6)
    enough, stopped, sent = 1 << 27, asyncio.Event(), 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(100)
        writer.write(b"\x16\x03\x03" + len(message).to_bytes(2) + message)
        with contextlib.suppress(ConnectionError):
            while sent < enough:
                writer.write(bytes(1 << 20))
                sent += 1 << 20
                try:
                    await asyncio.wait_for(writer.drain(), 0.5)
                except TimeoutError:
                    stopped.set()
                    await writer.drain()
        stopped.set()
        writer.transport.abort()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server, gate_for(DEV) as world, raw(world.address) as client:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        await client.send(connect("allowed.test", server.sockets[0].getsockname()[1]))
        await client.head()
        cast("asyncio.ReadTransport", client.writer.transport).pause_reading()
        await client.send(Hellos().first)
        await asyncio.wait_for(stopped.wait(), PATIENCE)
        before = sent
        await client.send(Hellos().first)
        await asyncio.sleep(0.3)
        (held,) = world.gate._clients
        assert before == sent < enough
        assert held.transport.get_write_buffer_size() < 1 << 20

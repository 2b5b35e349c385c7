"""The tunnel lane over real sockets: how bytes pass once the hello has been judged, and how a tunnel ends."""

import asyncio

from harness.gates import connect, gate_for, opened, status
from harness.loops import on_loop, until
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import client_hello, raw
from harness.waiting import PATIENCE
from outward.config.settings import Limits
from outward.core.model import LaneChoice, Stage, Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason

TUNNEL = LaneChoice.TUNNEL


DEV = policy(group(rule("allowed.test"), rule("*.wild.test"), rule("127.0.0.1"), lane=TUNNEL))


PLAIN = policy(group(rule("allowed.test", tls=False), lane=TUNNEL))


HELLO = client_hello("allowed.test")


@on_loop
async def test_each_direction_ends_by_itself():
    async with gate_for(PLAIN) as world, origin() as server, raw(world.address) as client:
        server.reply = b""
        await opened(world, server, client)
        server.greeting = b""
        await client.send(b"all of it")
        client.writer.write_eof()
        await until(lambda: server.ended == 1)
        assert server.bytes == b"all of it"
        assert await client.rest() == b""
        await until(lambda: world.events)
        assert (world.events[0].bytes_up, world.events[0].bytes_down) == (9, 0)

    late = asyncio.Event()

    async def talks_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await late.wait()
        writer.write(b"late answer")
        writer.close()

    listener = await asyncio.start_server(talks_after_the_end, "127.0.0.1", 0)
    async with gate_for(PLAIN) as world, raw(world.address) as client:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        await client.send(connect("allowed.test", listener.sockets[0].getsockname()[1]))
        await client.head()
        client.writer.write_eof()
        late.set()
        assert await client.rest() == b"late answer"
    listener.close()

    async def ends_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        assert await reader.readexactly(4) == b"more"
        late.clear()
        writer.close()

    listener = await asyncio.start_server(ends_first, "127.0.0.1", 0)
    async with gate_for(PLAIN) as world, raw(world.address) as client:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        await client.send(connect("allowed.test", listener.sockets[0].getsockname()[1]))
        await client.head()
        assert await client.rest() == b""
        await client.send(b"more")
        await until(lambda: not late.is_set())
        client.writer.write_eof()
        await until(lambda: world.gate.connections == 0)
    listener.close()


@on_loop
async def test_a_slow_reader_holds_the_sender_back_and_memory_stays_flat():
    async with gate_for(PLAIN) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        await until(lambda: server.accepts == 1)
        server.reading.clear()
        sent = 0
        async with asyncio.timeout(PATIENCE):
            while True:
                client.writer.write(bytes(1 << 20))
                sent += 1 << 20
                try:
                    async with asyncio.timeout(0.5):
                        await client.writer.drain()
                except TimeoutError:
                    break
                assert sent < 1 << 28, "nobody holds the sender back"
        (held,) = world.gate._clients
        assert held.transport.is_reading() is False
        server.reply = b""
        server.reading.set()
        await client.writer.drain()
        client.writer.write_eof()
        await until(lambda: server.ended == 1)
        assert len(server.bytes) == sent


@on_loop
async def test_a_hello_that_does_not_come_and_a_tunnel_that_carries_nothing_end():
    hasty = Limits(handshake_timeout=1.0, idle_timeout=1.5)
    async with gate_for(DEV, hasty) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        assert await client.ask(HELLO[:50]) == b""
        assert [(event.reason, event.stage) for event in world.events] == [(Reason.TIMEOUT, Stage.TLS)]
        await until(lambda: server.open == 0)
        assert server.bytes == b""
    async with gate_for(PLAIN, hasty) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < 2.0:
            await client.send(b"x")
            assert await client.exactly(1) == b"x"
        assert not world.events
        assert await client.rest() == b""
        await until(lambda: world.events)
        assert world.events[0].verdict is Verdict.ALLOW


@on_loop
async def test_a_client_that_leaves_while_the_proxy_dials_takes_the_dial_with_it():
    async with gate_for(DEV) as world:
        world.dns.silent["allowed.test"] = 99
        async with raw(world.address) as client:
            await client.send(connect("allowed.test"))
            await until(lambda: world.dns.queries)
        await until(lambda: world.gate.connections == 0)
        assert len(world.events) == 1


@on_loop
async def test_a_server_that_leaves_during_the_handshake_ends_the_tunnel():
    async with gate_for(DEV) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        server.reading.clear()
        await client.send(HELLO)
        await until(lambda: server.accepts == 1)
    await until(lambda: world.gate.connections == 0)
    assert len(world.events) == 1


@on_loop
async def test_a_reload_does_not_touch_open_tunnels_and_rules_the_next():
    async with gate_for(PLAIN) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        world.judge.policy = Policy("g2")
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        async with raw(world.address) as late:
            assert status(await late.ask(connect("allowed.test", server.address[1]))) == 403

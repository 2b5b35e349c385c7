"""More clients than there is room for: bounds on connections, on one source, and on what is remembered of strangers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest

from harness.gates import Recorder, World, connect, decision_id, gate_for, status
from harness.loops import on_loop, until
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import Raw, raw
from harness.waiting import PATIENCE
from outward.config.settings import Limits
from outward.core.addresses import Own
from outward.core.reasons import Reason
from outward.ops.metrics import Metrics
from outward.proxy import deadlines, listener
from outward.proxy.judge import Judge

DEV = group(rule("allowed.test"))


@contextlib.asynccontextmanager
async def tunnel(world: World, port: int) -> AsyncIterator[Raw]:
    """Connect a client that has asked for a tunnel, and holds its place with it."""
    async with raw(world.address) as client:
        await client.send(connect("allowed.test", port))
        assert status(await client.head()) == 200
        yield client


@on_loop
async def test_connections_beyond_the_caps_are_refused_and_slots_come_back():
    """Where all have asked for something, the newest is one too many."""
    for limits in (Limits(connections=2), Limits(connections_per_client=2)):
        async with origin() as server, gate_for(policy(group(rule("allowed.test"))), limits) as world:
            world.dns.add("allowed.test", "A", "127.0.0.1")
            port = server.address[1]
            async with tunnel(world, port) as one, tunnel(world, port) as two, raw(world.address) as three:
                reply = await three.rest()
                assert status(reply) == 503
                assert b"\r\nRetry-After: " in reply
                assert [(event.reason, event.id) for event in world.events] == [(Reason.OVERLOADED, decision_id(reply))]
                assert (one.reader.at_eof(), two.reader.at_eof()) == (False, False)
            await until(lambda: world.gate.connections == 0)
            async with raw(world.address) as client:
                assert status(await client.ask(connect("evil.test"))) == 403


@pytest.mark.parametrize("limits", [Limits(connections=4), Limits(connections_per_client=4)])
@on_loop
async def test_silent_connections_lock_nobody_out(limits: Limits):
    """Each newcomer takes the place of the one that has been silent longest; who has asked for something keeps his."""
    async with origin() as server, gate_for(policy(group(rule("allowed.test"))), limits) as world:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        async with contextlib.AsyncExitStack() as flood, tunnel(world, server.address[1]) as held:
            silent = [await flood.enter_async_context(raw(world.address)) for _ in range(20)]
            await until(lambda: sum(each.reader.at_eof() for each in silent) == 17)
            assert [each.reader.at_eof() for each in silent] == [True] * 17 + [False] * 3
            async with raw(world.address) as client:
                assert status(await client.ask(connect("evil.test"))) == 403
            assert world.gate.connections <= 4
            assert not held.reader.at_eof()
        assert Reason.OVERLOADED not in [event.reason for event in world.events]


@on_loop
async def test_who_has_begun_to_ask_and_makes_room_is_told_so():
    async with gate_for(policy(DEV), Limits(connections=1)) as world, raw(world.address) as slow:
        await slow.send(b"GET http://allowed.test/ HTTP/1.1\r\nHost:")
        await until(lambda: [each for each in world.gate._clients if not each.idle])
        async with raw(world.address) as client:
            assert status(await client.ask(connect("evil.test"))) == 403
        reply = await slow.rest()
        assert status(reply) == 503
        assert [(event.reason, event.id) for event in world.events if event.status == 503] == [
            (Reason.OVERLOADED, decision_id(reply))
        ]


@on_loop
async def test_a_crowded_source_makes_room_among_its_own():
    """One client's flood costs no other client its connection."""
    async with gate_for(policy(DEV), Limits(connections_per_client=1), host="127.0.0.1") as world:
        reader, writer = await asyncio.open_connection(*world.address, local_addr=("127.0.0.2", 0))
        async with raw(world.address) as first, raw(world.address):
            await until(first.reader.at_eof)
            assert not reader.at_eof()
        writer.write(connect("evil.test"))
        assert status(await asyncio.wait_for(reader.read(), PATIENCE)) == 403
        writer.close()


@on_loop
async def test_a_flood_is_cut_recorded_and_cannot_hold_sockets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "_SPARE", 0)
    limits, wide = Limits(connections=1), policy(group(rule("allowed.test")))
    async with origin() as server, gate_for(wide, limits) as world:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        async with tunnel(world, server.address[1]) as held:
            for _ in range(20):
                async with raw(world.address) as client:
                    await client.rest()
            await until(lambda: world.gate.connections == 1)
            assert [event.reason for event in world.events] == [Reason.OVERLOADED] * 20
            assert not held.reader.at_eof()


@on_loop
async def test_what_one_source_is_refused_takes_no_room_from_the_others(monkeypatch: pytest.MonkeyPatch):
    """Its refused connections get time to read their answers, but only a number of them."""
    monkeypatch.setattr(listener, "_SPARE", 2)
    monkeypatch.setattr(deadlines, "LINGER", 60.0)
    wide = policy(group(rule("allowed.test")))
    async with gate_for(wide, Limits(connections=10, connections_per_client=2)) as world, origin() as server:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        async with contextlib.AsyncExitStack() as stack:
            for number in range(40):
                _, writer = await asyncio.open_connection(*world.address, local_addr=("127.0.0.9", 0))
                stack.callback(lambda writer=writer: writer.transport.abort())
                writer.write(connect("denied.test") + b"more")
                await until(lambda number=number: len(world.events) > number)
            await until(lambda: world.gate.connections <= 4)
            async with raw(world.address) as client:
                await client.send(connect("allowed.test", server.address[1]))
                assert status(await client.head()) == 200


def test_strangers_cannot_fill_the_memory_with_credentials() -> None:
    """What is remembered of answers is bounded in number and in size."""
    judge = Judge(policy(group(rule("allowed.test"))), Recorder(), Metrics(), Own())
    peer = ip_address("127.0.0.1")
    for number in range(300):
        judge.who(peer, f"Bearer {number:060000}")
    assert not judge._remembered().identities
    for number in range(20_000):
        judge.who(peer, f"Bearer {number}")
    assert len(judge._remembered().identities) <= 8193

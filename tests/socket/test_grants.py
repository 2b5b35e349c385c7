"""Grants over real sockets: in force at once, ended on time without a database, and their connections with them."""

import time
from dataclasses import replace

import trustme

from harness.gates import LIMITS, connect, gate_for, opened, request, status
from harness.inspection import inspecting
from harness.loops import on_loop, until
from harness.origins import client_context, origin, server_context
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.grants import Grant
from outward.core.model import Grants, LaneChoice
from outward.core.names import Host
from outward.proxy.leases import Leases

DEV = policy(group(grants=Grants.ALLOWED))


def lasting(seconds: float, port: int, **facts) -> Grant:
    now = round(time.time() * 1000)
    return Grant(**{
        "id": "g1", "group": "dev", "host": "allowed.test", "port": port, "method": None, "path": None, "made": now,
        "until": now + round(seconds * 1000),
    } | facts)  # fmt: skip


@on_loop
async def test_a_tunnel_begins_with_its_grant_and_ends_with_it():
    """By the proxy's own clock: nobody tells it anything."""
    authority = trustme.CA()
    async with (
        gate_for(DEV) as world,
        origin(server_context(authority, "allowed.test")) as server,
        raw(world.address) as before,
        raw(world.address) as client,
        raw(world.address) as after,
    ):
        leases, port = Leases(world.judge), server.address[1]
        assert status(await before.ask(connect("allowed.test", port))) == 403
        leases.use([lasting(2.0, port)])
        end = world.judge.next_end / 1000
        await opened(world, server, client)
        await client.tls(client_context(authority), "allowed.test")
        await client.send(b"ping")
        assert await client.exactly(4) == b"ping"
        assert await client.rest() == b""
        assert 0 <= time.time() - end < LIMITS.idle_timeout / 2
        await until(lambda: len(world.events) == 2)
        assert world.events[1].detail == "the grant that allowed it has ended"
        assert str(world.events[1].rule.place) == "grant g1"
        assert server.accepts == 1
        assert status(await after.ask(connect("allowed.test", port))) == 403
        await until(lambda: leases._held == {} and server.open == 0)
        leases.close()


@on_loop
async def test_a_grant_that_is_revoked_ends_its_tunnels_and_no_others():
    authority = trustme.CA()
    subject = policy(group(rule("by-file.test"), grants=Grants.ALLOWED))
    names = ("allowed.test", "by-file.test", "soon.test")
    async with (
        gate_for(subject) as world,
        origin(server_context(authority, *names)) as server,
        raw(world.address) as one,
        raw(world.address) as two,
        raw(world.address) as three,
    ):
        leases, port = Leases(world.judge), server.address[1]
        leases.use([lasting(60, port), lasting(60, port, id="g2", host="soon.test")])
        for name, client in zip(names, (one, two, three), strict=True):
            world.dns.add(name, "A", "127.0.0.1")
            await client.send(connect(name, port))
            assert b" 200 " in await client.head()
            await client.tls(client_context(authority), name)
        world.judge.policy = policy(group(rule("by-file.test"), rule("soon.test"), grants=Grants.ALLOWED))
        leases.use([])
        assert await one.rest() == b""
        for client in (two, three):  # what the file has allowed meanwhile keeps its connection
            await client.send(b"ping")
            assert await client.exactly(4) == b"ping"
        leases.close()


@on_loop
async def test_a_response_that_streams_ends_with_its_grant(tmp_path):
    """A request of its own, on a connection that the file allows."""
    seen = rule("allowed.test", methods=frozenset({"GET"}))
    async with (
        inspecting(policy(group(seen, grants=Grants.ALLOWED)), tmp_path) as world,
        origin(world.server_tls("allowed.test")) as server,
    ):
        server.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun"
        leases, port = Leases(world.judge), server.address[1]
        world.dns.add("allowed.test", "A", "127.0.0.1")
        leases.use([lasting(60, port, method="PUT", path="/a")])
        put = request("PUT /a HTTP/1.1", f"Host: allowed.test:{port}", "Content-Length: 0")
        async with world.tunnel("allowed.test", port) as client:
            await client.send(put)
            assert b" 200 " in await client.head()
            assert await client.exactly(5) == b"begun"
            leases.use([])
            assert await client.rest() == b""
        async with world.tunnel("allowed.test", port) as client:
            assert status(await client.ask(put)) == 403
        await until(lambda: len(world.events) == 2 and leases._held == {})
        leases.close()


@on_loop
async def test_plain_requests_end_with_their_grant_one_by_one(tmp_path):
    async with inspecting(DEV, tmp_path) as world, origin() as server, raw(world.address) as client:
        server.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        leases, port = Leases(world.judge), server.address[1]
        world.dns.add("allowed.test", "A", "127.0.0.1")
        leases.use([lasting(60, port)])
        get = request(f"GET http://allowed.test:{port}/ HTTP/1.1", f"Host: allowed.test:{port}")
        for _ in range(2):
            await client.send(get)
            assert b" 200 " in await client.head()
            assert await client.exactly(2) == b"ok"
        await until(lambda: not leases._held)
        leases.use([])  # nothing is under way, so the connection may go on, and is refused what it asks
        assert status(await client.ask(get)) == 403
        leases.close()


@on_loop
async def test_a_clock_that_is_set_forward_ends_a_grant(monkeypatch):
    async with gate_for(DEV) as world:
        leases = Leases(world.judge)
        leases.use([lasting(3600, 443)])
        ended = []
        leases.hold(world.judge.decide_connect("dev", Host("allowed.test"), 443), lambda: ended.append(True))
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3601)
        await until(lambda: ended)
        assert not world.judge.decide_connect("dev", Host("allowed.test"), 443).allowed
        leases.close()


@on_loop
async def test_connections_that_come_meanwhile_do_not_put_off_an_end(monkeypatch):
    """The policy has forgotten the grant by then, and knows of no end that is near."""
    async with gate_for(DEV) as world:
        leases, ended = Leases(world.judge), []
        leases.use([lasting(3600, 443)])
        decision = world.judge.decide_connect("dev", Host("allowed.test"), 443)
        leases.hold(decision, lambda: ended.append(True))
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3601)
        await until(lambda: world.judge.policy and (leases.hold(decision, lambda: None)() or ended))
        leases.close()


@on_loop
async def test_an_end_that_comes_nearer_is_kept():
    async with gate_for(DEV) as world:
        leases, ended = Leases(world.judge), []
        leases.use([lasting(3600, 443)])
        leases.hold(world.judge.decide_connect("dev", Host("allowed.test"), 443), lambda: ended.append(time.time()))
        leases.use([lasting(0.2, 443)])
        end = world.judge.next_end / 1000
        await until(lambda: ended)
        assert 0 <= ended[0] - end < LIMITS.idle_timeout
        leases.close()


@on_loop
async def test_a_clock_that_is_set_back_brings_no_grant_back(monkeypatch):
    """What has ended is gone until the clock says otherwise; what begins later has not begun."""
    async with gate_for(DEV) as world:
        leases = Leases(world.judge)
        leases.use([lasting(60, 443)])
        real = time.time
        for shift, opened_ in ((61, False), (0, False), (-3600, False)):
            monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
            assert world.judge.decide_connect("dev", Host("allowed.test"), 443).allowed is opened_
        leases.use(world.judge.grants)
        assert not world.judge.decide_connect("dev", Host("allowed.test"), 443).allowed
        leases.close()


@on_loop
async def test_a_connection_that_cannot_be_cut_keeps_no_other_open():
    async with gate_for(policy(group(grants=Grants.ALLOWED, lane=LaneChoice.TUNNEL))) as world:
        leases, ended = Leases(world.judge), []
        leases.use([lasting(60, 443)])
        decision = world.judge.decide_connect("dev", Host("allowed.test"), 443)
        leases.hold(decision, lambda: 1 / 0)
        leases.hold(decision, lambda: ended.append(True))
        leases.hold(decision, lambda: ended.append(False))()
        world.judge.policy = policy(group(grants=None))
        leases.use([replace(lasting(60, 443), group="gone")])
        assert ended == [True]
        leases.close()

"""Caps by who a client is, and what a group may ask for: over real sockets, told, recorded, and given back."""

import base64
import contextlib
import hashlib
import json
import re
from ipaddress import ip_network
from pathlib import Path

from harness.gates import World, connect, decision_id, gate_for, request, status
from harness.inspection import inspecting, keep, response, web_origin
from harness.loops import on_loop, until
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import Raw, raw
from outward.config.settings import Limits
from outward.core.limits import GroupLimits, Rate
from outward.core.model import ClientEntry, Credential, LaneChoice, Place
from outward.core.policy import Policy
from outward.core.reasons import Reason

PLACE = Place("policy.yaml", 9)
HOURLY = GroupLimits(PLACE, Rate(1 / 3600, 2))  # so slow that no test waits for the next one


def token_of(path: str) -> ClientEntry:
    return ClientEntry(Credential.TOKEN, PLACE, path, token_sha256=hashlib.sha256(path.encode()).hexdigest(), name=path)


def teams(*clients: ClientEntry, limits: GroupLimits | None = None, below: GroupLimits | None = None) -> Policy:
    """Two teams of one company, each with a token that is its path."""
    top = group(rule("allowed.test"), path="top", limits=limits)
    a, b = (group(path=f"top/{name}", parent=top, limits=below if name == "a" else None) for name in "ab")
    return policy(top, a, b, clients=(token_of("top/a"), token_of("top/b"), *clients))


def says(token: str) -> str:
    return "Proxy-Authorization: Basic " + base64.b64encode(f":{token}".encode()).decode()


@contextlib.asynccontextmanager
async def tunnel(world: World, port: int, token: str, source: str | None = None):
    async with raw(world.address, source) as client:
        await client.send(connect("allowed.test", port, says(token)))
        assert status(await client.head()) == 200
        yield client


async def refused(world: World, port: int, token: str, source: str | None = None) -> bytes:
    async with raw(world.address, source) as client:
        return await client.ask(connect("allowed.test", port, says(token)))


@on_loop
async def test_a_team_behind_an_address_takes_no_other_teams_connections():
    """A client is who it proves to be, from wherever it comes; strangers are where they come from."""
    anyone = ClientEntry(Credential.SOURCE, PLACE, "top", source=ip_network("127.0.0.3/32"))
    async with origin() as server, gate_for(teams(anyone), Limits(connections_per_client=2)) as world:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        port = server.address[1]
        async with tunnel(world, port, "top/a"), tunnel(world, port, "top/a", "127.0.0.2"):
            for source in (None, "127.0.0.2", "127.0.0.4"):
                reply = await refused(world, port, "top/a", source)
                assert status(reply) == 503
                assert world.events[-1].reason is Reason.OVERLOADED
                assert world.events[-1].group == "top/a"
                assert "connections_per_client" in (world.events[-1].detail or "")
                assert decision_id(reply) == world.events[-1].id
            async with tunnel(world, port, "top/b"), tunnel(world, port, "top/b"):
                assert status(await refused(world, port, "top/b")) == 503
            async with raw(world.address) as stranger:
                assert status(await stranger.ask(connect("allowed.test", port, says("guess")))) == 407
        async with raw(world.address, "127.0.0.3") as one, raw(world.address, "127.0.0.3") as two:
            for client in (one, two):  # who has a place by his address is held to it by that
                await client.send(connect("allowed.test", port))
                assert status(await client.head()) == 200
            async with raw(world.address, "127.0.0.3") as three:
                assert status(await three.rest()) == 503
        await until(lambda: world.gate.connections == 0)
        async with tunnel(world, port, "top/a"):
            pass


@on_loop
async def test_a_rate_holds_for_all_below_its_group_and_is_told_when_to_try_again():
    """One decision, one record. What is denied anyway is denied for its own reason, and uses nothing up."""
    async with origin() as server, gate_for(teams(limits=HOURLY)) as world:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        port = server.address[1]
        for _ in range(3):
            async with raw(world.address) as client:
                assert status(await client.ask(connect("denied.test", 443, says("top/a")))) == 403
        async with tunnel(world, port, "top/a"), tunnel(world, port, "top/b"):
            reply = await refused(world, port, "top/a")
        assert status(reply) == 429
        assert 3000 < int(re.search(rb"\r\nRetry-After: (\d+)\r\n", reply)[1]) <= 3600
        assert b'\r\nProxy-Status: outward; error=http_request_denied; details="rate_limited"\r\n' in reply
        told = json.loads(reply.partition(b"\r\n\r\n")[2])
        assert (told["reason"], told["retryable"], told["group"]) == ("rate_limited", True, "top/a")
        assert "top may make 0.000277778 requests a second, and 2 at once" in told["detail"]
        limited = [event for event in world.events if event.reason is Reason.RATE_LIMITED]
        assert [(event.id, event.group, event.detail) for event in limited] == [
            (decision_id(reply), "top/a", "top may make 0.000277778 requests a second, and 2 at once")
        ]
        async with raw(world.address) as client:
            assert status(await client.ask(connect("denied.test", 443, says("top/b")))) == 403


@on_loop
async def test_a_lower_rate_of_one_team_is_no_other_teams():
    async with origin() as server, gate_for(teams(below=HOURLY)) as world:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        async with contextlib.AsyncExitStack() as stack:
            for token in ("top/a", "top/a", "top/b", "top/b", "top/b"):
                await stack.enter_async_context(tunnel(world, server.address[1], token))
            assert status(await refused(world, server.address[1], "top/a")) == 429


@on_loop
async def test_connections_of_a_group_are_bounded_and_their_places_come_back():
    async with origin() as server, gate_for(teams(limits=GroupLimits(PLACE, connections=2))) as world:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        port = server.address[1]
        async with tunnel(world, port, "top/a"):
            async with tunnel(world, port, "top/b"):
                reply = await refused(world, port, "top/b")
                assert status(reply) == 429
                assert b"\r\nRetry-After: 1\r\n" in reply
                text = world.judge.metrics.render()[0].decode()
                assert 'outward_group_connections{group="top"} 2.0' in text
                assert 'outward_group_connections_limit{group="top"} 2.0' in text
            await until(lambda: world.gate.connections == 1)
            async with tunnel(world, port, "top/b"):
                pass
        await until(lambda: world.gate.connections == 0)
        assert world.judge.limiter.connections() == {"top": (0, 2)}


def inspected(limits: GroupLimits, **settings: object) -> Policy:
    return policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT, limits=limits, **settings))


async def answered(client: Raw, port: int) -> bytes:
    await client.send(keep("/", f"allowed.test:{port}"))
    return await response(client)


@on_loop
async def test_requests_within_a_connection_are_counted_one_by_one(tmp_path: Path):
    """A CONNECT and its first request are one. The refusal is read inside TLS, and has an event of its own."""
    async with inspecting(inspected(HOURLY), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            assert [status(await answered(client, server.port)) for _ in range(3)] == [200, 200, 429]
        assert [event.reason for event in world.events] == [Reason.RULE, Reason.RULE, Reason.RATE_LIMITED]
        assert len(server.seen) == 2


@on_loop
async def test_plain_requests_are_counted_one_by_one(tmp_path: Path):
    async with inspecting(inspected(HOURLY), tmp_path) as world:
        async with web_origin(world, "allowed.test", tls=False) as server, raw(world.address) as client:
            host = f"allowed.test:{server.port}"
            statuses = []
            for _ in range(3):
                await client.send(request(f"GET http://{host}/ HTTP/1.1", f"Host: {host}"))
                statuses.append(status(await response(client)))
        assert statuses == [200, 200, 429]
        assert len(server.seen) == 2


@on_loop
async def test_a_plain_connection_is_counted_by_the_group_that_uses_it(tmp_path: Path):
    """Requests of one connection may be of several clients: the last one has it."""
    two = teams(below=GroupLimits(PLACE, connections=1), limits=GroupLimits(PLACE, connections=2))
    async with inspecting(two, tmp_path) as world:
        async with (
            web_origin(world, "allowed.test", tls=False) as server,
            raw(world.address) as one,
            raw(world.address) as other,
            raw(world.address) as third,
        ):
            host = f"allowed.test:{server.port}"
            found = []
            for client, path in ((one, "b"), (one, "a"), (other, "b"), (other, "a"), (one, "b"), (third, "a")):
                lines = (f"GET http://{host}/ HTTP/1.1", f"Host: {host}", says(f"top/{path}"))
                await client.send(request(*lines))
                found.append(status(await response(client)))
                counted = world.judge.limiter.connections()
            assert found == [200, 200, 200, 429, 200, 200]
            assert counted == {"top": (2, 2), "top/a": (1, 1)}
        await until(lambda: world.gate.connections == 0)
        assert world.judge.limiter.connections() == {"top": (0, 2), "top/a": (0, 1)}


@on_loop
async def test_a_reload_changes_the_limits_and_forgets_nothing():
    """A limit that is taken away is gone at once; one that comes back still knows what was spent."""
    async with origin() as server, gate_for(teams(limits=HOURLY)) as world:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        port = server.address[1]
        async with tunnel(world, port, "top/a"), tunnel(world, port, "top/a"):
            assert status(await refused(world, port, "top/a")) == 429
            world.judge.policy = teams(limits=GroupLimits(PLACE, Rate(1 / 3600, 3)))
            async with tunnel(world, port, "top/b"):
                assert status(await refused(world, port, "top/a")) == 429
            world.judge.policy = teams()
            async with tunnel(world, port, "top/a"):
                pass

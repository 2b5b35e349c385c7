"""What rules say of addresses, days and paths, over real sockets: in both lanes, and of requests in the clear."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from harness.gates import connect, gate_for, request, status
from harness.inspection import get, inspecting, response, web_origin
from harness.loops import on_loop
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.model import LaneChoice, Rule, Stage
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.core.reasons import Reason

LOOPBACK = (ip_network("127.0.0.1/32"),)
LANES = [LaneChoice.TUNNEL, LaneChoice.INSPECT]
METADATA = "169.254.169.254"


def closed(found: Policy) -> Policy:
    """Return a policy under which no address but the public ones may be dialled, unless a rule opens it."""
    return replace(found, internal=())


def asks(lane: LaneChoice | None, name: str, port: int) -> bytes:
    """Return a CONNECT; without a lane, a request in the clear."""
    if lane is None:
        return request(f"GET http://{name}:{port}/ HTTP/1.1", f"Host: {name}:{port}", "Connection: close")
    return connect(name, port)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("network", ["127.0.0.0/8", "127.0.0.1"])
@on_loop
async def test_a_denied_network_refuses_names_that_resolve_into_it(lane: LaneChoice, network: str, tmp_path: Path):
    """A rule for the name and an opened address do not help; nothing is dialled."""
    denied = group(rule("*.test", addresses=LOOPBACK), deny=(rule(network),), lane=lane)
    async with origin() as server, inspecting(policy(denied), tmp_path) as world:
        world.dns.add("into.test", "A", "127.0.0.1")
        port = server.address[1]
        if lane is LaneChoice.TUNNEL:
            async with raw(world.address) as client:
                reply = await client.ask(connect("into.test", port))
        else:  # dialled once the request has been judged
            async with world.tunnel("into.test", port) as client:
                await client.send(get("/", f"into.test:{port}"))
                reply = await response(client)
        assert status(reply) == 403
        (event,) = world.events
        assert (event.reason, event.stage) == (Reason.DENIED_BY_RULE, Stage.ADDRESS)
        assert event.rule is denied.deny.all[0]
        assert server.accepts == 0


@on_loop
async def test_addresses_open_for_their_host_alone(tmp_path: Path):
    """Neither a neighbour, nor what resolves to a metadata service, nor the proxy itself is reached through them."""
    everything = (ip_network("0.0.0.0/0"),)
    rules = (rule("mine.test", addresses=LOOPBACK), rule("wide.test", addresses=everything), rule("other.test"))
    subject = closed(policy(group(*rules, lane=LaneChoice.TUNNEL)))
    async with origin() as server, gate_for(subject) as world:
        for name, address in (("mine", "127.0.0.1"), ("other", "127.0.0.1"), ("wide", METADATA)):
            world.dns.add(f"{name}.test", "A", address)
        port = server.address[1]
        for name, asked, answer, reason in (
            ("other.test", port, 403, Reason.ADDRESS_NOT_PUBLIC),
            ("wide.test", port, 403, Reason.ADDRESS_NOT_PUBLIC),
            ("mine.test", world.address[1], 502, Reason.LOOP),
        ):
            async with raw(world.address) as client:
                assert status(await client.ask(connect(name, asked))) == answer
            assert (world.events[-1].reason, world.events[-1].stage) == (reason, Stage.ADDRESS)
        assert server.accepts == 0
        async with raw(world.address) as client:
            await client.send(connect("mine.test", port))
            assert status(await client.head()) == 200


@pytest.mark.parametrize("lane", [*LANES, None])
@on_loop
async def test_a_rule_that_has_ended_allows_nothing(lane: LaneChoice | None, tmp_path: Path):
    """Its day is over: the refusal says so, and no name is asked about."""
    ended = rule("old.test", until="2020-01-01")
    async with inspecting(policy(group(ended, lane=lane or LaneChoice.AUTO)), tmp_path) as world:
        world.dns.add("old.test", "A", "127.0.0.1")
        async with raw(world.address) as client:
            reply = await client.ask(asks(lane, "old.test", 443 if lane else 80))
        assert status(reply) == 403
        assert b'details="rule_expired"' in reply
        assert [(event.reason, event.rule) for event in world.events] == [(Reason.RULE_EXPIRED, ended)]
        assert not world.dns.queries


ALLOWED, DENIED = PathGlob("/public/**"), PathGlob("/secret/**")


@pytest.mark.parametrize(
    ("facts", "deny", "path", "reason"),
    [
        ({"paths": (ALLOWED,)}, (), "/public/a", None),
        ({"paths": (ALLOWED,)}, (), "/public/..%3B/secret", Reason.PATH_NOT_ALLOWED),
        ({"paths": (ALLOWED,)}, (), "/public/%2e%2e%3bx/secret", Reason.PATH_NOT_ALLOWED),
        ({"paths": (ALLOWED,)}, (), "/public/%252e%252e/secret", Reason.PATH_NOT_ALLOWED),
        ({}, (DENIED,), "/secret;v=1/x", Reason.DENIED_BY_RULE),
        ({}, (DENIED,), "/secret%3Bv/x", Reason.DENIED_BY_RULE),
        ({}, (DENIED,), "/public/..%3B/secret/x", Reason.DENIED_BY_RULE),
        ({}, (PathGlob("/@evil/**"),), "/%40evil/pkg", Reason.DENIED_BY_RULE),
        ({"paths": (PathGlob("/**"),)}, (), "/@scope%2fname", None),
        ({"paths": (PathGlob("/*"),)}, (), "/@scope%2fname", Reason.PATH_NOT_ALLOWED),
        ({"paths": (PathGlob("/*"),), "encoded_slash": True}, (), "/@scope%2fname", None),
    ],
)
@on_loop
async def test_a_path_is_judged_in_every_reading(facts, deny, path: str, reason: Reason | None, tmp_path: Path):
    """What is allowed arrives as it was written; what is not never leaves."""
    allow: Rule = rule("allowed.test", **facts)
    denied = (rule("allowed.test", paths=deny),) if deny else ()
    subject = policy(group(allow, deny=denied, lane=LaneChoice.INSPECT))
    async with inspecting(subject, tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(get(path, f"allowed.test:{server.port}"))
            reply = await response(client)
        if reason is None:
            assert status(reply) == 200
            assert [seen.line for seen in server.seen] == [f"GET {path} HTTP/1.1"]
        else:
            assert status(reply) == 403
            assert f'"reason": "{reason}"'.encode() in reply
            assert server.seen == []

"""Redirected connections over real sockets: reading, waiting, identity and ends.

The kernel's word about where a connection was going is stood in for here; `tests/deploy/test_transparent.py` has the kernel's own.
"""

import asyncio
import hashlib
import sys
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Protocol

import pytest
import trustme

from harness.gates import LIMITS, World, gate_for, request, status
from harness.inspection import World as Inspecting
from harness.inspection import get, inspecting, keep, web_origin
from harness.loops import on_loop, until
from harness.origins import client_context, origin, server_context
from harness.policies import group, policy, rule
from harness.raw import client_hello, raw
from outward.builders.errors import StartError
from outward.builders.listening import transparent_of
from outward.core.model import ClientEntry, Credential, DenyDelivery, LaneChoice, Place, Stage, Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.proxy import transparent

PLACE = Place("policy.yaml", 1)
TOKEN = ClientEntry(Credential.TOKEN, PLACE, group="dev", token_sha256=hashlib.sha256(b"secret").hexdigest())
ELSEWHERE = ClientEntry(Credential.SOURCE, PLACE, group="dev", source=ip_network("192.0.2.0/24"))
DEV = group(rule("allowed.test"))
HELLO = client_hello("allowed.test")
ACCESS_DENIED = bytes.fromhex("15030300020231")
INTERNAL_ERROR = bytes.fromhex("15030300020250")


class Going(Protocol):
    """Sets where every connection was going."""

    def __call__(self, port: int, address: str = "192.0.2.1") -> None: ...


@pytest.fixture
def going(monkeypatch: pytest.MonkeyPatch) -> Going:
    """Let the kernel say that every connection was going to this port, and to an address of nobody's unless told."""

    def go(port: int, address: str = "192.0.2.1") -> None:
        monkeypatch.setattr(transparent, "destination", lambda _sock: (ip_address(address), port))

    return go


async def opened(world: World | Inspecting) -> tuple[str, int]:
    """Open the port of redirected connections."""
    await world.gate.start_transparent("127.0.0.1", 0)
    return world.gate.addresses[1]


@pytest.mark.parametrize("size", [1, 7, None])
@on_loop
async def test_a_hello_in_any_pieces_is_passed_on_as_it_was_sent(going: Going, size: int | None):
    async with gate_for(policy(DEV)) as world, origin() as server:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        going(server.address[1])
        async with raw(await opened(world)) as client:
            await client.send(HELLO + b"more", size)
            assert await client.exactly(len(HELLO) + 4) == HELLO + b"more"
        await until(lambda: world.events)
        (event,) = world.events
        assert (event.verdict, event.sni, event.status, event.address) == (
            Verdict.ALLOW, "allowed.test", None, "127.0.0.1",
        )  # fmt: skip
        assert event.bytes_up == event.bytes_down == len(HELLO) + 4


@on_loop
async def test_tls_ends_at_the_destination(going: Going):
    authority = trustme.CA()
    async with gate_for(policy(DEV)) as world, origin(server_context(authority, "allowed.test")) as server:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        going(server.address[1])
        async with raw(await opened(world)) as client:
            await client.tls(client_context(authority), "allowed.test")
            await client.send(b"ping")
            assert await client.exactly(4) == b"ping"


@on_loop
async def test_a_client_that_waits_for_its_server_is_refused_in_time(going: Going):
    """It was going somewhere: that is recorded, where a connection to the proxy port that never spoke is just closed."""
    async with gate_for(policy(DEV), replace(LIMITS, head_timeout=0.05)) as world:
        going(3306)
        async with raw(await opened(world)) as client:
            assert await client.rest() == b""
        (event,) = world.events
        assert (event.reason, event.host, event.port, event.scheme) == (Reason.NO_RULE, "192.0.2.1", 3306, "tcp")


@pytest.mark.parametrize(("host", "reason"), [("127.0.0.1", Reason.NOT_TLS), ("192.0.2.1", Reason.NO_RULE)])
@on_loop
async def test_what_speaks_something_else_is_told_what_it_lacks(going: Going, host: str, reason: Reason):
    """Where no rule allows the destination, that is what is missing, and not TLS; no tunnel is opened to tell it."""
    told = policy(replace(group(rule("127.0.0.1")), denial=DenyDelivery.INSIDE))
    async with gate_for(told) as world:
        going(443, host)
        async with raw(await opened(world)) as client:
            assert await client.ask(b"\x00hello") == b""
        (event,) = world.events
        assert (event.reason, event.scheme, event.verdict) == (reason, "tcp", Verdict.DENY)


@on_loop
async def test_a_tunnel_that_carries_something_else_outlives_the_wait_for_a_head(going: Going):
    """Nor does it make room for newer connections: it has asked."""
    bare = policy(group(rule("127.0.0.1", tls=False)))
    async with gate_for(bare, replace(LIMITS, head_timeout=1.0)) as world, origin() as server:
        going(server.address[1], "127.0.0.1")
        async with raw(await opened(world)) as client:
            await client.send(b"\x00hello")
            assert await client.exactly(6) == b"\x00hello"
            assert not list(world.gate.resources.waits.heads)
            await asyncio.sleep(1.2)
            await client.send(b"more")
            assert await client.exactly(4) == b"more"
        await until(lambda: world.events)
        assert [each.verdict for each in world.events] == [Verdict.ALLOW]


@pytest.mark.parametrize(
    ("begun", "answer"), [(HELLO[:50], ACCESS_DENIED[:6]), (b"GET / HT", b"HTTP/1.1 408")], ids=["TLS", "HTTP"]
)
@on_loop
async def test_a_beginning_without_an_end_is_refused_in_time(going: Going, begun: bytes, answer: bytes):
    async with gate_for(policy(DEV), replace(LIMITS, head_timeout=1.0)) as world:
        going(443)
        async with raw(await opened(world)) as client:
            assert (await client.ask(begun)).startswith(answer)
        assert [each.reason for each in world.events] == [Reason.TIMEOUT]


@pytest.mark.parametrize("clients", [(TOKEN,), (TOKEN, ELSEWHERE), ()], ids=["token", "token and source", "none"])
@on_loop
async def test_a_client_that_only_credentials_would_help_is_refused_without_asking_for_them(
    going: Going, clients: tuple[ClientEntry, ...]
):
    """A 407 would come from what the client takes for its destination; and what it sends to one is not for us to read."""
    async with gate_for(policy(DEV, clients=clients)) as world:
        going(80)
        address = await opened(world)
        right = "Proxy-Authorization: Bearer secret"
        async with raw(address) as client:
            reply = await client.ask(request("GET / HTTP/1.1", "Host: allowed.test", right))
        assert status(reply) == 403
        assert b"authenticate" not in reply.lower()
        async with raw(address) as client:
            assert await client.ask(HELLO) == ACCESS_DENIED
        assert [each.reason for each in world.events] == [Reason.UNKNOWN_CLIENT] * 2
        assert world.dns.queries == []


@on_loop
async def test_what_cannot_be_reached_is_an_alert(going: Going):
    """Not the words of a proxy, which a TLS client would take for garbage."""
    async with gate_for(policy(DEV)) as world:
        going(443)
        async with raw(await opened(world)) as client:
            assert await client.ask(HELLO) == INTERNAL_ERROR
        assert [each.reason for each in world.events] == [Reason.RESOLVE_FAILED]


@on_loop
async def test_one_connection_too_many_is_closed_and_recorded(going: Going):
    async with gate_for(policy(DEV), replace(LIMITS, connections=1)) as world, origin() as server:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        going(server.address[1])
        address = await opened(world)
        async with raw(address) as first:
            await first.send(HELLO)
            await first.exactly(len(HELLO))
            async with raw(address) as second:
                assert await second.rest() == b""
        assert [each.reason for each in world.events] == [Reason.OVERLOADED]


@on_loop
async def test_a_drain_closes_the_port_and_lets_a_tunnel_finish(going: Going):
    async with gate_for(policy(DEV)) as world, origin() as server:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        going(server.address[1])
        address = await opened(world)
        async with raw(address) as client, raw(address) as silent:
            await client.send(HELLO)
            await client.exactly(len(HELLO))
            draining = asyncio.ensure_future(world.gate.drain(5))
            assert await silent.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            await client.send(b"more")
            assert await client.exactly(4) == b"more"
            client.writer.close()
            await draining
        assert [each.verdict for each in world.events] == [Verdict.ALLOW]


INSPECTED = group(rule("allowed.test"), rule("other.test"), lane=LaneChoice.INSPECT)


@on_loop
async def test_each_plain_request_on_a_connection_is_judged_by_its_own_host(going: Going, tmp_path: Path):
    """And by the policy of its own moment: a client that is forgotten meanwhile is refused, and asked for nothing."""
    async with inspecting(policy(INSPECTED), tmp_path) as world:
        async with web_origin(world, "allowed.test", "other.test", tls=False) as server:
            going(server.port)
            async with raw(await opened(world)) as client:
                for host in ("allowed.test", "other.test"):
                    await client.send(keep("/", f"{host}:{server.port}"))
                    assert status(await client.head()) == 200
                    await client.exactly(5)
                world.judge.policy = policy(INSPECTED, clients=(TOKEN,))
                assert status(await client.ask(keep("/", f"allowed.test:{server.port}"))) == 403
            assert [dict(each.fields)["Host"] for each in server.seen] == [
                f"allowed.test:{server.port}", f"other.test:{server.port}",
            ]  # fmt: skip
        reasons = [each.reason for each in world.events]
        assert reasons == [Reason.RULE, Reason.RULE, Reason.UNKNOWN_CLIENT]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("GET / HTTP/1.1", "Host: evil.test:{port}"), Reason.NO_RULE),
        (("GET / HTTP/1.1", "Host: allowed.test:1"), Reason.HOST_MISMATCH),
        (("GET http://allowed.test/ HTTP/1.1", "Host: allowed.test:{port}"), Reason.MALFORMED_REQUEST),
    ],
)
@on_loop
async def test_no_later_request_goes_elsewhere(going: Going, tmp_path: Path, lines: tuple[str, ...], reason: Reason):
    async with inspecting(policy(INSPECTED), tmp_path) as world:
        async with web_origin(world, "allowed.test", tls=False) as server:
            going(server.port)
            async with raw(await opened(world)) as client:
                await client.send(keep("/", f"allowed.test:{server.port}"))
                assert status(await client.head()) == 200
                await client.exactly(5)
                reply = await client.ask(request(*(each.format(port=server.port) for each in lines)))
                assert status(reply) in (400, 403)
            assert len(server.seen) == 1
        assert [each.reason for each in world.events] == [Reason.RULE, reason]


def inside(clients: tuple[ClientEntry, ...] | None = None) -> Policy:
    """A policy whose refusals are told inside TLS."""
    return policy(group(rule("allowed.test"), denial=DenyDelivery.INSIDE), clients=clients)


@on_loop
async def test_a_refusal_can_be_told_inside_tls(going: Going, tmp_path: Path):
    async with inspecting(inside(), tmp_path) as world:
        going(443)
        async with raw(await opened(world)) as client:
            await client.tls(world.client_tls(), "evil.test")
            reply = await client.ask(keep("/", "evil.test"))
        assert status(reply) == 403
        assert b'"reason": "no_rule"' in reply
        (event,) = world.events
        assert (event.reason, event.sni, event.stage) == (Reason.NO_RULE, "evil.test", Stage.CONNECT)


@on_loop
async def test_an_inspected_connection_asks_for_nothing_but_its_name(going: Going, tmp_path: Path):
    """Server name = Host, here too; and the destination's certificate is verified for it."""
    async with inspecting(policy(INSPECTED), tmp_path) as world, web_origin(world, "allowed.test") as server:
        going(server.port)
        for host, code in (("allowed.test", 200), ("other.test", 403)):
            async with raw(await opened(world)) as client:
                await client.tls(world.client_tls(), "allowed.test")
                assert status(await client.ask(keep("/", f"{host}:{server.port}", "Connection: close"))) == code
        assert [each.reason for each in world.events] == [Reason.RULE, Reason.HOST_MISMATCH]
        assert len(server.seen) == 1


@on_loop
async def test_without_a_firewall_nothing_gets_in():
    """The kernel's own word here: this connection was not redirected."""
    async with gate_for(policy(DEV)) as world, raw(await opened(world)) as client:
        assert await client.rest() == b""
        (event,) = world.events
        assert (event.reason, event.port) == (Reason.LOOP, world.gate.addresses[1][1])


@on_loop
async def test_other_systems_refuse_the_port_at_the_start(monkeypatch: pytest.MonkeyPatch):
    async with gate_for(policy(DEV)) as world:
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(StartError, match=r"`server\.transparent` needs Linux"):
            transparent_of(world.gate)


@pytest.mark.parametrize("said", [b"SSH-2.0-client\r\n", b"\x00hello"])
@on_loop
async def test_another_protocol_goes_on_whatever_letter_it_begins_with(going: Going, said: bytes):
    bare = policy(group(rule("127.0.0.1", tls=False)))
    async with gate_for(bare) as world, origin() as server:
        going(server.address[1], "127.0.0.1")
        async with raw(await opened(world)) as client:
            await client.send(said)
            assert await client.exactly(len(said)) == said


@on_loop
async def test_an_empty_line_before_a_request_makes_no_other_protocol_of_it(going: Going, tmp_path: Path):
    async with inspecting(policy(DEV), tmp_path) as world, web_origin(world, "allowed.test", tls=False) as server:
        going(server.port)
        async with raw(await opened(world)) as client:
            assert (await client.ask(b"\r\n" + get("/", f"allowed.test:{server.port}"))).endswith(b"hello")

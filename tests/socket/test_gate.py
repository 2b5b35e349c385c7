"""The gate over real sockets: each refusal, its one event, and that nothing left before it."""

import asyncio
import hashlib
import socket

import pytest

from harness.gates import connect, decision_id, gate_for, request, status
from harness.loops import on_loop, until
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.ports import free_port
from harness.raw import raw
from outward.config.settings import Limits
from outward.core.model import ClientEntry, Credential, DenyDelivery, Lane, LaneChoice, Mode, Place, Stage, Verdict
from outward.core.paths import PathGlob
from outward.core.reasons import Reason

PLACE = Place("policy.yaml", 1)


TOKEN = "correct horse"


TOKENS = (ClientEntry(Credential.TOKEN, PLACE, group="dev", token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest()),)


DEV = group(
    rule("allowed.test", ports=frozenset({80, 443})),
    rule("read.test", methods=frozenset({"GET"}), paths=(PathGlob("/v1/**"),)),
    rule("*.wild.test"),
    deny=(rule("bad.wild.test"),),
)


REFUSED = [
    (connect("evil.test"), 403, Reason.NO_RULE),
    (connect("bad.wild.test"), 403, Reason.DENIED_BY_RULE),
    (connect("allowed.test", 22), 403, Reason.PORT_NOT_ALLOWED),
    (connect("127.0.0.1"), 403, Reason.NO_RULE),
    (connect("127.1"), 400, Reason.MALFORMED_HOST),
    (connect("user:pw@allowed.test"), 400, Reason.MALFORMED_HOST),
    (connect("b\xfccher.test"), 400, Reason.MALFORMED_HOST),
    (request("GET http://allowed.test/ HTTP/1.1", "Host: evil.test"), 403, Reason.HOST_MISMATCH),
    (request("GET http://evil.test/ HTTP/1.1", "Host: evil.test"), 403, Reason.NO_RULE),
    (request("GET http://evil.test/ HTTP/1.1", "Host: allowed.test"), 403, Reason.HOST_MISMATCH),
    (request("POST http://read.test/v1/x HTTP/1.1", "Host: read.test"), 403, Reason.METHOD_NOT_ALLOWED),
    (request("GET http://read.test/v2/x HTTP/1.1", "Host: read.test"), 403, Reason.PATH_NOT_ALLOWED),
    (request("GET /healthz HTTP/1.1", "Host: proxy"), 400, Reason.MALFORMED_REQUEST),
    (request("TRACE http://allowed.test/ HTTP/1.1", "Host: allowed.test"), 400, Reason.MALFORMED_REQUEST),
    (request("connect evil.test:443 HTTP/1.1", "Host: evil.test:443"), 400, Reason.MALFORMED_REQUEST),
    (
        request("GET http://allowed.test/ HTTP/1.1", "Host: allowed.test", "Connection: upgrade", "Upgrade: tcp"),
        403,
        Reason.UPGRADE_NOT_ALLOWED,
    ),
    (b"GET http://allowed.test/\r\n", 400, Reason.MALFORMED_REQUEST),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, Reason.MALFORMED_REQUEST),
    (b"\x05\x01\x00", 400, Reason.MALFORMED_REQUEST),
    (b"\x16\x03\x01\x02\x00\x01", 400, Reason.MALFORMED_REQUEST),
    (b"GET http://allowed.test/ HTTP/1.1\nHost: allowed.test\n\n", 400, Reason.MALFORMED_REQUEST),
    (request("GET http://allowed.test/ HTTP/1.1", *(f"X-{n}: x" for n in range(200))), 431, Reason.TOO_LARGE),
    (b"GET http://allowed.test/" + b"a" * 70_000, 431, Reason.TOO_LARGE),
]


@pytest.mark.parametrize(("sent", "answer", "reason"), REFUSED)
@pytest.mark.parametrize("size", [None, 1])
@on_loop
async def test_a_refusal_is_answered_recorded_once_and_asks_no_name(sent: bytes, answer: int, reason: Reason, size):
    if size and len(sent) > 10_000:
        pytest.skip("the same bytes in fewer segments say as much")
    async with gate_for(policy(DEV)) as world:
        for name in ("evil.test", "allowed.test", "read.test", "bad.wild.test"):
            world.dns.add(name, "A", "127.0.0.1")
        async with raw(world.address) as client:
            reply = await client.ask(sent, size)
            assert status(reply) == answer
            assert f'details="{reason}"'.encode() in reply
        assert [(event.id, event.reason) for event in world.events] == [(decision_id(reply), reason)]
        assert world.events[0].verdict is Verdict.DENY
        assert world.events[0].status == answer
        assert not world.dns.queries
        assert not world.engine.handled


@on_loop
async def test_an_unknown_client_is_challenged_only_where_a_token_would_help():
    async with gate_for(policy(DEV, clients=TOKENS)) as world:
        for fields, answer, reason in (
            ((), 407, Reason.UNKNOWN_CLIENT),
            (("Proxy-Authorization: Bearer wrong",), 407, Reason.BAD_CREDENTIALS),
            (("Proxy-Authorization: Bearer correct horse",), 403, Reason.NO_RULE),
        ):
            async with raw(world.address) as client:
                reply = await client.ask(connect("evil.test", 443, *fields))
            assert status(reply) == answer
            assert world.events[-1].reason is reason
            assert reply.count(b"Proxy-Authenticate: ") == (2 if answer == 407 else 0)
            assert TOKEN.encode() not in reply
    async with gate_for(policy(DEV, clients=())) as world, raw(world.address) as client:
        reply = await client.ask(connect("allowed.test"))
        assert status(reply) == 403
        assert b"Proxy-Authenticate" not in reply


@on_loop
async def test_what_the_name_allows_the_address_may_still_refuse():
    wide = policy(group(rule("*.test")))
    closed = type(wide)(wide.generation, wide.groups, wide.clients)
    async with origin() as server, gate_for(closed) as world:
        world.dns.add("private.test", "A", "127.0.0.1")
        world.dns.add("self.test", "A", "127.0.0.1")
        for name, port, answer, reason in (
            ("private.test", server.address[1], 403, Reason.ADDRESS_NOT_PUBLIC),
            ("self.test", world.address[1], 502, Reason.LOOP),
            ("nowhere.test", 443, 502, Reason.RESOLVE_FAILED),
        ):
            async with raw(world.address) as client:
                reply = await client.ask(connect(name, port))
            assert status(reply) == answer
            assert world.events[-1].reason is reason
            assert world.events[-1].stage is Stage.ADDRESS
            assert world.events[-1].id == decision_id(reply)
        assert len(world.events) == 3
        assert server.accepts == 0


@on_loop
async def test_a_destination_that_is_not_there_is_a_502():
    port = free_port()
    async with gate_for(policy(group(rule("allowed.test")))) as world, raw(world.address) as client:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        reply = await client.ask(connect("allowed.test", port))
        assert status(reply) == 502
        assert [event.reason for event in world.events] == [Reason.UPSTREAM_FAILED]
        assert world.events[0].id == decision_id(reply)


@on_loop
async def test_bytes_behind_a_refused_connect_are_dropped():
    async with gate_for(policy(DEV)) as world, raw(world.address) as client:
        smuggled = request("GET http://allowed.test/ HTTP/1.1", "Host: allowed.test")
        await client.send(connect("evil.test") + smuggled)
        await client.send(smuggled)
        reply = await client.rest()
        assert reply.count(b"HTTP/1.1 ") == 1
        assert status(reply) == 403
        assert len(world.events) == 1
        assert not world.engine.handled


@on_loop
async def test_plain_requests_and_inspected_connects_go_to_the_engine_with_their_bytes():
    async with gate_for(policy(DEV)) as world:
        plain = request("POST http://allowed.test/a?q=1 HTTP/1.1", "Host: allowed.test", "Content-Length: 4")
        async with raw(world.address) as client:
            await client.ask(plain + b"body")
        async with raw(world.address) as client:
            await client.ask(connect("read.test", 443, "Outward-Conversation: c-1") + b"early", 7)
        (head, rest, first), (_, early, second) = world.engine.handled
        assert (head, rest) == (plain, b"body")
        assert (first.event.path, first.event.scheme, first.head.length) == ("/a", "http", 4)
        assert b"early".startswith(early)
        assert second.decision.lane is Lane.INSPECT
        assert second.identity.conversation == "c-1"
        assert not world.events
        await until(lambda: world.gate.connections == 0)


@on_loop
async def test_a_refused_plain_request_is_recorded_as_one_that_was_read():
    """Its host would be tunnelled over TLS; this request was not."""
    async with gate_for(policy(DEV)) as world:
        async with raw(world.address) as client:
            assert status(await client.ask(request("GET http://evil.test/ HTTP/1.1", "Host: evil.test"))) == 403
        assert [event.lane for event in world.events] == [Lane.INSPECT]


@on_loop
async def test_a_group_that_answers_inside_tls_gets_its_refused_connects_there():
    async with gate_for(policy(group(denial=DenyDelivery.INSIDE))) as world:
        async with raw(world.address) as client:
            await client.ask(connect("evil.test"))
        assert [context.decision.reason for _, _, context in world.engine.handled] == [Reason.NO_RULE]
        async with raw(world.address) as client:
            assert status(await client.ask(request("GET http://evil.test/ HTTP/1.0"))) == 403
        assert len(world.events) == 1


@on_loop
async def test_report_mode_lets_through_and_says_so():
    reported = group(mode=Mode.REPORT, lane=LaneChoice.INSPECT)
    async with gate_for(policy(reported)) as world, raw(world.address) as client:
        await client.ask(request("GET http://evil.test/ HTTP/1.1", "Host: evil.test"))
        (_, _, context) = world.engine.handled[0]
        assert (context.event.would_deny, context.event.reason) == (True, Reason.REPORT_ONLY)


@on_loop
async def test_a_slow_head_is_refused_and_a_silent_connection_is_closed():
    hasty = Limits(head_timeout=2.0)
    async with gate_for(policy(DEV), hasty) as world:
        async with raw(world.address) as client:
            reply = await client.ask(b"GET http://allowed.test/ HTTP/1.1\r\nHost:")
            assert status(reply) == 408
            assert [event.reason for event in world.events] == [Reason.TIMEOUT]
        async with raw(world.address) as client:
            assert await client.rest() == b""
        assert len(world.events) == 1
        await until(lambda: world.gate.connections == 0)


@on_loop
async def test_an_exception_in_the_judge_denies_records_and_counts():
    async with gate_for(policy(DEV)) as world, raw(world.address) as client:
        world.judge.decide_connect = None
        reply = await client.ask(connect("allowed.test"))
        assert status(reply) == 500
        assert [(event.reason, event.id) for event in world.events] == [(Reason.INTERNAL_ERROR, decision_id(reply))]
        assert world.judge.metrics.families["errors"].labels("gate").value == 1


@on_loop
async def test_an_exception_in_the_engine_ends_the_connection():
    async with gate_for(policy(DEV)) as world, raw(world.address) as client:
        world.engine.handled = None
        assert await client.ask(request("GET http://allowed.test/ HTTP/1.1", "Host: allowed.test")) == b""
        assert world.judge.metrics.families["errors"].labels("engine").value == 1
        await until(lambda: world.gate.connections == 0)


@on_loop
async def test_a_drain_stops_accepting_and_cuts_what_does_not_finish():
    async with gate_for(policy(DEV)) as world, raw(world.address) as idle, raw(world.address) as busy:
        await busy.send(b"GET http://")
        await until(lambda: world.gate.connections == 2)
        draining = asyncio.ensure_future(world.gate.drain(0.2))
        assert await idle.rest() == b""
        with pytest.raises(OSError, match=r"."):
            async with raw(world.address):
                pass
        await draining
        assert await busy.rest() == b""


@on_loop
async def test_a_drain_keeps_the_addresses():
    """Whoever looks for the proxy's own addresses meanwhile must not stumble over closed sockets."""
    async with gate_for(policy(DEV)) as world, raw(world.address) as busy:
        await busy.send(b"GET http://")
        await until(lambda: world.gate.connections == 1)
        before = world.gate.addresses
        await world.gate.drain(0.05)
        assert await busy.rest() == b""
        assert world.gate.addresses == before


@on_loop
async def test_answers_are_not_held_back_by_nagle():
    async with gate_for(policy(DEV)) as world, raw(world.address):
        await until(lambda: world.gate.connections == 1)
        (client,) = world.gate._clients
        assert client.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

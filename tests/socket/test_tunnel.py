"""The tunnel lane over real sockets: what is judged before a byte passes, and how bytes pass afterwards."""

import ssl

import pytest
import trustme

from harness.gates import connect, gate_for, opened
from harness.hellos import fragmented, server_name
from harness.loops import on_loop, until
from harness.origins import client_context, origin, server_context
from harness.policies import group, policy, rule
from harness.raw import client_hello, raw
from outward.core.model import Ech, Lane, LaneChoice, Stage, Verdict
from outward.core.reasons import Reason
from outward.proxy.tunnel import ESTABLISHED

TUNNEL = LaneChoice.TUNNEL


DEV = policy(group(rule("allowed.test"), rule("*.wild.test"), rule("127.0.0.1"), lane=TUNNEL))


PLAIN = policy(group(rule("allowed.test", tls=False), lane=TUNNEL))


HELLO = client_hello("allowed.test")


ACCESS_DENIED, DECODE_ERROR, UNRECOGNIZED_NAME = 0x31, 0x32, 0x70


def alert(code: int) -> bytes:
    return bytes([0x15, 3, 3, 0, 2, 2, code])


def with_extension(hello: bytes, kind: int, body: bytes = b"") -> bytes:
    """Return a ClientHello record with one more extension, its lengths mended."""
    message = hello[9:]
    at = 34
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at : at + 2])
    at += 1 + message[at]
    extensions = message[at + 2 :] + kind.to_bytes(2) + len(body).to_bytes(2) + body
    message = message[:at] + len(extensions).to_bytes(2) + extensions
    return b"\x16\x03\x01" + (len(message) + 4).to_bytes(2) + b"\x01" + len(message).to_bytes(3) + message


@on_loop
async def test_tls_passes_through_and_a_tunnel_is_one_event_with_its_counts():
    authority = trustme.CA()
    async with (
        gate_for(DEV) as world,
        origin(server_context(authority, "allowed.test")) as server,
        raw(world.address) as client,
    ):
        server.reply = b"pong"
        await opened(world, server, client)
        await client.tls(client_context(authority), "allowed.test")
        await client.send(b"ping")
        assert await client.exactly(4) == b"pong"
        assert not world.events
        client.writer.close()
        await until(lambda: world.events)
        (event,) = world.events
        assert (event.verdict, event.reason, event.lane) == (Verdict.ALLOW, Reason.RULE, Lane.TUNNEL)
        assert (event.sni, event.ech, event.address, event.status) == ("allowed.test", False, "127.0.0.1", 200)
        assert event.bytes_up > 300
        assert event.bytes_down > 500
        assert event.duration_ms > 0
        assert bytes(server.received[0]) == b"ping"
        assert world.judge.metrics.bytes("up", Lane.TUNNEL).value == event.bytes_up
        assert world.judge.metrics.connections(Lane.TUNNEL).value == 0
        await until(lambda: world.gate.connections == 0)


@pytest.mark.parametrize("size", [None, 1, 5, 100])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("records", [None, 50])
@on_loop
async def test_a_hello_in_any_pieces_arrives_as_it_was_sent(size: int | None, early: bool, records: int | None):
    hello = HELLO if records is None else fragmented(HELLO[5:], records)
    async with gate_for(DEV) as world, origin() as server, raw(world.address) as client:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        head = connect("allowed.test", server.address[1])
        if early:
            await client.send(head + hello + b"more", size)
            assert await client.head() == ESTABLISHED
        else:
            await client.send(head)
            assert await client.head() == ESTABLISHED
            await client.send(hello + b"more", size)
        assert await client.exactly(len(hello) + 4) == hello + b"more"
        assert server.bytes == hello + b"more"


REFUSED = [
    ("another name", client_hello("evil.test"), Reason.SNI_MISMATCH, UNRECOGNIZED_NAME),
    ("a name below the target", client_hello("a.allowed.test"), Reason.SNI_MISMATCH, UNRECOGNIZED_NAME),
    ("no name", client_hello(None), Reason.SNI_MISSING, UNRECOGNIZED_NAME),
    (
        "an address as name",
        with_extension(client_hello(None), 0, server_name(b"127.0.0.1")),
        Reason.SNI_MISMATCH,
        UNRECOGNIZED_NAME,
    ),
    (
        "a name that is none",
        with_extension(client_hello(None), 0, server_name(b"a\x00.test")),
        Reason.SNI_MISMATCH,
        0x70,
    ),
    ("two names", with_extension(HELLO, 0, server_name(b"evil.test")), Reason.SNI_MISMATCH, DECODE_ERROR),
    (
        "two names in one extension",
        with_extension(client_hello(None), 0, b"\x00\x0a\x00\x00\x02a.\x00\x00\x02b."),
        Reason.SNI_MISMATCH,
        DECODE_ERROR,
    ),
    ("too large", b"\x16\x03\x01\x40\x00\x01\x01\x00\x00" + bytes(16380), Reason.TOO_LARGE, DECODE_ERROR),
    ("cut short within", b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", Reason.MALFORMED_REQUEST, DECODE_ERROR),
    ("another handshake message", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", Reason.MALFORMED_REQUEST, DECODE_ERROR),
    ("HTTP/2 in the clear", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.NOT_TLS, None),
    ("SSH", b"SSH-2.0-x\r\n", Reason.NOT_TLS, None),
    ("SSL 2", b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", Reason.NOT_TLS, None),
    ("an alert", b"\x15\x03\x01\x00\x02\x02\x00", Reason.NOT_TLS, None),
]


@pytest.mark.parametrize(("sent", "reason", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
@pytest.mark.parametrize("greeting", [b"", b"220 welcome\r\n"])
@on_loop
async def test_a_refusal_after_the_200_sends_no_byte_either_way(
    sent: bytes, reason: Reason, code: int | None, greeting: bytes
):
    async with gate_for(DEV) as world, origin() as server, raw(world.address) as client:
        server.greeting = greeting
        await opened(world, server, client)
        await until(lambda: server.accepts == 1)
        got = await client.ask(sent)
        assert got == (b"" if code is None else alert(code))
        assert [(event.verdict, event.reason, event.stage) for event in world.events] == [
            (Verdict.DENY, reason, Stage.TLS)
        ]
        await until(lambda: server.open == 0)
        assert server.bytes == b""
        await until(lambda: world.gate.connections == 0)
        assert len(world.events) == 1


@pytest.mark.parametrize("name", ["ALLOWED.test", "allowed.test."])
@on_loop
async def test_other_spellings_of_the_same_name_pass(name: str):
    async with gate_for(DEV) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        hello = with_extension(client_hello(None), 0, server_name(name.encode()))
        await client.send(hello)
        assert await client.exactly(len(hello)) == hello


@on_loop
async def test_an_address_that_a_rule_names_needs_no_server_name():
    async with gate_for(DEV) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client, "127.0.0.1")
        await client.send(client_hello(None))
        await until(lambda: server.bytes)


@on_loop
async def test_ech_is_noted_and_refused_only_where_the_group_says_so():
    decoy = with_extension(HELLO, 0xFE0D, b"\x00" * 40)
    async with gate_for(DEV) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        await client.send(decoy)
        assert await client.exactly(len(decoy)) == decoy
        client.writer.close()
        await until(lambda: world.events)
        assert world.events[0].ech is True
    strict = policy(group(rule("allowed.test"), lane=TUNNEL, ech=Ech.REFUSE))
    async with gate_for(strict) as world, origin() as server, raw(world.address) as client:
        await opened(world, server, client)
        assert await client.ask(decoy) == alert(ACCESS_DENIED)
        assert world.events[0].reason is Reason.ECH_REFUSED
        assert server.bytes == b""


@on_loop
async def test_a_rule_may_say_that_a_tunnel_carries_something_else():
    async with gate_for(PLAIN) as world, origin() as server, raw(world.address) as client:
        server.greeting = b"220 ready\r\n"
        await opened(world, server, client)
        assert await client.exactly(11) == b"220 ready\r\n"
        await client.send(b"EHLO x\r\n")
        assert await client.exactly(8) == b"EHLO x\r\n"


@on_loop
async def test_what_the_server_says_first_waits_for_the_hello_and_is_not_lost():
    async with gate_for(DEV) as world, origin() as server, raw(world.address) as client:
        server.greeting = b"first words"
        await opened(world, server, client)
        await until(lambda: server.accepts == 1)
        await client.send(HELLO[:100])
        (held,) = world.gate._clients
        await until(lambda: len(held.transport.get_protocol()._hello.data) == 100)
        with pytest.raises(TimeoutError):
            await client.exactly(1, 0.1)
        await client.send(HELLO[100:])
        assert await client.exactly(11 + len(HELLO)) == b"first words" + HELLO


@on_loop
async def test_certificates_are_the_clients_own_matter():
    authority = trustme.CA()
    async with (
        gate_for(DEV) as world,
        origin(server_context(authority, "other.test")) as server,
        raw(world.address) as client,
    ):
        await opened(world, server, client)
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.tls(client_context(authority), "allowed.test")

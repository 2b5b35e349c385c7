"""Dialling on real sockets: the address judged is the address dialled, and nothing else is."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from harness.dialing import LOOPBACK, Origin, dialer, open_streams, origin, refused
from harness.dns_stub import dns_stub
from harness.loops import on_loop, until
from outward.core.addresses import Own
from outward.core.model import Decision
from outward.core.names import canonical_host
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.proxy.dial import Dialer, DialError
from outward.proxy.happy_eyeballs import ordered
from outward.proxy.local_addresses import own_addresses


@contextlib.contextmanager
def black_hole(address: str, port: int = 0) -> Iterator[int]:
    """An address and port where connection attempts get no answer: a listener whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def observed(subject: Dialer, histogram: str) -> float:
    return getattr(subject._judge.metrics, histogram).cumulative()[0][-1][1]


@on_loop
async def test_what_is_dialled_is_the_address_that_was_judged():
    async with origin() as there:
        subject = dialer({"a.test": ["127.0.0.5"]})
        transport, _, address = await subject.connect(
            canonical_host("a.test"), there.port, asyncio.Protocol, Decision()
        )
        await until(lambda: there.accepted)
        assert (str(address), there.accepted) == ("127.0.0.5", ["127.0.0.5"])
        assert transport.get_extra_info("peername") == ("127.0.0.5", there.port)
        transport.abort()
        assert observed(subject, "dial_duration") == 1
        assert observed(subject, "resolve_duration") == 1


@on_loop
async def test_a_transport_with_another_peer_than_was_judged_is_aborted():
    async with origin() as there:
        subject = dialer({"a.test": ["127.0.0.5"]})
        transport, _, _ = await subject.connect(canonical_host("a.test"), there.port, asyncio.Protocol, Decision())
        with pytest.raises(DialError) as caught:
            subject._check_peer(transport, ip_address("127.0.0.6"))
        assert caught.value.reason is Reason.INTERNAL_ERROR
        assert transport.is_closing()


@on_loop
async def test_of_a_mixed_answer_only_permitted_addresses_are_dialled():
    async with origin() as there:
        subject = dialer({"a.test": ["10.0.0.1", "169.254.169.254", "127.0.0.3", "::ffff:10.0.0.1"]})
        host = canonical_host("a.test")
        assert await subject.addresses(host, there.port, Decision()) == [ip_address("127.0.0.3")]
        transport, _, address = await subject.connect(host, there.port, asyncio.Protocol, Decision())
        assert str(address) == "127.0.0.3"
        transport.abort()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1",
        "::1", "::", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1", "2001:0:7f00:1::1",
    ],
)  # fmt: skip
@on_loop
async def test_a_name_for_a_special_address_is_refused_without_a_packet(address: str):
    subject = dialer({"a.test": [address]}, internal=())
    error = await refused(subject, canonical_host("a.test"), 443)
    assert error.reason is Reason.ADDRESS_NOT_PUBLIC
    assert error.address == ip_address(address)
    assert observed(subject, "dial_duration") == 0


@on_loop
async def test_an_alias_into_private_space_is_refused():
    async with dns_stub() as stub:
        stub.add("www.example.test", "CNAME", "inside.example.net.")
        stub.add("inside.example.net", "A", "10.0.0.7")
        error = await refused(dialer(servers=(stub.address,)), canonical_host("www.example.test"), 443)
        assert error.reason is Reason.ADDRESS_NOT_PUBLIC


@on_loop
async def test_a_name_that_turns_to_loopback_is_refused_from_then_on():
    async with dns_stub() as stub:
        host = canonical_host("turn.example.test")
        stub.add(host.name, "A", "192.0.2.1", ttl=0)
        subject = dialer(servers=(stub.address,), internal=())
        assert [str(each) for each in await subject.addresses(host, 443, Decision())] == ["192.0.2.1"]
        stub.add(host.name, "A", "127.0.0.1", ttl=0)
        assert (await refused(subject, host, 443)).reason is Reason.ADDRESS_NOT_PUBLIC


@on_loop
async def test_an_address_that_is_kept_is_judged_again_by_the_policy_of_the_moment():
    async with origin() as there:
        subject = dialer({"a.test": ["127.0.0.1"]})
        assert await subject.addresses(canonical_host("a.test"), there.port, Decision())
        subject._judge.policy = Policy()
        assert (await refused(subject, canonical_host("a.test"), there.port)).reason is Reason.ADDRESS_NOT_PUBLIC
        assert there.accepted == []


@pytest.mark.parametrize("text", ["127.0.0.1", "[::1]", "10.0.0.1", "[64:ff9b::10.0.0.1]", "169.254.169.254"])
@on_loop
async def test_literals_are_judged_without_a_query(text: str):
    async with dns_stub() as stub:
        error = await refused(dialer(servers=(stub.address,), internal=()), canonical_host(text), 443)
        assert error.reason is Reason.ADDRESS_NOT_PUBLIC
        assert stub.queries == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.2", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
@pytest.mark.parametrize("listening", ["0.0.0.0", "::"])
@on_loop
async def test_the_proxy_never_dials_itself_however_it_is_spelled(address: str, listening: str):
    own = Own(listeners=frozenset({(ip_address(listening), 8080)}))
    everything = ("0.0.0.0/0", "::/0", *LOOPBACK)
    error = await refused(dialer({"me.test": [address]}, own=own, internal=everything), canonical_host("me.test"), 8080)
    assert error.reason is Reason.LOOP


@on_loop
async def test_where_one_address_is_ours_the_refusal_says_loop():
    own = Own(addresses=frozenset({ip_address("192.0.2.200")}))
    subject = dialer({"me.test": ["10.0.0.1", "192.0.2.200"]}, own=own)
    error = await refused(subject, canonical_host("me.test"), 443)
    assert (error.reason, str(error.address)) == (Reason.LOOP, "192.0.2.200")


@on_loop
async def test_addresses_of_this_machine_are_a_loop_on_any_port():
    own = Own(addresses=own_addresses() | {ip_address("192.0.2.200")})
    for address in own.addresses:
        subject = dialer({"me.test": [str(address)]}, own=own, internal=("0.0.0.0/0", "::/0"))
        assert (await refused(subject, canonical_host("me.test"), 22)).reason is Reason.LOOP


def test_own_addresses_are_those_by_which_this_machine_can_be_reached():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no IPv4 route")
        assert ip_address(sock.getsockname()[0]) in own_addresses()
    assert not any(address.is_loopback for address in own_addresses())


@on_loop
async def test_a_black_hole_costs_a_quarter_of_a_second_and_not_the_connection():
    with black_hole("127.0.0.2") as port:
        server = await asyncio.start_server(Origin().serve, "127.0.0.3", port)
        subject = dialer({"a.test": ["127.0.0.2", "127.0.0.3"]}, connect_timeout=60.0)
        started = asyncio.get_running_loop().time()
        transport, _, address = await subject.connect(canonical_host("a.test"), port, asyncio.Protocol, Decision())
        assert str(address) == "127.0.0.3"
        assert asyncio.get_running_loop().time() - started < 30
        transport.abort()
        server.close()


@on_loop
async def test_an_address_that_refuses_is_passed_over_at_once():
    async with origin("127.0.0.3") as there:
        subject = dialer({"a.test": ["127.0.0.2", "::1", "127.0.0.3"]})
        transport, _, address = await subject.connect(
            canonical_host("a.test"), there.port, asyncio.Protocol, Decision()
        )
        assert str(address) == "127.0.0.3"
        transport.abort()


@pytest.mark.parametrize("addresses", [["127.0.0.2"], ["127.0.0.2", "127.0.0.2"]])
@on_loop
async def test_a_destination_that_never_accepts_is_a_timeout(addresses: list[str]):
    with black_hole("127.0.0.2") as port:
        subject = dialer({"a.test": addresses}, connect_timeout=0.3)
        assert (await refused(subject, canonical_host("a.test"), port)).reason is Reason.TIMEOUT


@pytest.mark.parametrize("addresses", [["127.0.0.2"], ["127.0.0.2", "127.0.0.4"]])
@on_loop
async def test_a_destination_that_refuses_is_an_upstream_failure(addresses: list[str]):
    async with origin("127.0.0.3") as there:
        subject = dialer({"a.test": addresses})
        assert (await refused(subject, canonical_host("a.test"), there.port)).reason is Reason.UPSTREAM_FAILED


@on_loop
async def test_a_name_that_does_not_resolve_is_said_so():
    async with dns_stub() as stub:
        error = await refused(dialer(servers=(stub.address,)), canonical_host("no.example.test"), 443)
        assert error.reason is Reason.RESOLVE_FAILED


@on_loop
async def test_a_cancelled_dial_leaves_no_socket_behind():
    with black_hole("127.0.0.2") as port:
        subject = dialer({"a.test": ["127.0.0.2", "127.0.0.2"]})
        before = _sockets()
        task = asyncio.create_task(subject.connect(canonical_host("a.test"), port, asyncio.Protocol, Decision()))
        await until(lambda: _sockets() - before)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not _sockets() - before)  # others may have closed meanwhile


def _sockets() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(path.readlink()))
    return {each for each in found if each.startswith("socket:")}


def test_families_alternate_and_attempts_are_bounded():
    four = [ip_address(f"192.0.2.{n}") for n in range(1, 9)]
    six = [ip_address(f"2001:db8::{n}") for n in range(1, 3)]
    assert ordered([*four, *six], ipv6_first=True) == [six[0], four[0], six[1], four[1], four[2], four[3]]
    assert ordered([*six, *four[:1]], ipv6_first=False) == [four[0], six[0], six[1]]


@on_loop
async def test_streams_carry_bytes_both_ways():
    async with origin() as there:
        there.answer = b"hello"
        reader, writer, address = await open_streams(dialer({"a.test": ["127.0.0.1"]}), "a.test", there.port)
        writer.write(b"GET\r\n\r\n")
        assert await reader.readexactly(5) == b"hello"
        assert str(address) == "127.0.0.1"
        writer.close()

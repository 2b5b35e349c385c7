"""The resolver against a real name server on loopback, well-behaved and otherwise."""

import asyncio
from collections.abc import Callable

import dns.rcode
import pytest

from harness.dns_stub import dns_stub
from harness.loops import on_loop
from harness.resolving import Clock, made, refused, texts
from outward.core.reasons import Reason
from outward.dns import resolver
from outward.dns.resolver import Resolver


@on_loop
async def test_a_truncated_answer_is_asked_again_over_tcp_and_five_hundred_addresses_are_cut():
    async with dns_stub() as stub:
        stub.add("many.example.test", "A", *(f"192.0.{n // 250}.{n % 250 + 1}" for n in range(500)))
        stub.truncated.add("many.example.test")
        addresses = await made(stub).resolve("many.example.test")
        assert len(addresses) == resolver.KEEP_PER_FAMILY
        assert ("A", "tcp") in stub.asked("many.example.test")


@pytest.mark.parametrize(
    "mangle",
    [lambda framed: framed[:10], lambda framed: b"\x4e\x20" + framed[2:].ljust(20_000, b"\0"), lambda _: b""],
    ids=["cut short", "longer than anyone needs", "nothing"],
)
@on_loop
async def test_a_broken_answer_over_tcp_is_a_failure(mangle: Callable[[bytes], bytes]):
    async with dns_stub() as stub:
        stub.add("many.example.test", "A", "192.0.2.1")
        stub.truncated.add("many.example.test")
        stub.mangle_stream = mangle
        assert await refused(made(stub), "many.example.test") is Reason.RESOLVE_FAILED


def _other_id(wire: bytes) -> bytes:
    return bytes((wire[0] ^ 1,)) + wire[1:]


@pytest.mark.parametrize(
    "forged",
    [
        _other_id,
        lambda wire: wire.replace(b"\x04bank", b"\x04evil"),
        lambda wire: bytes((*wire[:2], wire[2] & 0x7F, *wire[3:])),
        lambda wire: wire[:-3],
        lambda _: b"",
        lambda wire: wire[:4] + b"\0\0" + wire[6:],
    ],
    ids=["another id", "another question", "a question", "cut short", "empty", "no question"],
)
@on_loop
async def test_what_is_not_the_answer_is_ignored_until_the_answer_comes(forged: Callable[[bytes], bytes]):
    async with dns_stub() as stub:
        stub.add("bank.example.test", "A", "192.0.2.1")
        stub.mangle = lambda wire: [forged(wire).replace(b"\xc0\x00\x02\x01", b"\x7f\x00\x00\x01"), wire]
        assert texts(await made(stub).resolve("bank.example.test")) == ["192.0.2.1"]


@on_loop
async def test_forged_answers_alone_are_a_timeout():
    async with dns_stub() as stub:
        stub.add("bank.example.test", "A", "192.0.2.1")
        stub.mangle = lambda wire: [_other_id(wire)]
        assert await refused(made(stub), "bank.example.test") is Reason.TIMEOUT


@on_loop
async def test_ids_and_source_ports_are_fresh_for_each_look_up():
    seen = set()
    async with dns_stub() as stub:
        received = stub.datagram_received
        stub.add("a.example.test", "A", "192.0.2.1", ttl=0)
        stub.datagram_received = lambda data, addr: (seen.add((data[:2], addr[1])), received(data, addr))
        subject = made(stub)
        for _ in range(8):
            await subject.resolve("a.example.test")
    assert len({ident for ident, _ in seen}) > 12
    assert len({port for _, port in seen}) > 4


@on_loop
async def test_a_lost_datagram_is_sent_again_and_a_dead_server_is_passed_over():
    async with dns_stub() as dead, dns_stub() as lossy:
        dead.silent["a.example.test"] = float("inf")
        lossy.silent["a.example.test"] = 2  # both questions of the first try
        lossy.add("a.example.test", "A", "192.0.2.1")
        assert texts(await made(dead, lossy, patience=0.1).resolve("a.example.test")) == ["192.0.2.1"]


@on_loop
async def test_silence_is_a_timeout_within_the_deadline():
    async with dns_stub() as stub:
        stub.silent["a.example.test"] = float("inf")
        started = asyncio.get_running_loop().time()
        assert await refused(made(stub, timeout=0.3, patience=10), "a.example.test") is Reason.TIMEOUT
        assert asyncio.get_running_loop().time() - started < 9


@on_loop
async def test_one_family_does_not_wait_long_for_the_other():
    async with dns_stub() as stub:
        stub.silent_kinds.add(("a.example.test", "AAAA"))
        stub.add("a.example.test", "A", "192.0.2.1")
        started = asyncio.get_running_loop().time()
        assert texts(await made(stub, patience=10).resolve("a.example.test")) == ["192.0.2.1"]
        assert asyncio.get_running_loop().time() - started < 9


@on_loop
async def test_servfail_goes_to_the_next_listed_server_and_nowhere_else():
    async with dns_stub() as failing, dns_stub() as good, dns_stub() as unlisted:
        for stub in (failing, good):
            stub.add("a.example.test", "A", "192.0.2.1")
        failing.rcodes["a.example.test"] = dns.rcode.SERVFAIL
        failing._records.clear()
        assert texts(await made(failing, good).resolve("a.example.test")) == ["192.0.2.1"]
        assert await refused(made(failing), "a.example.test") is Reason.RESOLVE_FAILED
        assert unlisted.queries == []


@on_loop
async def test_a_name_that_does_not_exist_is_final_and_remembered_for_a_moment():
    clock = Clock()
    async with dns_stub() as stub, dns_stub() as second:
        stub.rcodes["no.example.test"] = dns.rcode.NXDOMAIN
        subject = made(stub, second, clock=clock)
        assert await refused(subject, "no.example.test") is Reason.RESOLVE_FAILED
        assert await refused(subject, "no.example.test") is Reason.RESOLVE_FAILED
        assert (len(stub.queries), second.queries) == (2, [])
        clock.now = resolver.ABSENT_TTL
        await refused(subject, "no.example.test")
        assert len(stub.queries) == 4


@on_loop
async def test_a_server_that_refuses_connections_is_passed_over():
    async with dns_stub() as gone:
        closed = gone.address
    async with dns_stub() as stub:
        stub.add("a.example.test", "A", "192.0.2.1")
        subject = Resolver((closed, stub.address), {}, 3.0)
        assert texts(await subject.resolve("a.example.test")) == ["192.0.2.1"]


@on_loop
async def test_aliases_are_followed_within_the_answer_and_the_least_ttl_counts():
    clock = Clock()
    async with dns_stub() as stub:
        stub.add("www.example.test", "CNAME", "edge.example.net.", ttl=10)
        stub.add("edge.example.net", "A", "10.0.0.7", ttl=300)
        subject = made(stub, clock=clock)
        assert texts(await subject.resolve("www.example.test")) == ["10.0.0.7"]
        clock.now = 10
        await subject.resolve("www.example.test")
        assert len(stub.queries) == 4


@pytest.mark.parametrize("length", [9, 15])
@on_loop
async def test_a_chain_of_aliases_that_is_too_long_has_no_addresses(length: int):
    async with dns_stub() as stub:
        for n in range(length):
            stub.add(f"n{n}.example.test", "CNAME", f"n{n + 1}.example.test.")
        stub.add(f"n{length}.example.test", "A", "192.0.2.1")
        assert await refused(made(stub), "n0.example.test") is Reason.RESOLVE_FAILED
        assert texts(await made(stub).resolve(f"n{length - 8}.example.test")) == ["192.0.2.1"]


@on_loop
async def test_addresses_that_are_not_on_the_chain_are_ignored():
    async with dns_stub() as stub:
        stub.add("www.example.test", "A", "192.0.2.1")
        other = b"\x03www\x07example\x04tesu\0"
        stub.mangle = lambda wire: [
            wire[:7] + b"\2" + wire[8:] + other + b"\0\1\0\1\0\0\1\0\0\4\x7f\0\0\1" if wire[7] == 1 else wire
        ]
        assert texts(await made(stub).resolve("www.example.test")) == ["192.0.2.1"]


@on_loop
async def test_a_loop_of_aliases_ends():
    async with dns_stub() as stub:
        stub.add("a.example.test", "CNAME", "b.example.test.")
        stub.add("b.example.test", "CNAME", "a.example.test.")
        assert await refused(made(stub), "a.example.test") is Reason.RESOLVE_FAILED


@on_loop
async def test_a_name_server_over_ipv6_is_asked():
    async with dns_stub("::1") as stub:
        stub.add("a.example.test", "A", "192.0.2.1")
        assert texts(await made(stub).resolve("a.example.test")) == ["192.0.2.1"]

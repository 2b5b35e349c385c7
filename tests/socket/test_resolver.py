"""The resolver against a real name server on loopback, well-behaved and otherwise."""

import asyncio
import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import dns.rcode
import pytest

from harness.dns_stub import DnsStub, dns_stub
from harness.loops import on_loop, until
from outward.core.reasons import Reason
from outward.proxy import nameservers, resolver
from outward.proxy.nameservers import Nameservers
from outward.proxy.resolver import ResolveError, Resolver


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def made(*stubs: DnsStub, timeout: float = 3.0, patience: float = 0.2, clock: Callable[[], float] | None = None):
    """A resolver that asks the stubs, each try `patience` seconds long."""
    servers = tuple(stub.address for stub in stubs)
    subject = Resolver(servers, {}, timeout, clock or Clock())
    subject._nameservers = Nameservers(servers, timeout=patience, attempts=2)
    return subject


async def refused(subject: Resolver, name: str) -> Reason:
    with pytest.raises(ResolveError) as caught:
        await subject.resolve(name)
    return caught.value.reason


def texts(addresses: object) -> list[str]:
    return sorted(str(each) for each in addresses)  # the stub's library shuffles


@on_loop
async def test_both_families_are_asked_at_once_and_the_answer_is_kept_for_its_ttl():
    clock = Clock()
    async with dns_stub() as stub:
        stub.add("www.example.test", "A", "192.0.2.1", "192.0.2.2", ttl=60)
        stub.add("www.example.test", "AAAA", "2001:db8::1", ttl=90)
        subject = made(stub, clock=clock)
        for _ in range(3):
            assert texts(await subject.resolve("www.example.test")) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        assert sorted(stub.asked("www.example.test")) == [("A", "udp"), ("AAAA", "udp")]
        clock.now = 60.0
        await subject.resolve("www.example.test")
        assert len(stub.queries) == 4


@on_loop
async def test_an_answer_with_ttl_zero_is_asked_again_every_time():
    async with dns_stub() as stub:
        subject = made(stub)
        stub.add("turn.example.test", "A", "192.0.2.1", ttl=0)
        assert texts(await subject.resolve("turn.example.test")) == ["192.0.2.1"]
        stub.add("turn.example.test", "A", "127.0.0.1", ttl=0)
        assert texts(await subject.resolve("turn.example.test")) == ["127.0.0.1"]


@pytest.mark.parametrize(("ttl", "kept"), [(1, resolver.MIN_TTL), (10**9, resolver.MAX_TTL), (2**32 - 1, 0.0)])
@on_loop
async def test_ttls_are_held_within_bounds(ttl: int, kept: float):
    clock = Clock()
    async with dns_stub() as stub:
        stub.mangle = lambda wire: [wire.replace((77).to_bytes(4), ttl.to_bytes(4))]
        stub.add("a.example.test", "A", "192.0.2.1", ttl=77)
        subject = made(stub, clock=clock)
        await subject.resolve("a.example.test")
        if kept:
            clock.now = kept - 0.001
            await subject.resolve("a.example.test")
            assert len(stub.queries) == 2
        clock.now = kept
        await subject.resolve("a.example.test")
        assert len(stub.queries) == 4


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
        assert asyncio.get_running_loop().time() - started < 2


@on_loop
async def test_one_family_does_not_wait_long_for_the_other():
    async with dns_stub() as stub:
        stub.silent_kinds.add(("a.example.test", "AAAA"))
        stub.add("a.example.test", "A", "192.0.2.1")
        started = asyncio.get_running_loop().time()
        assert texts(await made(stub, patience=10).resolve("a.example.test")) == ["192.0.2.1"]
        assert asyncio.get_running_loop().time() - started < 1


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
async def test_one_name_is_asked_once_for_all_who_wait_and_survives_one_who_leaves():
    async with dns_stub() as stub:
        stub.silent["a.example.test"] = 2
        stub.add("a.example.test", "A", "192.0.2.1")
        subject = made(stub)
        waiting = [asyncio.create_task(subject.resolve("a.example.test")) for _ in range(50)]
        await until(lambda: len(stub.queries) == 2)
        waiting[0].cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert all(texts(each) == ["192.0.2.1"] for each in outcomes[1:])
        assert len(stub.queries) == 4
        assert not subject._in_flight


@on_loop
async def test_the_cache_and_the_names_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resolver, "CACHE_NAMES", 3)
    monkeypatch.setattr(resolver, "IN_FLIGHT", 2)
    async with dns_stub() as stub:
        subject = made(stub)
        for n in range(9):
            stub.add(f"n{n}.example.test", "A", "192.0.2.1")
            await subject.resolve(f"n{n}.example.test")
        assert list(subject._cache) == ["n6.example.test", "n7.example.test", "n8.example.test"]
        stub.silent.update({f"s{n}.example.test": float("inf") for n in range(2)})
        waiting = [asyncio.create_task(refused(subject, f"s{n}.example.test")) for n in range(2)]
        await until(lambda: len(subject._in_flight) == 2)
        assert await refused(subject, "one.example.test") is Reason.OVERLOADED
        assert await asyncio.gather(*waiting) == [Reason.TIMEOUT, Reason.TIMEOUT]


@on_loop
async def test_configured_hosts_and_local_names_are_answered_without_a_query():
    async with dns_stub() as stub:
        subject = Resolver((stub.address,), {"pinned.example.test": [ip_address("192.0.2.9")]}, 1.0)
        assert texts(await subject.resolve("pinned.example.test")) == ["192.0.2.9"]
        for name in ("localhost", "a.localhost", "localhost.localdomain", "ip6-localhost"):
            assert texts(await subject.resolve(name)) == ["127.0.0.1", "::1"]
        assert stub.queries == []


@on_loop
async def test_without_servers_the_machines_own_files_are_read_and_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    hosts, conf = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("192.0.2.5 Own.example.test. alias # comment\nnonsense\n192.0.2.6 own.example.test\n")
    conf.write_text("search example.org\nnameserver 192.0.2.53\nnameserver bad\noptions ndots:9 timeout:3 attempts:4\n")
    monkeypatch.setattr(resolver, "HOSTS", hosts)
    monkeypatch.setattr(resolver, "RESOLV_CONF", conf)
    monkeypatch.setattr(nameservers, "CHECK_EVERY", 0.0)
    subject = Resolver((), {}, 1.0)
    assert texts(await subject.resolve("own.example.test")) == ["192.0.2.5", "192.0.2.6"]
    assert texts(await subject.resolve("alias")) == ["192.0.2.5"]
    assert list(subject._tries()) == [(("192.0.2.53", 53), 3.0)] * 4
    hosts.write_text("192.0.2.77 own.example.test\n")
    os.utime(hosts, ns=(1, 1))
    assert texts(await subject.resolve("own.example.test")) == ["192.0.2.77"]
    conf.unlink()
    assert list(subject._tries()) == [(("127.0.0.1", 53), 2.0)] * 2


def test_options_of_resolv_conf_stay_within_bounds():
    parsed = nameservers.parse_resolv_conf("nameserver ::1\n" * 9 + "options timeout:900 attempts:0")
    assert parsed == Nameservers((("::1", 53),) * 3, timeout=5.0, attempts=1)


def test_a_server_must_be_given_by_its_address():
    with pytest.raises(ValueError, match="not appear to be an IPv4 or IPv6 address"):
        Resolver((("dns.example", 53),), {}, 1.0)


@on_loop
async def test_a_name_server_over_ipv6_is_asked():
    async with dns_stub("::1") as stub:
        stub.add("a.example.test", "A", "192.0.2.1")
        assert texts(await made(stub).resolve("a.example.test")) == ["192.0.2.1"]

"""What the resolver remembers, shares and knows without asking."""

import asyncio
import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from harness.dns_stub import dns_stub
from harness.loops import on_loop, until
from harness.resolving import Clock, made, refused, texts
from outward.core.reasons import Reason
from outward.dns import nameservers, resolver
from outward.dns.nameservers import Nameservers
from outward.dns.resolver import Resolver


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

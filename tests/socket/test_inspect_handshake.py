"""The inspect lane judges the ClientHello: what it refuses, in which words, and what it takes."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from harness.gates import LIMITS, connect, status
from harness.hellos import extension, hello, record, server_name
from harness.inspection import get, inspecting, one, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import client_hello, raw
from outward.core.model import DenyDelivery, Ech, LaneChoice, Stage
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.proxy import deadlines


def allowing(**settings: object) -> Policy:
    return policy(group(rule("allowed.test"), rule("other.test"), lane=LaneChoice.INSPECT, **settings))


@pytest.mark.parametrize("sni", ["other.test", "evil.test"])
@on_loop
async def test_another_server_name_is_refused_inside_tls_where_the_client_can_read_it(sni: str, tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test", "other.test") as server:
        async with world.tunnel("allowed.test", server.port, sni=sni) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        one(world, Reason.SNI_MISMATCH, reply)
        assert server.accepts == 0


@on_loop
async def test_a_mismatch_is_recorded_even_where_no_request_follows(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world:
        async with world.tunnel("allowed.test", 443, sni="other.test"):
            pass
        await until(lambda: world.events)
        one(world, Reason.SNI_MISMATCH)
        assert world.events[0].sni == "other.test"


@on_loop
async def test_a_missing_server_name_is_refused_with_the_alert_for_it(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        anonymous = world.client_tls()
        anonymous.check_hostname = False
        async with raw(world.address) as client:
            await client.send(connect("allowed.test", server.port))
            await client.head()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await client.tls(anonymous, None)
        await until(lambda: world.events)
        one(world, Reason.SNI_MISSING)
        assert server.accepts == 0


@on_loop
async def test_a_client_that_speaks_no_http_is_refused_with_an_alert_and_recorded(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with world.tunnel("allowed.test", server.port, tls=world.client_tls(("spdy/3",))):
                pass
        await until(lambda: world.events)
        one(world, Reason.UPGRADE_NOT_ALLOWED)
        assert world.events[0].detail == "the client offers spdy/3 (ALPN), and neither http/1.1 nor h2"
        assert server.accepts == 0


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [(("h2", "http/1.1"), "http/1.1"), (("http/1.0", "http/1.1"), "http/1.1"), (("http/1.0",), "http/1.0")],
)
@on_loop
async def test_a_client_that_speaks_other_versions_too_gets_the_best_http1(
    offered: tuple[str, ...], spoken: str, tmp_path: Path
) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port, tls=world.client_tls(offered)) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == spoken
        assert status(reply) == 200


@on_loop
async def test_an_old_tls_version_is_refused(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        old = world.client_tls()
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with world.tunnel("allowed.test", server.port, tls=old):
                pass
        assert server.accepts == 0


@pytest.mark.parametrize("size", [1, 3])
@on_loop
async def test_a_hello_in_pieces_is_put_together(size: int, tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, raw(world.address) as client:
        await client.send(connect("allowed.test", 443))
        await client.head()
        await client.send(client_hello("allowed.test"), size)
        assert (await client.exactly(1)) == b"\x16"


@pytest.mark.parametrize("said", [0, 1, 40, 10_000], ids=["nothing", "a byte", "a part", "the hello"])
@pytest.mark.parametrize("whole", [True, False], ids=["closes", "ends its direction"])
@on_loop
async def test_a_client_that_leaves_before_its_handshake_is_done_is_not_kept(
    said: int, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "LINGER", 3600.0)
    limits = replace(LIMITS, handshake_timeout=3600.0, idle_timeout=3600.0)
    async with inspecting(allowing(), tmp_path, limits) as world:
        async with raw(world.address) as client:
            await client.send(connect("allowed.test", 443))
            assert status(await client.head()) == 200
            await client.send(client_hello("allowed.test")[:said])
            client.writer.close() if whole else client.writer.write_eof()
            await until(lambda: not world.gate.connections)
        assert [event.stage for event in world.events] == [Stage.TLS]


@pytest.mark.parametrize(
    "first", [b"GET /\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x00", b"\x00" * 40]
)
@on_loop
async def test_what_is_no_tls_is_refused_at_once(first: bytes, tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with raw(world.address) as client:
            await client.send(connect("allowed.test", server.port))
            await client.head()
            reply = await client.ask(first)
        one(
            world,
            Reason.MALFORMED_REQUEST if first[0] == 0x16 else Reason.NOT_TLS,
            reply if reply[:1] == b"H" else b"",
        )
        assert server.accepts == 0


@on_loop
async def test_bytes_behind_the_connect_head_are_the_hello(tmp_path: Path) -> None:
    async with inspecting(allowing(), tmp_path) as world, raw(world.address) as client:
        await client.send(connect("allowed.test", 443) + client_hello("allowed.test"))
        assert status(await client.head()) == 200
        assert (await client.exactly(1)) == b"\x16"


@on_loop
async def test_ech_is_refused_where_the_group_says_so(tmp_path: Path) -> None:
    sent = record(hello(extension(0, server_name(b"allowed.test")), extension(0xFE0D, b"x")))
    async with inspecting(allowing(ech=Ech.REFUSE), tmp_path) as world, raw(world.address) as client:
        await client.send(connect("allowed.test"))
        await client.head()
        await client.send(sent)
        await client.rest()
        await until(lambda: world.events)
        one(world, Reason.ECH_REFUSED)


@on_loop
async def test_a_blocked_connect_is_answered_inside_tls_where_the_group_says_so(tmp_path: Path) -> None:
    async with inspecting(allowing(denial=DenyDelivery.INSIDE), tmp_path) as world:
        async with world.tunnel("evil.test", 443) as client:
            reply = await client.ask(get("/secret", "evil.test", "Accept: text/html"))
        one(world, Reason.NO_RULE, reply)
        assert b"text/html" in reply
        assert b"secret" not in reply
        assert world.events[0].stage is Stage.CONNECT
        assert world.dns.asked("evil.test") == []


@on_loop
async def test_a_blocked_connect_inside_is_recorded_even_where_nothing_follows(tmp_path: Path) -> None:
    async with inspecting(allowing(denial=DenyDelivery.INSIDE), tmp_path) as world:
        async with raw(world.address) as client:
            await client.send(connect("evil.test"))
            await client.head()
        await until(lambda: world.events)
        one(world, Reason.NO_RULE)

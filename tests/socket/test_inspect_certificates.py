"""Destinations are verified against the CONNECT host, and clients are shown leaves that a verifying client accepts."""

import asyncio
import datetime as dt
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.gates import LIMITS, Recorder, decision_id, status
from harness.inspection import get, inspecting, keep, response, web_origin
from harness.loops import on_loop
from harness.pki import Ca, key_pem, write
from harness.policies import group, policy, rule
from outward.config.settings import Settings
from outward.core.addresses import Own
from outward.core.model import LaneChoice, Stage
from outward.core.reasons import Reason
from outward.dns.resolver import Resolver
from outward.ops.metrics import Metrics
from outward.proxy import engine
from outward.proxy.assembly import Inspection
from outward.proxy.ca import Authority
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge
from outward.proxy.trust import TrustError, load_crls

INSPECT = policy(group(rule("allowed.test"), rule("other.test"), rule("127.0.0.1"), lane=LaneChoice.INSPECT))
Issued = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def serving(folder: Path, issued: Issued) -> ssl.SSLContext:
    certificate, key = issued
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write(folder / "server.pem", pem, key_pem(key)))
    return context


def expired(ca: Ca) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.SubjectAlternativeName([x509.DNSName("allowed.test")])
    return ca.sign(x509.Name([]), key, name, ends=dt.datetime.now(dt.UTC) - dt.timedelta(days=1)), key


@pytest.mark.parametrize(
    "issue",
    [
        expired,
        lambda ca: ca.server("other.test"),
        lambda _ca: Ca("nobody").server("allowed.test"),
        lambda ca: ca.server("*.test"),
        lambda ca: ca.server("a*.allowed.test"),
    ],
    ids=["expired", "another name", "unknown authority", "wildcard over a whole suffix", "partial wildcard"],
)
@on_loop
async def test_a_bad_certificate_is_a_502_and_no_request_byte_is_sent(
    issue: Callable[[Ca], Issued], tmp_path: Path
) -> None:
    ca = Ca("roots")
    async with (
        inspecting(INSPECT, tmp_path, roots=ca.pem) as world,
        web_origin(world, "allowed.test", tls=serving(tmp_path, issue(ca))) as server,
    ):
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        (event,) = world.events
        assert (status(reply), decision_id(reply)) == (502, event.id)
        assert (event.reason, event.stage) == (Reason.UPSTREAM_FAILED, Stage.TLS)
        assert server.seen == []


@pytest.mark.parametrize("revoked", [True, False])
@on_loop
async def test_a_certificate_on_the_operators_list_is_a_502(revoked: bool, tmp_path: Path) -> None:
    ca = Ca("roots")
    issued = ca.server("allowed.test")
    listed = write(tmp_path / "crl.pem", ca.crl(*([issued[0]] if revoked else [])))
    async with (
        inspecting(INSPECT, tmp_path, roots=ca.pem, crls=load_crls([str(listed)])) as world,
        web_origin(world, "allowed.test", tls=serving(tmp_path, issued)) as server,
    ):
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        assert status(reply) == (502 if revoked else 200)
        assert len(server.seen) == (not revoked)


@on_loop
async def test_trust_can_be_replaced_while_running(tmp_path: Path) -> None:
    ca = Ca("new roots")
    async with (
        inspecting(INSPECT, tmp_path) as world,
        web_origin(world, "allowed.test", tls=serving(tmp_path, ca.server("allowed.test"))) as server,
    ):
        for trusted, expected in ((False, 502), (True, 200)):
            if trusted:
                await world.engine.trust(write(tmp_path / "new.pem", ca.pem))
            async with world.tunnel("allowed.test", server.port) as client:
                assert status(await client.ask(get("/", f"allowed.test:{server.port}"))) == expected


@on_loop
async def test_of_two_reloads_of_the_roots_the_last_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the first one takes: what a reload has taken away does not come back."""
    made, second = engine._load, threading.Event()

    def slow_at_first(authority: Authority, roots: Path, crls: tuple[x509.CertificateRevocationList, ...]) -> object:
        if roots.name == "first.pem":
            second.wait(0.3)
        else:
            second.set()
        return made(authority, roots, crls)

    async with inspecting(INSPECT, tmp_path) as world:
        monkeypatch.setattr(engine, "_load", slow_at_first)
        old, new = (write(tmp_path / name, Ca(name).pem) for name in ("first.pem", "second.pem"))
        await asyncio.gather(world.engine.trust(old), world.engine.trust(new))
        assert world.engine._trust[0] == new


@on_loop
async def test_roots_that_cannot_be_used_are_told_and_change_nothing(tmp_path: Path) -> None:
    """Who reads them again shows it: the rotation."""
    settings = Settings(state=tmp_path, trust=(str(write(tmp_path / "roots.pem", Ca("roots").pem)),))
    judge = Judge(INSPECT, Recorder(), Metrics(), Own())
    resolver = Resolver((), {}, 1.0)
    subject = Inspection(settings, judge, Dialer(resolver, judge, settings.limits, None))
    await subject.trust(settings)
    before = subject.engine.contexts
    with pytest.raises(TrustError, match=r"gone\.pem"):
        await subject.trust(replace(settings, trust=(str(tmp_path / "gone.pem"),)))
    assert subject.engine.contexts is before
    subject.engine.close()


@on_loop
async def test_an_origin_that_speaks_no_tls_is_given_up_at_the_handshakes_deadline(tmp_path: Path) -> None:
    limits = replace(LIMITS, handshake_timeout=1.0)
    async with inspecting(INSPECT, tmp_path, limits) as world, web_origin(world, "allowed.test", tls=False) as server:
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        (event,) = world.events
        assert (status(reply), event.reason, event.stage) == (504, Reason.TIMEOUT, Stage.TLS)
        assert event.detail == "TLS with the destination took too long"
        assert server.seen == []


@on_loop
async def test_keys_of_tls_are_never_written_whatever_the_environment_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    async with inspecting(INSPECT, tmp_path) as world:
        monkeypatch.delenv("SSLKEYLOGFILE")  # of the test's own ends, which would write there
        async with (
            web_origin(world, "allowed.test") as server,
            world.tunnel("allowed.test", server.port) as client,
        ):
            assert status(await client.ask(get("/", f"allowed.test:{server.port}"))) == 200
    assert not (tmp_path / "keys.log").exists()


@on_loop
async def test_an_address_is_verified_as_an_address(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "127.0.0.1") as server:
        async with world.tunnel("127.0.0.1", server.port) as client:
            reply = await client.ask(get("/", f"127.0.0.1:{server.port}"))
        assert status(reply) == 200


@on_loop
async def test_a_leaf_is_for_one_host_and_has_a_key_of_its_own(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            await client.send(keep("/", f"allowed.test:{server.port}"))
            assert status(await response(client)) == 200
        leaf = x509.load_der_x509_certificate(der)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["allowed.test"]
        assert leaf.public_key() != world.authority.certificate.public_key()

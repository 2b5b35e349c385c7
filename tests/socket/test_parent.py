"""With a parent proxy every name goes to the parent, with the credentials that are the parent's alone."""

import base64
from ipaddress import ip_address

import pytest

from harness.dialing import dialer, open_streams, origin, refused
from harness.dns_stub import dns_stub
from harness.loops import on_loop, until
from outward.config.no_proxy import direct
from outward.core.addresses import Own
from outward.core.model import Place
from outward.core.names import canonical_host
from outward.core.reasons import Reason
from outward.core.rules import Rules

URL = "http://out%3Award:s%40cret@127.0.0.1:{}"
CREDENTIALS = base64.b64encode(b"out:ward:s@cret")


@on_loop
async def test_the_name_goes_to_the_parent_unresolved_and_credentials_no_further():
    async with origin() as parent, dns_stub() as stub:
        parent.answer = b"HTTP/1.1 200 Connection established\r\n\r\nearly"
        subject = dialer(servers=(stub.address,), parent=URL.format(parent.port))
        reader, writer, address = await open_streams(subject, "www.example.test", 443)
        writer.write(b"inner")
        writer.write_eof()
        assert await reader.readexactly(5) == b"early"
        await until(lambda: len(parent.heard) == 2)
        head, inner = parent.heard
        assert head == (
            b"CONNECT www.example.test:443 HTTP/1.1\r\nHost: www.example.test:443\r\n"
            b"Via: 1.1 " + subject.pseudonym.encode() + b"\r\n"
            b"Proxy-Authorization: Basic " + CREDENTIALS + b"\r\n\r\n"
        )
        assert inner == b"inner"
        assert (address, stub.queries) == (None, [])
        writer.close()


@on_loop
async def test_what_the_parent_is_not_for_is_dialled_here_and_judged_as_ever():
    async with origin() as parent, origin() as site:
        here = ({"a.corp.test": ["127.0.0.1"], "b.corp.test": ["169.254.169.254"]}, URL.format(parent.port))
        subject = dialer(here[0], parent=here[1])
        subject.direct = Rules([direct(".corp.test", Place("", 0))])
        _, writer, address = await open_streams(subject, "a.corp.test", site.port)
        writer.close()
        assert address == ip_address("127.0.0.1")
        error = await refused(subject, canonical_host("b.corp.test"), 443)
        assert (error.reason, parent.accepted) == (Reason.ADDRESS_NOT_PUBLIC, [])
        await refused(subject, canonical_host("corp.test.example.test"), 443)
        assert len(parent.accepted) == 1


@on_loop
async def test_literals_are_still_judged():
    async with origin() as parent:
        subject = dialer(internal=(), parent=URL.format(parent.port))
        error = await refused(subject, canonical_host("169.254.169.254"), 80)
        assert error.reason is Reason.ADDRESS_NOT_PUBLIC
        assert parent.accepted == []


@pytest.mark.parametrize(
    ("answer", "reason", "told"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Reason.PARENT_REFUSED, "answered 407"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", Reason.PARENT_REFUSED, "answered 403"),
        (b"HTTP/1.1 503 No\r\n\r\n", Reason.PARENT_FAILED, "answered 503"),
        (b"SSH-2.0-x\r\n\r\n", Reason.PARENT_FAILED, "answered nothing that is HTTP"),
        (b"", Reason.PARENT_FAILED, "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, Reason.PARENT_FAILED, "its answer is too long"),
    ],
)
@on_loop
async def test_a_parent_that_opens_nothing_is_named_and_the_password_is_not(answer: bytes, reason: Reason, told: str):
    async with origin() as parent:
        parent.answer, parent.closes = answer, True
        subject = dialer(parent=URL.format(parent.port))
        error = await refused(subject, canonical_host("www.example.test"), 443)
        assert error.reason is reason
        assert str(error).startswith(f"the parent proxy 127.0.0.1:{parent.port}: {told}")
        for text in (str(error), repr(error.__cause__), repr(subject.parent)):
            assert "s@cret" not in text
            assert CREDENTIALS.decode() not in text


@on_loop
async def test_a_parent_that_says_nothing_that_is_not_there_or_has_no_address_has_failed():
    async with origin() as parent, dns_stub() as stub:
        subject = dialer(parent=URL.format(parent.port), connect_timeout=1.0)
        silent = await refused(subject, canonical_host("www.example.test"), 443)
        absent = dialer(servers=(stub.address,), parent="http://absent.test:3128")
        nameless = await refused(absent, canonical_host("www.example.test"), 443)
    gone = await refused(subject, canonical_host("www.example.test"), 443)
    assert {error.reason for error in (silent, nameless, gone)} == {Reason.PARENT_FAILED}
    assert str(silent).endswith(": no answer in time")
    assert str(nameless) == "the parent proxy absent.test:3128: its name does not resolve"
    assert str(gone).endswith(": Connection refused")


@on_loop
async def test_the_parent_is_never_this_proxy_itself():
    own = Own(listeners=frozenset({(ip_address("0.0.0.0"), 8080)}))
    for url in ("http://127.0.0.1:8080", "http://me.test:8080"):
        subject = dialer({"me.test": ["127.0.0.3"]}, own=own, parent=url)
        assert (await refused(subject, canonical_host("www.example.test"), 443)).reason is Reason.LOOP


@pytest.mark.parametrize(
    "url",
    [
        "https://p:1",
        "http://",
        "http://p",
        "http://p:0x1",
        "http://p/path",
        "p:3128",
        "http://u:se@cret@[::1",
        "http://p:1?q",
        "http://p:1#f",
    ],
)
def test_an_odd_url_is_refused_and_not_repeated(url: str):
    with pytest.raises(ValueError, match=r"parent|host") as caught:
        dialer(parent=url)
    assert "cret" not in str(caught.value)


def test_addresses_are_read():
    subject = dialer(parent="http://[::1]:3128").parent
    assert subject is not None
    assert (str(subject.host), subject.port, subject.authorization) == ("[::1]", 3128, b"")

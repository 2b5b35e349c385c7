"""With a parent proxy every name goes to the parent, with the credentials that are the parent's alone."""

import base64
from ipaddress import ip_address

import pytest

from harness.dialing import dialer, open_streams, origin, refused
from harness.dns_stub import dns_stub
from harness.loops import on_loop, until
from outward.core.addresses import Own
from outward.core.names import canonical_host
from outward.core.reasons import Reason

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
async def test_literals_are_still_judged():
    async with origin() as parent:
        subject = dialer(internal=(), parent=URL.format(parent.port))
        error = await refused(subject, canonical_host("169.254.169.254"), 80)
        assert error.reason is Reason.ADDRESS_NOT_PUBLIC
        assert parent.accepted == []


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 503 No\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b""],
)
@on_loop
async def test_a_parent_that_refuses_is_an_upstream_failure_that_does_not_tell_the_password(answer: bytes):
    async with origin() as parent:
        parent.answer, parent.closes = answer, True
        subject = dialer(parent=URL.format(parent.port))
        error = await refused(subject, canonical_host("www.example.test"), 443)
        assert error.reason is Reason.UPSTREAM_FAILED
        for text in (str(error), repr(error.__cause__), repr(subject.parent)):
            assert "s@cret" not in text
            assert CREDENTIALS.decode() not in text


@on_loop
async def test_an_endless_answer_is_cut():
    async with origin() as parent:
        parent.answer = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000
        error = await refused(dialer(parent=URL.format(parent.port)), canonical_host("www.example.test"), 443)
        assert error.reason is Reason.UPSTREAM_FAILED


@on_loop
async def test_a_parent_that_says_nothing_is_a_timeout():
    async with origin() as parent:
        subject = dialer(parent=URL.format(parent.port), connect_timeout=0.2)
        assert (await refused(subject, canonical_host("www.example.test"), 443)).reason is Reason.TIMEOUT


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

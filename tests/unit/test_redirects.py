"""Redirects: which host led a client to another one, for a short time, in bounded room."""

import pytest

from outward.core.identity import Identity
from outward.http1.head import ResponseHead
from outward.proxy.redirects import MOST, WITHIN, Redirects

ME, OTHER = Identity(client="10.0.0.1", credential="token:1"), Identity(client="10.0.0.1", credential="token:2")


def moved(location: str) -> ResponseHead:
    return ResponseHead(302, http_10=False, fields=[("location", location)], length=0, until_close=False)


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://CDN.example./x?secret", "cdn.example"),
        ("http://user:secret@cdn.example:8080/", "cdn.example"),
        ("//cdn.example/x", "cdn.example"),
        ("https://[2001:db8::1]/", "2001:db8::1"),
        *(
            (text, None)
            for text in ("/x", "", "https://a.example/y", "https://[", "mailto:x@cdn.example", "https://%/")
        ),
        ("https://cdn.example/" + "x" * 9000, None),
    ],
)
def test_the_host_that_is_named_is_remembered_for_its_client(location: str, host: str | None) -> None:
    """Never a query or a password of the address; another client behind the same address was sent nowhere."""
    subject = Redirects()
    subject.note(ME, "a.example", moved(location), 100.0)
    assert len(subject) == (host is not None)
    if host is not None:
        assert subject.to(ME, host, 100.0 + WITHIN - 1) == "a.example"
        assert subject.to(OTHER, host, 101.0) is None
        assert subject.to(ME, host, 100.0 + WITHIN) is None
        assert len(subject) == 0


def test_an_answer_without_a_client_or_an_address_is_nothing() -> None:
    subject = Redirects()
    subject.note(None, "a.example", moved("https://cdn.example/"), 0.0)
    subject.note(Identity(credential="jwt:" + "x" * 2000), "a.example", moved("https://cdn.example/"), 0.0)
    subject.note(ME, "a.example", ResponseHead(304, http_10=False, fields=[], length=0, until_close=False), 0.0)
    assert len(subject) == 0


def test_the_room_is_bounded_and_the_newest_stay() -> None:
    subject = Redirects()
    for number in range(MOST + 10):
        subject.note(ME, "a.example", moved(f"https://h{number}.example/"), 0.0)
    assert len(subject) == MOST
    assert subject.to(ME, "h9.example", 1.0) is None
    assert subject.to(ME, f"h{MOST + 9}.example", 1.0) == "a.example"

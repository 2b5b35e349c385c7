"""Denials: complete, escaped, silent about what a client must not see again."""

import html
import json
from typing import NamedTuple

import pytest

from outward.core.model import Stage
from outward.core.reasons import MEANINGS, Reason
from outward.proxy.denial import denial
from outward.records.events.values import Event


def event(**facts: object) -> Event:
    return Event(**({"reason": Reason.NO_RULE, "group": "acme", "host": "evil.test", "port": 443} | facts))


class Response(NamedTuple):
    status: int
    reason_phrase: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


def answer(subject: Event, accept: str | None = None, suggestion: str | None = None, **flags: bool) -> Response:
    wire = denial(subject, suggestion, accept, **({"challenge": False, "head": False} | flags))
    head, _, body = wire.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    version, status, phrase = first.split(b" ", 2)
    assert version == b"HTTP/1.1"
    return Response(int(status), phrase.decode(), [tuple(field.split(b": ", 1)) for field in fields], body)


def test_the_default_is_a_problem_with_every_field():
    subject = event()
    response = answer(subject, suggestion="- evil.test")
    headers = dict(response.headers)
    assert (response.status, response.reason_phrase) == (403, "Blocked by egress policy")
    assert headers[b"Proxy-Status"] == b'outward; error=http_request_denied; details="no_rule"'
    assert headers[b"Outward-Decision"] == subject.id.encode()
    assert headers[b"Cache-Control"] == b"no-store"
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert headers[b"Content-Type"] == b"application/problem+json"
    assert headers[b"Connection"] == b"close"
    assert headers[b"Content-Length"] == b"%d" % len(response.body)
    assert json.loads(response.body) == {
        "type": "urn:outward:denial:no_rule",
        "title": "No rule allows this host",
        "status": 403,
        "detail": MEANINGS[Reason.NO_RULE].cure,
        "reason": "no_rule",
        "stage": "connect",
        "group": "acme",
        "host": "evil.test",
        "port": 443,
        "decision_id": subject.id,
        "retryable": False,
        "suggestion": "- evil.test",
    }


@pytest.mark.parametrize("accept", [None, "text/html", "text/plain"])
@pytest.mark.parametrize("reason", [Reason.NO_RULE, Reason.PORT_NOT_ALLOWED])
@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::5"])
def test_where_no_line_is_suggested_none_is_to_be_asked_for(accept: str | None, reason: Reason, host: str) -> None:
    """A rule alone opens no address that is not public."""
    body = answer(event(reason=reason, host=host), accept).body.decode()
    assert "uggested" not in body
    assert "its rule needs `addresses: [" in html.unescape(json.loads(body)["detail"] if accept is None else body)


def test_a_refused_search_is_also_told_as_the_vendors_clients_read_errors() -> None:
    """The clients of the model vendors show `error.message`; other denials carry no such member."""
    body = json.loads(answer(event(stage=Stage.SEARCH)).body)
    assert body["error"]["type"] == "permission_error"
    assert body["error"]["code"] == body["reason"] == "no_rule"
    assert body["error"]["message"].startswith(f"{body['title']} (no_rule)")
    assert "error" not in json.loads(answer(event()).body)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, b"application/problem+json"),
        ("", b"application/problem+json"),
        ("*/*", b"application/problem+json"),
        ("application/json", b"application/problem+json"),
        ("application/vnd.github+json", b"application/problem+json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", b"text/html; charset=utf-8"),
        ("text/plain", b"text/plain; charset=utf-8"),
        ("text/event-stream", b"text/plain; charset=utf-8"),
        ("image/png", b"text/plain; charset=utf-8"),
    ],
)
def test_the_body_follows_accept_and_always_says_reason_and_id(accept: str | None, media: bytes):
    subject = event()
    response = answer(subject, accept)
    assert dict(response.headers)[b"Content-Type"] == media
    assert subject.id.encode() in response.body
    assert b"no_rule" in response.body


@pytest.mark.parametrize("reason", [reason for reason in Reason if MEANINGS[reason].error])
@pytest.mark.parametrize("accept", [None, "text/html", "text/plain"])
def test_every_denial_says_its_own_id_and_length_the_second_time_too(reason: Reason, accept: str | None):
    """What is the same for all denials of a reason is made once."""
    for _ in range(2):
        subject = event(reason=reason, stage=Stage.REQUEST)
        response = answer(subject, accept, challenge=True)
        assert dict(response.headers)[b"Outward-Decision"] == subject.id.encode()
        assert dict(response.headers)[b"Content-Length"] == b"%d" % len(response.body)


def test_a_head_request_gets_the_length_and_no_body():
    subject = event()
    full, bare = answer(subject), answer(subject, head=True)
    assert (bare.body, bare.headers) == (b"", full.headers)


def test_credentials_are_asked_for_only_where_they_would_help():
    for reason, challenge, status in (
        (Reason.UNKNOWN_CLIENT, True, 407),
        (Reason.BAD_CREDENTIALS, True, 407),
        (Reason.UNKNOWN_CLIENT, False, 403),
        (Reason.NO_RULE, True, 403),
    ):
        response = answer(event(reason=reason), challenge=challenge)
        schemes = [value.split()[0] for name, value in response.headers if name == b"Proxy-Authenticate"]
        assert response.status == status
        assert schemes == ([b"Basic", b"Bearer"] if status == 407 else [])


def test_a_status_that_the_event_has_is_kept_and_overload_says_when_to_come_back():
    assert answer(event(reason=Reason.TOO_LARGE, status=431)).status == 431
    assert dict(answer(event(reason=Reason.OVERLOADED)).headers)[b"Retry-After"] == b"5"


@pytest.mark.parametrize("accept", [None, "text/html", "text/plain"])
def test_nothing_of_the_event_but_host_port_and_group_is_said(accept: str | None):
    subject = event(path="/secret", user_agent="agent<x>", conversation="c-1", client="10.0.0.1", sni="sni.test")
    body = answer(subject, accept).body
    for text in (b"/secret", b"agent", b"c-1", b"10.0.0.1", b"sni.test"):
        assert text not in body


def test_markup_is_escaped_wherever_it_is_echoed():
    subject = event(group="<script>alert(1)</script>&")
    for accept in (None, "text/html"):
        assert b"<script>" not in answer(subject, accept).body
    assert json.loads(answer(subject).body)["group"] == subject.group

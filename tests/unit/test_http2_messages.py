"""Heads of HTTP/2 messages: what is read, what is refused, and what they are in the form of HTTP/1."""

import pytest

from outward.config.settings import Limits
from outward.core.names import Host
from outward.core.reasons import Reason
from outward.http1.fields import HeadError
from outward.http1.head import Within, parse_head, parse_response_head
from outward.http2.grpc import refusal
from outward.http2.messages import Pairs, request_fields, request_head, response_fields, response_head, trailers

LIMITS = Limits()
WITHIN = Within(Host("a.test"), 443)
BEGIN = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/x?y")]


def without(name: bytes) -> Pairs:
    return [field for field in BEGIN if field[0] != name]


def instead(name: bytes, value: bytes) -> Pairs:
    return [(each, value if each == name else old) for each, old in BEGIN]


def test_a_request_goes_through_the_form_of_http1_and_back() -> None:
    fields = [*BEGIN, (b"te", b"trailers"), (b"cookie", b"a=1"), (b"x-a", b""), (b"cookie", b"b=2")]
    raw = request_head(fields, LIMITS, ended=False)
    assert raw == (
        b"POST /x?y HTTP/1.1\r\nHost: a.test\r\nte: trailers\r\nx-a: \r\ncookie: a=1; b=2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    head = parse_head(raw, LIMITS, WITHIN)
    assert (head.method, head.path, head.length) == ("POST", "/x", None)
    assert request_fields(raw, trailers=True) == [
        *BEGIN,
        (b"te", b"trailers"),
        (b"x-a", b""),
        (b"cookie", b"a=1; b=2"),
        (b"te", b"trailers"),
    ]


REFUSED = {
    "no method": without(b":method"),
    "no path": without(b":path"),
    "no scheme": without(b":scheme"),
    "no authority": without(b":authority"),
    "another scheme": instead(b":scheme", b"http"),
    "an empty path": instead(b":path", b""),
    "a path with a blank": instead(b":path", b"/a b"),
    "a path with a line": instead(b":path", b"/ HTTP/1.1\r\nHost: evil.test\r\n"),
    "a path in absolute form": instead(b":path", b"https://a.test/"),
    "the asterisk": instead(b":path", b"*"),
    "a method with a blank": instead(b":method", b"GET /x"),
    "a method in small letters": instead(b":method", b"post"),
    "TRACE": instead(b":method", b"TRACE"),
    "CONNECT": instead(b":method", b"CONNECT"),
    "extended CONNECT": [*instead(b":method", b"CONNECT"), (b":protocol", b"websocket")],
    "a pseudo field twice": [*BEGIN, (b":path", b"/other")],
    "a pseudo field of responses": [*BEGIN, (b":status", b"200")],
    "an unknown pseudo field": [*BEGIN, (b":x", b"y")],
    "a pseudo field behind another": [*BEGIN[:3], (b"x-a", b"b"), BEGIN[3]],
    "an authority with a line": instead(b":authority", b"a.test\r\nx: y"),
    "a name in capitals": [*BEGIN, (b"X-A", b"b")],
    "an empty name": [*BEGIN, (b"", b"b")],
    "a name with a colon": [*BEGIN, (b"a:b", b"c")],
    "a name with a line": [*BEGIN, (b"a\r\nhost", b"c")],
    "a value with a line": [*BEGIN, (b"a", b"b\r\nhost: evil.test")],
    "a value with a bare LF": [*BEGIN, (b"a", b"b\nc")],
    "a value with NUL": [*BEGIN, (b"a", b"\0")],
    "a value with a blank before it": [*BEGIN, (b"a", b" b")],
    "a value with a blank behind it": [*BEGIN, (b"a", b"b\t")],
    "Connection": [*BEGIN, (b"connection", b"close")],
    "Keep-Alive": [*BEGIN, (b"keep-alive", b"1")],
    "Proxy-Connection": [*BEGIN, (b"proxy-connection", b"x")],
    "Transfer-Encoding": [*BEGIN, (b"transfer-encoding", b"chunked")],
    "Upgrade": [*BEGIN, (b"upgrade", b"websocket")],
    "another TE": [*BEGIN, (b"te", b"gzip")],
    "two lengths": [*BEGIN, (b"content-length", b"1"), (b"content-length", b"1")],
    "a length that is none": [*BEGIN, (b"content-length", b"+1")],
    "two hosts": [*BEGIN, (b"host", b"a.test"), (b"host", b"a.test")],
    "a length and a disguise of it": [*BEGIN, (b"content_length", b"1")],
}
MISMATCHED = {
    "another authority": instead(b":authority", b"b.test"),
    "another port": instead(b":authority", b"a.test:444"),
    "another Host": [*BEGIN, (b"host", b"b.test")],
    "another Host alone": [*without(b":authority"), (b"host", b"b.test")],
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_a_malformed_request_is_refused(fields: Pairs) -> None:
    with pytest.raises(HeadError) as told:
        parse_head(request_head(fields, LIMITS, ended=False), LIMITS, WITHIN)
    assert told.value.reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize("fields", MISMATCHED.values(), ids=MISMATCHED)
def test_a_request_for_another_host_is_refused(fields: Pairs) -> None:
    with pytest.raises(HeadError) as told:
        parse_head(request_head(fields, LIMITS, ended=True), LIMITS, WITHIN)
    assert told.value.reason is Reason.HOST_MISMATCH


def test_credentials_in_the_authority_are_refused() -> None:
    with pytest.raises(HeadError) as told:
        parse_head(request_head(instead(b":authority", b"u:p@a.test"), LIMITS, ended=True), LIMITS, WITHIN)
    assert told.value.reason is Reason.MALFORMED_HOST


def test_host_may_stand_for_the_authority_and_say_the_same() -> None:
    for fields in ([*without(b":authority"), (b"host", b"a.test")], [*BEGIN, (b"host", b"A.test")]):
        assert parse_head(request_head(fields, LIMITS, ended=True), LIMITS, WITHIN).host == Host("a.test")


def test_a_length_without_a_body_is_refused() -> None:
    with pytest.raises(HeadError):
        request_head([*BEGIN, (b"content-length", b"1")], LIMITS, ended=True)
    assert parse_head(request_head([*BEGIN, (b"content-length", b"0")], LIMITS, ended=True), LIMITS, WITHIN).length == 0


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"101")],
        [(b":status", b"2000")],
        [(b":status", b"20 ")],
        [(b":path", b"/")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b"te", b"trailers")],
        [(b":status", b"200"), (b"A", b"b")],
        [(b":status", b"200"), (b"a", b"b\r\nc: d")],
        [(b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"2")],
    ],
)
def test_a_malformed_response_is_refused(fields: Pairs) -> None:
    with pytest.raises(HeadError):
        parse_response_head(response_head(fields, LIMITS, ended=False), LIMITS)


def test_a_response_goes_through_the_form_of_http1_and_back() -> None:
    raw = response_head([(b":status", b"200"), (b"a", b"b")], LIMITS, ended=False)
    assert parse_response_head(raw, LIMITS).length is None
    assert response_fields(raw) == [(b":status", b"200"), (b"a", b"b")]
    assert response_head([(b":status", b"204")], LIMITS, ended=False) == b"HTTP/1.1 204\r\n\r\n"


def test_trailers_keep_what_may_stand_there() -> None:
    given = [(b"grpc-status", b"0"), (b"content-length", b"5"), (b"outward-decision", b"x"), (b"set-cookie", b"a=b")]
    assert trailers(given, LIMITS) == [("grpc-status", "0")]
    for bad in ([(b":status", b"200")], [(b"A", b"b")], [(b"a", b"b\n")], [(b"a%d" % at, b"b") for at in range(101)]):
        with pytest.raises(HeadError):
            trailers(bad, LIMITS)


def test_a_denial_without_words_of_its_own_is_still_one() -> None:
    told = dict(refusal([(b":status", b"418")], b"<html>"))
    assert (told[b"grpc-status"], told[b"grpc-message"]) == (b"2", b"Blocked by egress policy")


def test_the_words_of_a_denial_are_escaped() -> None:
    body = '{"title": "Nö 100%", "reason": "no_rule", "detail": "a\\nb", "suggestion": "- x"}'.encode()
    told = dict(refusal([(b":status", b"403")], body))
    assert told[b"grpc-message"] == b"N%C3%B6 100%25 (no_rule). a%0Ab. The line: - x"


def test_the_sentences_of_a_denial_end_once():
    problem = b'{"title": "No", "reason": "no_rule", "detail": "Ask for the line.", "suggestion": "- a.example"}'
    told = dict(refusal([(b":status", b"403")], problem))
    assert told[b"grpc-message"] == b"No (no_rule). Ask for the line. The line: - a.example"


def test_far_too_many_fields_are_not_read() -> None:
    """Cookies may come in pieces; a field that a table keeps costs a peer a byte, and us a hundred times as much."""
    crumbs = [(b"cookie", b"a=b")] * LIMITS.header_count
    parse_head(request_head([*BEGIN, *crumbs, (b"a", b"b")], LIMITS, ended=True), LIMITS, WITHIN)
    unread = [(b"A", b"")] * (2 * LIMITS.header_count + 5)  # which would be malformed
    for read in (
        lambda: request_head([*BEGIN, *unread], LIMITS, ended=True),
        lambda: response_head([(b":status", b"200"), *unread], LIMITS, ended=True),
        lambda: trailers(unread, LIMITS),
    ):
        with pytest.raises(HeadError) as told:
            read()
        assert told.value.reason is Reason.TOO_LARGE

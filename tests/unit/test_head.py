"""Request and response heads: one reading, or none."""

import pytest

from outward.config.settings import Limits
from outward.core.names import canonical_host
from outward.core.reasons import Reason
from outward.http1.fields import HeadError, hop_fields
from outward.http1.head import Within, parse_head, redirected
from outward.http1.headreader import HeadReader, is_whole

LIMITS = Limits(head_bytes=2000, header_count=20)


INSIDE = Within(canonical_host("a.test"), 443)


HOST_LINE = b"Host: a.test\r\n"


WEBSOCKET = (
    b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"
)


MALFORMED, HOST, MISMATCH = Reason.MALFORMED_REQUEST, Reason.MALFORMED_HOST, Reason.HOST_MISMATCH


UPGRADE, LARGE = Reason.UPGRADE_NOT_ALLOWED, Reason.TOO_LARGE


def refusal(raw: bytes, within: Within | None = None) -> HeadError:
    with pytest.raises(HeadError) as caught:
        parse_head(raw, LIMITS, within)
    return caught.value


def get(fields: bytes = b"", line: bytes = b"GET http://a.test/ HTTP/1.1", host: bytes = HOST_LINE) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n"


def test_a_connect_names_its_host_and_port_and_no_path():
    head = parse_head(b"CONNECT A.test.:8443 HTTP/1.1\r\nhost: a.test:8443\r\nUser-Agent:\tx \r\n\r\n", LIMITS)
    assert (head.method, head.host.name, head.port, head.path) == ("CONNECT", "a.test", 8443, None)
    assert head.fields == [("host", "a.test:8443"), ("user-agent", "x")]
    assert (head.length, head.keep_alive, head.http_10) == (0, True, False)
    assert head.get("user-agent") == "x"
    assert head.get("accept") is None


@pytest.mark.parametrize(
    "host",
    [b"Host: a.test:443\r\n", b"Host: a.test\r\n", b"Host: A.TEST.:443\r\n"],
    ids=["same", "no port", "spelling"],
)
def test_a_connects_host_may_be_spelled_in_these_ways(host: bytes):
    assert parse_head(get(line=b"CONNECT a.test:443 HTTP/1.1", host=host), LIMITS).port == 443


@pytest.mark.parametrize(
    ("target", "host", "port", "path"),
    [
        (b"http://a.test/", "a.test", 80, "/"),
        (b"http://a.test", "a.test", 80, "/"),
        (b"http://a.test:80/p?q=1", "a.test", 80, "/p"),
        (b"http://a.test/p?u=http://b.test/@", "a.test", 80, "/p"),
        (b"http://A.test./%7Eme", "a.test", 80, "/%7Eme"),
        (b"HTTP://a.test/p", "a.test", 80, "/p"),
        (b"http://a.test?x=/1", "a.test", 80, "/"),
    ],
)
def test_an_absolute_target_names_host_port_and_path(target: bytes, host: str, port: int, path: str):
    head = parse_head(get(line=b"GET " + target + b" HTTP/1.1"), LIMITS)
    assert (head.host.name, head.port, head.path) == (host, port, path)


def test_http_10_needs_no_host_and_does_not_stay():
    head = parse_head(b"CONNECT a.test:443 HTTP/1.0\r\n\r\n", LIMITS)
    assert (head.host.name, head.http_10, head.keep_alive) == ("a.test", True, False)


def test_a_request_in_a_tunnel_goes_where_the_tunnel_goes():
    head = parse_head(get(line=b"GET /p?q HTTP/1.1"), LIMITS, INSIDE)
    assert (head.host.name, head.port, head.path, head.target) == ("a.test", 443, "/p", "/p?q")
    other = Within(canonical_host("a.test"), 8443)
    assert parse_head(get(line=b"GET / HTTP/1.1", host=b"Host: a.test:8443\r\n"), LIMITS, other).port == 8443


def test_a_redirected_request_goes_to_its_host_and_the_original_port():
    for port, host in ((80, b"Host: A.test\r\n"), (8080, b"Host: a.test:8080\r\n"), (443, b"Host: a.test:443\r\n")):
        head = parse_head(get(line=b"GET /p?q HTTP/1.1", host=host), LIMITS, redirected(port))
        assert (head.host.name, head.port, head.path, head.target) == ("a.test", port, "/p", "/p?q")


@pytest.mark.parametrize(
    ("line", "host", "reason"),
    [
        (b"GET / HTTP/1.1", b"Host: a.test\r\n", Reason.HOST_MISMATCH),
        (b"GET / HTTP/1.1", b"Host: a.test:80\r\n", Reason.HOST_MISMATCH),
        (b"GET / HTTP/1.1", b"Host: a_b..test:8080\r\n", Reason.MALFORMED_HOST),
        (b"GET / HTTP/1.1", b"", Reason.MALFORMED_REQUEST),
        (b"GET / HTTP/1.0", b"", Reason.MALFORMED_REQUEST),
        (b"GET http://a.test:8080/ HTTP/1.1", b"Host: a.test:8080\r\n", Reason.MALFORMED_REQUEST),
        (b"OPTIONS * HTTP/1.1", b"Host: a.test:8080\r\n", Reason.MALFORMED_REQUEST),
        (b"CONNECT a.test:8080 HTTP/1.1", b"Host: a.test:8080\r\n", Reason.MALFORMED_REQUEST),
    ],
)
def test_a_redirected_request_that_leaves_its_destination_open_is_refused(line: bytes, host: bytes, reason: Reason):
    assert refusal(get(line=line, host=host), redirected(8080)).reason is reason


def test_credentials_are_read_on_the_proxy_port_only():
    secret = b"Proxy-Authorization: Bearer x\r\n"
    assert parse_head(get(secret), LIMITS).authorization == "Bearer x"
    for within in (INSIDE, redirected(80)):
        assert parse_head(get(secret, line=b"GET / HTTP/1.1"), LIMITS, within).authorization is None


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (b"", 0),
        (b"Content-Length: 0\r\n", 0),
        (b"Content-Length:  42\t\r\n", 42),
        (b"Transfer-Encoding: chunked\r\n", None),
    ],
)
def test_the_length_of_a_body_is_said_once(fields: bytes, length: int | None):
    assert parse_head(get(fields, b"POST http://a.test/ HTTP/1.1"), LIMITS).length == length


def test_a_websocket_handshake_is_told_from_other_upgrades():
    head = parse_head(get(WEBSOCKET), LIMITS)
    assert head.websocket
    assert hop_fields(head.fields, upgrade=True).isdisjoint({"connection", "upgrade"})


def test_conversation_credentials_and_expectation_are_read():
    head = parse_head(
        get(
            b"Outward-Conversation: c-1\r\nProxy-Authorization: Bearer x\r\nExpect: 100-Continue\r\nConnection: close\r\n"
        ),
        LIMITS,
    )
    assert (head.conversation, head.authorization, head.expect, head.keep_alive) == ("c-1", "Bearer x", True, False)


REFUSED = [
    (b"GET http://a.test/\r\n\r\n", MALFORMED),  # HTTP/0.9
    (get(line=b"GET http://a.test/ HTTP/2.0"), MALFORMED),
    (get(line=b"GET http://a.test/ HTTP/1.2"), MALFORMED),
    (get(line=b"GET http://a.test/ http/1.1"), MALFORMED),
    (get(line=b"GET  http://a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"GET http://a.test/ HTTP/1.1 "), MALFORMED),
    (get(line=b" GET http://a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"GET\x0bhttp://a.test/\x0cHTTP/1.1"), MALFORMED),
    (get(line=b"GET http://a.test/a b HTTP/1.1"), MALFORMED),
    (get(line=b"GET http://a.test/\x00 HTTP/1.1"), MALFORMED),
    (get(line=b"GET http://a.test/\x7f HTTP/1.1"), MALFORMED),
    (get(line=b"GET http://a.test/\xc3\xa9 HTTP/1.1"), MALFORMED),
    (get(line=b"G(T http://a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"get http://a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"connect a.test:443 HTTP/1.1"), MALFORMED),
    (get(line=b"TRACE http://a.test/ HTTP/1.1"), MALFORMED),
    (b"PRI * HTTP/2.0\r\n\r\n", MALFORMED),
    (get(line=b"PRI http://a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"GET / HTTP/1.1"), MALFORMED),  # origin form on the proxy port
    (get(line=b"OPTIONS * HTTP/1.1"), MALFORMED),
    (get(line=b"GET https://a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"GET ftp://a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"GET http:/a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"GET http:\\\\a.test/ HTTP/1.1"), MALFORMED),
    (get(line=b"GET http://a.test/#f HTTP/1.1"), MALFORMED),
    (get(line=b"GET http:///a.test/ HTTP/1.1"), HOST),
    (get(line=b"GET http://u:p@a.test/ HTTP/1.1"), HOST),
    (get(line=b"GET http://a.test@b.test/ HTTP/1.1"), HOST),
    (get(line=b"GET http://b.test\\@a.test/ HTTP/1.1"), HOST),
    (get(line=b"GET http://b.test#@a.test/ HTTP/1.1"), HOST),
    (get(line=b"GET http://a.test:65616/ HTTP/1.1"), HOST),
    (get(line=b"GET http://a.test:/ HTTP/1.1"), HOST),
    (get(line=b"GET http://a\xe1.test/ HTTP/1.1"), HOST),
    (get(line=b"CONNECT a.test HTTP/1.1"), HOST),
    (get(line=b"CONNECT a.test:443:80 HTTP/1.1"), HOST),
    (get(line=b"CONNECT http://a.test:443 HTTP/1.1"), HOST),
    (get(line=b"CONNECT u@a.test:443 HTTP/1.1"), HOST),
    (get(line=b"CONNECT a.test:443/ HTTP/1.1"), HOST),
    (get(line=b"CONNECT a.test:443 HTTP/1.1", host=b"Host: a b\r\n"), HOST),
    (get(line=b"GET http://b.test/ HTTP/1.1"), MISMATCH),
    (get(line=b"GET http://a.test:8080/ HTTP/1.1"), MISMATCH),
    (get(host=b""), MALFORMED),
    (get(host=b"Host:\r\n"), HOST),
    (get(host=b"Host: a.test, b.test\r\n"), HOST),
    (get(host=b"Host: \xe1.test\r\n"), HOST),
    (get(host=b"Host: u@a.test\r\n"), HOST),
    (get(HOST_LINE), MALFORMED),  # Host twice
    (get(b"HOST: a.test\r\n"), MALFORMED),
    (get(b"Host : a.test\r\n", host=b""), MALFORMED),
    (get(b" folded\r\n"), MALFORMED),
    (get(b"\tfolded\r\n", host=b""), MALFORMED),
    (get(b"X: a\rb\r\n"), MALFORMED),
    (get(b"X: a\nb: c\r\n"), MALFORMED),
    (get(b"X: a\x00b\r\n"), MALFORMED),
    (get(b"X: a\x1bb\r\n"), MALFORMED),
    (get(b"NoColonHere\r\n"), MALFORMED),
    (get(b": empty\r\n"), MALFORMED),
    (get(b"X\xe9: a\r\n"), MALFORMED),
    (get(b"X Y: a\r\n"), MALFORMED),
    (get().replace(b"\r\n", b"\n"), MALFORMED),
    (get(b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), MALFORMED),
    (get(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), MALFORMED),
    (get(b"Transfer-Encoding: chunked\r\n", b"POST http://a.test/ HTTP/1.0"), MALFORMED),
    *((get(b"Transfer-Encoding: " + value + b"\r\n"), MALFORMED) for value in (
        b"", b"identity", b"gzip, chunked", b"chunked, chunked", b"chunked;q=1", b"xchunked", b'"chunked"', b"CHUNKED",
        b"chun\xe2\x84\xaaed", b"chunked,", b"\x0bchunked",
    )),
    *((get(b"Content-Length: " + value + b"\r\n"), MALFORMED) for value in (
        b"", b"+5", b"-1", b"0x5", b"5_0", b"05", b"5, 5", b"5 5", b"\xd9\xa5", b"5\x0b", b"9" * 19, b"\xb2",
    )),
    (get(b"Content-Length: 5\r\nContent-Length: 5\r\n"), MALFORMED),
    (get(b"Content_Length: 5\r\n"), MALFORMED),
    (get(b"Transfer_Encoding: chunked\r\n"), MALFORMED),
    (get(b"Transfer.Encoding: chunked\r\n"), MALFORMED),
    (get(b"Content-Type: a/b\r\nContent-Type: c/d\r\n"), MALFORMED),
    (get(b"Proxy-Authorization: Bearer a\r\nProxy-Authorization: Bearer b\r\n"), MALFORMED),
    (get(b"Outward-Conversation: a\r\noutward-conversation: b\r\n"), MALFORMED),
    (get(b"Outward_Conversation: a\r\n"), MALFORMED),
    (get(b"Outward-Conversation: \r\n"), MALFORMED),
    (get(b"Outward-Conversation: a b\r\n"), MALFORMED),
    (get(b"Outward-Conversation: " + b"a" * 201 + b"\r\n"), MALFORMED),
    (get(b"Expect: 200-ok\r\n"), MALFORMED),
    (get(b"Connection: close, Host\r\n"), MALFORMED),
    (get(b"Connection: content-length\r\n"), MALFORMED),
    (get(b"Connection: close\r\nConnection: transfer-encoding\r\n"), MALFORMED),
    (get(b"Connection: a b\r\n"), MALFORMED),
    (get(b"Content-Length: 3\r\n", b"CONNECT a.test:80 HTTP/1.1"), MALFORMED),
    (get(b"Transfer-Encoding: chunked\r\n", b"CONNECT a.test:80 HTTP/1.1"), MALFORMED),
    (get(b"Upgrade: h2c, tcp\r\n"), UPGRADE),
    (get(b"Upgrade: h2\r\n"), UPGRADE),
    (get(b"Upgrade: tcp\r\n"), UPGRADE),
    (get(WEBSOCKET.replace(b"13", b"12")), UPGRADE),
    (get(WEBSOCKET.replace(b", Upgrade", b"")), UPGRADE),
    (get(WEBSOCKET.replace(b"WebSocket\r", b"websocket, h2c\r")), UPGRADE),
    (get(WEBSOCKET, b"POST http://a.test/ HTTP/1.1"), UPGRADE),
    (get(WEBSOCKET + b"Content-Length: 1\r\n"), UPGRADE),
    (get(WEBSOCKET, b"GET http://a.test/ HTTP/1.0"), UPGRADE),
    (get(WEBSOCKET, b"CONNECT a.test:80 HTTP/1.1"), UPGRADE),
    (get(b"".join(b"X-%d: x\r\n" % n for n in range(20))), LARGE),
    (get(b"X: " + b"x" * 2000 + b"\r\n"), LARGE),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "reason"), REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes, reason: Reason):
    error = refusal(raw)
    assert error.reason is reason
    assert error.status == (431 if reason is LARGE else 400 if reason in (MALFORMED, HOST) else 403)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (get(line=b"GET http://a.test/ HTTP/1.1"), MALFORMED),
        (get(line=b"GET https://a.test/ HTTP/1.1"), MALFORMED),
        (get(line=b"CONNECT b.test:443 HTTP/1.1"), MALFORMED),
        (get(line=b"OPTIONS * HTTP/1.1"), MALFORMED),
        (get(line=b"GET /a#b HTTP/1.1"), MALFORMED),
        (get(line=b"GET /\xe1 HTTP/1.1"), MALFORMED),
        (get(line=b"GET / HTTP/1.1", host=b"Host: b.test\r\n"), MISMATCH),
        (get(line=b"GET / HTTP/1.1", host=b"Host: a.test:80\r\n"), MISMATCH),
        (get(line=b"GET / HTTP/1.1", host=b""), MALFORMED),
        (get(line=b"GET / HTTP/1.0", host=b""), MALFORMED),
    ],
)
def test_a_request_in_a_tunnel_asks_for_nothing_else(raw: bytes, reason: Reason):
    assert refusal(raw, INSIDE).reason is reason


def test_a_refusal_says_what_was_understood_before_it():
    error = refusal(get(b"Content-Length: x\r\nProxy-Authorization: Bearer t\r\n", b"HEAD http://a.test/p HTTP/1.1"))
    assert error.head is not None
    assert (error.head.method, error.head.host.name, error.head.authorization) == ("HEAD", "a.test", "Bearer t")
    assert refusal(b"junk\r\n\r\n").head is None


@pytest.mark.parametrize("host", [b"Host: 127.0.0.1\r\n", b"Host: proxy.test:3128\r\n", b"Host: a.test:80\r\n"])
def test_a_connect_goes_to_its_target_whatever_valid_host_stands_beside_it(host: bytes):
    head = parse_head(get(line=b"CONNECT a.test:443 HTTP/1.1", host=host), LIMITS)
    assert (head.host.name, head.port) == ("a.test", 443)


@pytest.mark.parametrize("offer", [b"h2c", b"H2C", b"TLS/1.2", b"TLS/1.2, TLS/1.3", b"h2c, TLS/1.3"])
@pytest.mark.parametrize(
    "line", [b"GET http://a.test/ HTTP/1.1", b"POST http://a.test/ HTTP/1.1", b"CONNECT a.test:80 HTTP/1.1"]
)
def test_an_offer_of_another_protocol_is_ignored_and_goes_no_further(line: bytes, offer: bytes):
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + offer + b"\r\nHTTP2-Settings: AAMAAABk\r\n"
    head = parse_head(get(fields, line), LIMITS)
    assert not head.websocket
    assert {"connection", "upgrade", "http2-settings"} <= hop_fields(head.fields, upgrade=head.websocket)


@pytest.mark.parametrize(
    ("target", "host", "port", "word"),
    [
        (b"https://a.test/x", "a.test", 443, "CONNECT"),
        (b"HTTPS://a.test:8443?q", "a.test", 8443, "CONNECT"),
        (b"wss://a.test/", "a.test", 443, "CONNECT"),
        (b"ws://a.test/", "a.test", 80, "`http://`"),
    ],
)
def test_a_scheme_of_another_kind_is_told_what_to_send_instead(target: bytes, host: str, port: int, word: str):
    error = refusal(get(line=b"GET " + target + b" HTTP/1.1"))
    assert (error.reason, error.advice is not None and word in error.advice) == (MALFORMED, True)
    assert error.head is not None
    assert (error.head.host.name, error.head.port) == (host, port)


@pytest.mark.parametrize("line", [b"GET http://u:p@a.test/", b"GET https://u@a.test/", b"CONNECT u:p@a.test:443"])
def test_credentials_in_a_target_are_named_as_such(line: bytes):
    error = refusal(get(line=line + b" HTTP/1.1"))
    assert (error.reason, error.advice is not None and "credentials" in error.advice) == (HOST, True)


@pytest.mark.parametrize("cut", range(1, 8))
def test_one_empty_line_before_a_request_is_skipped_and_no_second(cut: int):
    def read(raw: bytes) -> tuple[bytes, bytes] | None:
        assert not is_whole(raw)
        reader = HeadReader(LIMITS)
        return reader.feed(raw[:cut]) or reader.feed(raw[cut:])

    assert read(b"\r\n" + get() + b"rest") == (get(), b"rest")
    with pytest.raises(HeadError):
        parse_head((read(b"\r\n\r\n" + get()) or (b"",))[0], LIMITS)


def test_an_empty_line_behind_a_head_is_no_part_of_it():
    """Old clients end a body with one: it is read alike in one segment and in two."""
    head = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
    assert is_whole(head)
    assert not is_whole(head + b"\r\n")
    assert HeadReader(LIMITS).feed(head + b"\r\n") == (head, b"\r\n")


@pytest.mark.parametrize(("minor", "expects"), [(b"1", True), (b"0", False)])
def test_who_speaks_http_1_0_is_told_nothing_before_the_answer(minor, expects):
    raw = get(b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"POST / HTTP/1." + minor)
    assert parse_head(raw, LIMITS, INSIDE).expect is expects

"""Heads that go on unchanged are what the slower way would have made of them, byte for byte."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from outward.config.settings import Limits
from outward.core.names import Host
from outward.http1 import forwarding, lines
from outward.http1.fields import Fields, HeadError, governed
from outward.http1.forwarding import request_head, response_head
from outward.http1.head import Within, parse_head, parse_response_head

LIMITS = Limits()
WITHIN = Within(Host("a.test"), 443)
NAMES = st.sampled_from(
    [
        "Accept", "X-A", "connection", "Connection", "Keep-Alive", "TE", "te-x", "Test", "Trailer", "Proxy-X", "proxy_x", "Proxy.X",
        "Proxyx", "outward-x", "Outward_X", "Expect", "Alt-Svc", "X-HTTP-Method-Override", "x_http_method", "X.Method.Override",
        "X-Original-URL", "X-Rewrite-Url", "X-Override-URL", "Content-Length", "Transfer-Encoding", "HTTP2-Settings", "Upgrade", "A",
        "Connection-X", "Host-X", "Content-Type",
    ]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        "a",
        "a b",
        "",
        "keep-alive",
        "close",
        "Keep-Alive",
        "keep-alive, X-A",
        "x-a",
        "5",
        "0",
        "chunked",
        "a:b",
        "\xe9",
        "a\tb",
        ":",
        "h2c",
    ]
)
BLANKS = st.sampled_from(["", " ", " ", " ", "  ", "\t", " \t"])
LINES = st.lists(st.tuples(NAMES, BLANKS, VALUES, st.sampled_from(["", "", "", " ", "\t"])), max_size=6)
HOSTS = st.sampled_from(
    [
        "Host: a.test\r\n",
        "host: a.test\r\n",
        "Host:a.test\r\n",
        "Host: A.test\r\n",
        "Host: a.test:443\r\n",
        "Host: a.test \r\n",
    ]
)


def block(fields: list[tuple[str, str, str, str]]) -> str:
    return "".join(f"{name}:{blank}{value}{end}\r\n" for name, blank, value, end in fields)


SET = st.dictionaries(st.sampled_from(["x-a", "accept", "te-x", "x-new"]), st.sampled_from(["set", "", None]))


@given(HOSTS, LINES, st.booleans(), st.booleans(), st.sampled_from(["GET", "POST"]), st.sampled_from("01"), SET)
@example("Host: a.test\r\n", [("Connection", " ", "keep-alive", "")], True, False, "GET", "1", {})
@example("Host: a.test\r\n", [("Proxy-X", " ", "a", "")], True, False, "GET", "1", {})
@example(
    "Host: a.test\r\n",
    [("Connection", " ", "keep-alive", ""), ("Keep-Alive", " ", "5", "")],
    True,
    False,
    "GET",
    "1",
    {},
)
@example("Host: a.test\r\n", [("X-A", " ", "a", ""), ("A", " ", "a", "")], True, False, "GET", "1", {"x-a": "set"})
@example("Host: a.test\r\n", [("Accept", " ", "a", "")], True, False, "GET", "1", {"accept": None, "x-new": "set"})
def test_a_request(
    host: str,
    fields: list[tuple[str, str, str, str]],
    first: bool,
    overrides: bool,
    method: str,
    minor: str,
    placed: dict[str, str | None],
) -> None:
    received = host + block(fields) if first else block(fields) + host
    raw = f"{method} /x?y HTTP/1.{minor}\r\n{received}\r\n".encode("latin-1")
    try:
        head = parse_head(raw, LIMITS, WITHIN)
    except HeadError:
        return
    quick = request_head(raw, head, tls=True, overrides=overrides, fields=placed)
    assert quick == request_head(raw, replace(head, section=None), tls=True, overrides=overrides, fields=placed)


@given(
    LINES, st.sampled_from(["GET", "HEAD"]), st.sampled_from([200, 204, 206, 304, 404]), st.sampled_from("01"),
    st.sampled_from("01"), st.booleans(), st.booleans(),
)  # fmt: skip
def test_a_response(
    fields: list[tuple[str, str, str, str]],
    method: str,
    status: int,
    asked: str,
    minor: str,
    keep: bool,
    rewritten: bool,
) -> None:
    raw = f"HTTP/1.{minor} {status} OK\r\n{block(fields)}\r\n".encode("latin-1")
    head = parse_head(f"{method} / HTTP/1.{asked}\r\nHost: a.test\r\n\r\n".encode(), LIMITS, WITHIN)
    try:
        response = parse_response_head(raw, LIMITS, method)
    except HeadError:
        return
    quick = response_head(raw, response, head, keep=keep, rewritten=rewritten)
    assert quick == response_head(raw, replace(response, section=None), head, keep=keep, rewritten=rewritten)


@given(HOSTS, LINES)
def test_lines_that_were_read_before_mean_the_same(host: str, fields: list[tuple[str, str, str, str]]) -> None:
    received = (host + block(fields)).encode("latin-1").split(b"\r\n")[:-1]
    lines._known.clear()
    first = lines.read_section(b"", received, LIMITS)
    assert first == lines.read_section(b"", received, LIMITS)
    expected = [
        (name.lower(), value.strip(" \t"))
        for name, _, value in (line.decode("latin-1").partition(":") for line in received)
    ]
    assert first.fields == expected
    assert _governed(first.fields) == _governed(first.deciding)


def _governed(fields: Fields) -> object:
    try:
        return governed(fields)
    except HeadError as error:
        return str(error)


def test_the_usual_heads_are_not_made_anew() -> None:
    """Otherwise the other tests here would compare one way with itself."""
    raw = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\nUser-Agent: x/1 (y)\r\nAccept: */*\r\n\r\n"
    reply = b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n"
    assert forwarding._staying(parse_head(raw, LIMITS, WITHIN).section) == [b"User-Agent: x/1 (y)", b"Accept: */*"]
    staying = forwarding._staying(parse_response_head(reply, LIMITS).section, of_request=False)
    assert staying == [b"Server: x", b"Content-Length: 2"]


def test_private_lines_are_not_remembered() -> None:
    lines._known.clear()
    lines.read_section(b"", [b"Authorization: Bearer x", b"X-Api-Key: x", b"Cookie: a=b", b"Accept: */*"], LIMITS)
    assert list(lines._known) == [b"Accept: */*"]

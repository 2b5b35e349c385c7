"""Laws of the readers: segments do not matter, and nothing but a declared refusal ever comes out."""

import re
from contextlib import suppress
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.hellos import extension, fragmented, hello, record, server_name
from outward.config.settings import Limits
from outward.core.names import Host, canonical_host
from outward.http1.fields import HeadError, hop_fields
from outward.http1.head import END, Head, Within, parse_head, parse_response_head
from outward.http1.headreader import HeadReader
from outward.tls.client_hello import Hello, HelloError, HelloReader, NotTlsError

LIMITS = Limits(head_bytes=4096, header_count=20)
INSIDE = Within(canonical_host("a.test"), 443)

LINES = st.sampled_from(
    [
        b"CONNECT a.test:443 HTTP/1.1\r\n", b"GET http://a.test/ HTTP/1.1\r\n", b"POST http://a.test/x?y HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n", b"GET http://a.test/ HTTP/1.0\r\n",
    ]
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        b"Host: a.test\r\n", b"Host: a.test:443\r\n", b"Host: b.test\r\n", b"X: y\r\n", b" fold\r\n", b"X : y\r\n",
        b"Content-Length: 5\r\n", b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked\r\n", b"transfer_encoding: x\r\n",
        b"Connection: upgrade, close\r\n", b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n",
        b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Key: x\r\n", b"X: \x00\r\n", b"X: a\nb\r\n", b"\xff: a\r\n",
    ]
)  # fmt: skip
HEADS = st.builds(lambda line, fields: line + b"".join(fields) + b"\r\n", LINES, st.lists(FIELDS, max_size=6))
MESSAGES = HEADS | st.binary(max_size=80) | st.builds(bytes.__add__, HEADS, st.binary(max_size=20))

EXTENSIONS = st.sampled_from(
    [
        extension(0, server_name(b"a.test")), extension(0, server_name(b"b.test")), extension(0, b"\x00\x00"),
        extension(16, b"\x00\x03\x02h2"), extension(43, b"\x02\x03\x04"), extension(0xFE0D, b"x"), extension(0x0A0A),
    ]
)  # fmt: skip
HELLOS = st.builds(lambda extensions: hello(*extensions), st.lists(EXTENSIONS, max_size=4))
RECORDS = (
    HELLOS.map(record)
    | st.builds(fragmented, HELLOS, st.integers(1, 60))
    | st.binary(max_size=40)
    | st.binary(max_size=40).map(lambda body: b"\x16\x03\x01" + body)
    | st.binary(min_size=1, max_size=60).map(record)
    | st.binary(max_size=60).map(lambda body: record(b"\x01" + len(body).to_bytes(3) + body))
)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[one:two] for one, two in pairwise(edges)]


def collected(data: bytes, cuts: list[int]) -> tuple[bytes, bytes] | str | None:
    """Feed a message in pieces; return the head and everything behind it, `refused`, or None while incomplete."""
    reader, parts = HeadReader(LIMITS), pieces(data, cuts)
    for index, part in enumerate(parts):
        try:
            found = reader.feed(part)
        except HeadError:
            return "refused"
        if found is not None:
            return found[0], found[1] + b"".join(parts[index + 1 :])
    return None


@given(MESSAGES, CUTS)
def test_a_head_is_the_same_however_it_is_cut(data: bytes, cuts: list[int]):
    """A complete head may be refused early in pieces, but only one that is refused as a whole too."""
    whole, cut = collected(data, []), collected(data, cuts)
    if whole == cut:
        return
    assert isinstance(whole, tuple)
    assert cut == "refused"
    with suppress(HeadError):
        parse_head(whole[0], LIMITS)
        raise AssertionError("pieces of a head that is right were refused")


@given(MESSAGES)
def test_a_head_is_understood_or_refused_and_never_anything_else(data: bytes):
    for within in (None, INSIDE):
        try:
            head = parse_head(data, LIMITS, within)
        except HeadError:
            continue
        assert data.endswith(END)
        assert data.count(END) == 1
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00|\n[ \t]", data)
        assert head.host.name == "a.test"
        assert len([name for name, _ in head.fields if name == "host"]) == 1 or head.http_10
        assert not {"content-length", "transfer-encoding"} <= {name for name, _ in head.fields}
        assert hop_fields(head.fields).isdisjoint({"host", "content-length"})
    with suppress(HeadError):
        parse_response_head(data, LIMITS)


@given(st.binary(max_size=200))
def test_a_response_head_is_understood_or_refused(data: bytes):
    with suppress(HeadError):
        parse_response_head(b"HTTP/1.1 200 " + data + END, LIMITS)


def heard(data: bytes, cuts: list[int]) -> Hello | str | None:
    """Feed records in pieces; return the hello, the kind of its refusal, or None while incomplete."""
    reader, fed = HelloReader(), b""
    for part in pieces(data, cuts):
        fed += part
        try:
            found = reader.feed(part)
        except (HelloError, NotTlsError) as error:
            return type(error).__name__
        assert reader.data == fed
        if found is not None:
            return found
    return None


@given(RECORDS, CUTS)
def test_a_hello_is_the_same_however_it_is_cut(data: bytes, cuts: list[int]):
    assert heard(data, cuts) == heard(data, [])


@given(st.lists(EXTENSIONS, max_size=4), st.integers(1, 80))
def test_records_do_not_matter_and_two_names_never_pass(extensions: list[bytes], size: int):
    message = hello(*extensions)
    whole, spread = heard(record(message), []), heard(fragmented(message, size), [])
    if len(message) <= size * 64:
        assert whole == spread
    if len(set(extensions)) < len(extensions) or sum(each[:2] == b"\x00\x00" for each in extensions) > 1:
        assert whole == "HelloError"


_HEADS = st.tuples(
    st.sampled_from(["GET", "POST", "CONNECT", "get"]),
    st.sampled_from(
        ["/", "/a?b", "http://a.test/", "http://a.test:81/x", "a.test:443", "*", "/a#b", "http://u@a.test/"]
    ),
    st.sampled_from("01"),
    st.sampled_from(
        ["Host: a.test", "Host: a.test:81", "Host: a.test\r\nContent-Length: 3", "X: a", "Host: a.test:443"]
    ),
)


@given(_HEADS, _HEADS, st.sampled_from([None, Within(Host("a.test"), 443), Within(Host(""), 80, 80)]))
def test_a_head_behind_another_one_reads_as_if_it_was_alone(
    first: tuple[str, ...], second: tuple[str, ...], within: Within | None
) -> None:
    one, two = ("{} {} HTTP/1.{}\r\n{}\r\n\r\n".format(*each).encode() for each in (first, second))

    def read(raw: bytes, last: Head | None = None) -> object:
        try:
            return parse_head(raw, LIMITS, within, last)
        except HeadError as error:
            return str(error), error.reason, error.status, error.advice, error.head

    last = read(one)
    assert read(two, last if isinstance(last, Head) else None) == read(two)

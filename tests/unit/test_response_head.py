"""Response heads have one end, and a head of either kind is bounded while it arrives."""

import pytest

from outward.config.settings import Limits
from outward.core.reasons import Reason
from outward.http1.fields import HeadError
from outward.http1.head import parse_response_head
from outward.http1.headreader import HeadReader

LIMITS = Limits(head_bytes=2000, header_count=20)


HOST_LINE = b"Host: a.test\r\n"


MALFORMED, HOST, MISMATCH = Reason.MALFORMED_REQUEST, Reason.MALFORMED_HOST, Reason.HOST_MISMATCH


def get(fields: bytes = b"", line: bytes = b"GET http://a.test/ HTTP/1.1", host: bytes = HOST_LINE) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n"


@pytest.mark.parametrize(
    ("raw", "method", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", (200, 5, False)),
        (b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", "GET", (200, None, False)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "GET", (200, None, False)),
        (b"HTTP/1.0 200\r\n\r\n", "GET", (200, None, True)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", (200, 0, False)),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", (304, 0, False)),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "GET", (103, 0, False)),
    ],
)
def test_a_response_has_one_end(raw: bytes, method: str, expected: tuple[int, int | None, bool]):
    head = parse_response_head(raw, LIMITS, method)
    assert (head.status, head.length, head.until_close) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2000 + b"\r\n\r\n",
    ],
)
def test_a_response_with_two_ends_is_refused(raw: bytes):
    with pytest.raises(HeadError):
        parse_response_head(raw, LIMITS)


def test_a_head_is_complete_at_its_empty_line_and_keeps_what_follows():
    reader = HeadReader(LIMITS)
    assert reader.feed(b"GET http://a.test/ HTTP/1.1\r\nHost: a.te") is None
    assert reader.feed(b"st\r\n\r") is None
    assert reader.feed(b"\nbody\r\n\r\n") == (get(), b"body\r\n\r\n")


@pytest.mark.parametrize(
    "begun",
    [
        b"\x05",
        b"\x16\x03",
        b"\r\n\r\n",
        b"GET\x00",
        b"G\n",
        b"GET http://a.test/\r\n",
        b"get",
        b"A" * 40,
        b"GET / HTTP/1.1\r\nX: \rY",
    ],
)
def test_what_can_never_become_a_head_is_refused_before_its_end(begun: bytes):
    with pytest.raises(HeadError) as caught:
        HeadReader(LIMITS).feed(begun)
    assert caught.value.reason is MALFORMED


def test_one_empty_line_before_the_request_line_is_waited_behind():
    reader = HeadReader(LIMITS)
    assert [reader.feed(part) for part in (b"\r", b"\n")] == [None, None]
    assert reader.feed(get()) == (get(), b"")


def test_an_endless_head_is_refused_at_the_limit():
    reader = HeadReader(LIMITS)
    begun = b"GET http://a.test/ HTTP/1.1\r\nX: "
    assert reader.feed(begun) is None
    for _ in range(LIMITS.head_bytes - len(begun)):
        assert reader.feed(b"x") is None
    with pytest.raises(HeadError) as caught:
        reader.feed(b"x")
    assert caught.value.status == 431

"""A second ClientHello: told by the server's first message, found behind what may stand before it, in any pieces."""

import pytest

from harness.raw import client_hello
from outward.tls.client_hello import HelloError, NotTlsError
from outward.tls.hello_retry import SecondReader, ServerReader

MAGIC = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
HELLO = client_hello("allowed.test")
CHANGE = b"\x14\x03\x03\x00\x01\x01"
ALERT = b"\x15\x03\x03\x00\x02\x01\x5a"
EARLY = b"\x17\x03\x03\x00\x05early"


def records(message: bytes, size: int) -> bytes:
    """Cut a handshake message into records of a size."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x03" + len(piece).to_bytes(2) + piece for piece in pieces)


def message(random: bytes, kind: int = 2) -> bytes:
    body = b"\x03\x03" + random + b"\x00\x13\x01\x00\x00\x00"
    return bytes([kind]) + len(body).to_bytes(3) + body


EMPTY, PART = b"\x16\x03\x03\x00\x00", records(message(MAGIC)[:9], 9)


def asked(data: bytes, step: int) -> bool | None:
    reader, told = ServerReader(), None
    for at in range(0, len(data), step):
        told = reader.feed(data[at : at + step])
        if told is not None:
            return told
    return told


@pytest.mark.parametrize("size", [1, 5, 37, 38, 1000])
@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("more", [b"", CHANGE, b"\x17\x03\x03\x00\x01x"])
def test_a_retry_is_told_in_any_records_and_pieces(size: int, step: int, more: bytes) -> None:
    assert asked(records(message(MAGIC), size) + more, step) is True
    assert asked(records(message(MAGIC[::-1]), size) + more, step) is False


@pytest.mark.parametrize(
    "data",
    [
        ALERT,
        b"SSH-2.0-x\r\n",
        b"\x16\x02\x00\x00\x05",
        records(message(MAGIC, kind=1), 100),
        EARLY,
        EMPTY,
        PART + EMPTY,
    ],
)
def test_what_is_no_server_hello_asks_for_nothing(data: bytes) -> None:
    assert asked(data, 1) is False
    assert asked(data, 100) is False


@pytest.mark.parametrize("size", range(1, 43))
def test_what_is_cut_short_is_not_told_yet(size: int) -> None:
    assert ServerReader().feed(records(message(MAGIC), 100)[:size]) is None


@pytest.mark.parametrize("before", [b"", CHANGE, ALERT + CHANGE, CHANGE + EARLY * 3])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_the_second_hello_is_found_and_held(before: bytes, step: int) -> None:
    reader, passed, found, data = SecondReader(), b"", None, before + HELLO
    for at in range(0, len(data), step):
        assert found is None
        more, found = reader.feed(data[at : at + step])
        passed += more
    assert passed == before
    assert found is not None
    assert found.sni == "allowed.test"
    assert reader.held == HELLO


def test_a_client_that_never_says_its_second_hello_is_refused() -> None:
    reader = SecondReader()
    for _ in range(10):
        assert reader.feed(EARLY * 10_000) == (EARLY * 10_000, None)
    with pytest.raises(HelloError):
        reader.feed(EARLY * 10_000)
    with pytest.raises(NotTlsError):
        SecondReader().feed(b"GET / HTTP/1.1\r\n")
    with pytest.raises(HelloError):
        SecondReader().feed(records(message(MAGIC), 100))

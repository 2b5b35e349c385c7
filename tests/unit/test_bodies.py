"""Bodies as they stream: how much of one is read at a time."""

import pytest

from outward.http1.bodies import Chunked


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1" + b";a=b" * 250 + b"\r\nx\r\n"], ids=["tiny", "long extensions"])
def test_no_more_of_a_crowd_of_chunks_is_read_at_a_time_than_takes_milliseconds(chunk: bytes) -> None:
    """Others have their turn between; nothing is lost."""
    count = 200_000 // len(chunk)
    body, buffer, payload, turns = Chunked(lambda: None), bytearray(chunk * count + b"0\r\n\r\n"), b"", 0
    complete = False
    while not complete:
        before = len(buffer)
        data, complete = body.read(buffer)
        assert before - len(buffer) <= 18_000
        assert body.more or complete
        payload, turns = payload + data, turns + 1
    assert (payload, bytes(buffer)) == (b"x" * count, b"")
    assert turns > 10


def test_large_chunks_are_read_at_once() -> None:
    body, buffer = Chunked(lambda: None), bytearray(b"40000\r\n" + b"x" * 0x40000 + b"\r\n0\r\n\r\n")
    assert body.read(buffer) == (b"x" * 0x40000, True)

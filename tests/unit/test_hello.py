"""ClientHellos: read strictly, from any pieces, within bounds."""

import pytest

from harness.hellos import extension, hello, record, server_name
from harness.raw import client_hello
from outward.core.reasons import Reason
from outward.tls.client_hello import MAX_HELLO, Hello, HelloError, HelloReader, NotTlsError


def read(data: bytes) -> Hello | None:
    return HelloReader().feed(data)


def refusal(data: bytes) -> HelloError:
    with pytest.raises(HelloError) as caught:
        read(data)
    return caught.value


def test_a_real_hello_gives_name_and_protocols():
    found = read(client_hello("a.test", ("h2", "http/1.1")))
    assert found == Hello("a.test", (b"h2", b"http/1.1"), ech=False)
    assert read(client_hello(None)).sni is None


def test_grease_and_unknown_extensions_are_passed_over():
    greased = hello(extension(0x0A0A), extension(0, server_name(b"a.test")), extension(0x2A2A, b"\x00"))
    assert read(record(greased)) == Hello("a.test", (), ech=False)


@pytest.mark.parametrize("kind", [0xFE0D, 0xFE08, 0xFFCE])
def test_encrypted_client_hello_is_noticed(kind: int):
    assert read(record(hello(extension(kind, b"x")))).ech


def test_a_hello_without_extensions_is_one():
    assert read(record(hello(block=b""))) == Hello(None, (), ech=False)


def test_a_hello_over_many_records_and_segments_is_reassembled_and_kept_as_it_came():
    message = hello(extension(0, server_name(b"a.test")))
    data = b"".join(record(message[at : at + 7]) for at in range(0, len(message), 7))
    reader = HelloReader()
    found = [reader.feed(bytes([byte])) for byte in data]
    assert found[-1] is not None
    assert found[-1].sni == "a.test"
    assert set(found[:-1]) == {None}
    assert reader.data == data


@pytest.mark.parametrize("data", [b"GET /", b"\x80\x2e\x01\x03\x01", b"\x15\x03", b"\x16\x02", b"SSH-2.0", b"\x00"])
def test_other_protocols_are_told_at_the_first_byte_that_differs(data: bytes):
    with pytest.raises(NotTlsError):
        read(data)


NAME = server_name(b"a.test")
MALFORMED = [
    record(b""),
    b"\x16\x03\x01\x40\x01",
    record(b"\x02\x00\x00\x00"),
    record(b"\x01\x00\x00\x00"),
    record(hello() + b"\x01"),
    record(hello(block=b"\x00")),
    record(hello(block=b"\x00\x05\x00\x00\x00\x00")),
    record(hello(block=b"\x00\x04\x00\x00\x00\x09")),
    record(hello(extension(0, b""))),
    record(hello(extension(0, b"\x00\x03\x00\x00\x00"))),
    record(hello(extension(0, b"\x00\x05\x01\x00\x02a."))),
    record(hello(extension(0, NAME[:-1]))),
    record(hello(extension(0, server_name(b"\xe1.test")))),
    record(hello(extension(16, b"\x00\x02\x05h"))),
    record(hello(extension(16, b"\x00\x01\x00"))),
    record(hello(extension(16, b"\x00"))),
    record(hello(extension(10), extension(10))),
    record(hello(version=b"\x02\x00")),
]


@pytest.mark.parametrize("data", MALFORMED)
def test_lengths_that_disagree_are_refused(data: bytes):
    error = refusal(data)
    assert error.reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        record(hello(extension(0, NAME), extension(0, NAME))),
        record(hello(extension(0, b"\x00\x0a\x00\x00\x02a.\x00\x00\x02b."))),
    ],
)
def test_two_server_names_are_ambiguous(data: bytes):
    assert refusal(data).reason is Reason.SNI_MISMATCH


@pytest.mark.parametrize(
    "data",
    [
        record(b"\x01" + (MAX_HELLO + 1).to_bytes(3)),
        b"".join(record(b"\x01\x00\x7f\xff" if not n else b"x") for n in range(65)),
        b"".join(record((b"" if n else b"\x01\x00\x7f\xff") + bytes(16_000)) for n in range(3)),
    ],
    ids=["announced", "records", "bytes"],
)
def test_a_hello_beyond_the_bounds_is_refused(data: bytes):
    assert refusal(data).reason is Reason.TOO_LARGE

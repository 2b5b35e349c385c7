"""What the kernel's answers say of datagrams that nobody in the jail took."""

import socket
import struct

import pytest

from outward.jail.datagrams import destination


def answer(*, to: str = "192.0.2.1", port: int = 4433, kind: tuple[int, int] = (3, 3), protocol: int = 17) -> bytes:
    """Return an ICMP message with its IP header, as a raw socket gets it."""
    head = struct.pack("!BBHHHBBH4s4s", 0x46, 0, 60, 0, 0, 64, protocol, 0, bytes(4), socket.inet_aton(to)) + bytes(4)
    within = head + struct.pack("!HHHH", 40000, port, 9, 0)
    return struct.pack("!B19x", 0x45) + struct.pack("!BBHI", *kind, 0, 0) + within


def test_it_is_where_the_datagram_was_going():
    assert destination(answer()) == ("192.0.2.1", 4433)


@pytest.mark.parametrize(
    "packet",
    [
        answer(kind=(3, 1)),
        answer(kind=(8, 3)),
        answer(protocol=6),
        answer(to="127.0.0.5"),
        answer()[:-5],
        answer()[:30],
        b"",
    ],
    ids=["no host", "another message", "no UDP", "loopback", "no ports", "cut short", "empty"],
)
def test_what_is_something_else_says_nothing(packet: bytes):
    assert destination(packet) is None

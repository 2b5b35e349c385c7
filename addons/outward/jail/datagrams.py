"""Datagrams that nobody in the jail takes: the kernel answers each with an ICMP message, and these are counted.

Nothing leads a datagram to the proxy. So what is sent past it is refused, and told of with where it was going.
"""

import contextlib
import ipaddress
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable

_SOL_RAW, _FILTER = 255, 1  # ICMP_FILTER of raw(7)
_UNREACHABLE, _PORT = 3, 3  # type and code (RFC 792)
_UDP = 17
_LONGEST = 2048  # bytes; a message holds the head of what it answers
_PAUSE = 0.05  # seconds between two reports
_MOST = 64  # destinations that are told apart
_MOST_AT_ONCE = 4096  # datagrams

type Destination = tuple[str, int]


def witness() -> socket.socket | None:
    """Return a socket that gets the kernel's answers to datagrams which nobody takes; None if it gives none."""
    try:
        found = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except OSError:
        return None
    found.setsockopt(_SOL_RAW, _FILTER, struct.pack("=I", 0xFFFFFFFF ^ 1 << _UNREACHABLE))
    return found


class Datagrams:
    """Counts them by destination, and tells how many there were so far."""

    def __init__(self, witness: socket.socket, tell: Callable[[Destination, int], None]) -> None:
        self._witness, self._tell = witness, tell
        self._counts: Counter[Destination] = Counter()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to count; the thread ends with the process."""
        threading.Thread(target=self._count, daemon=True).start()

    def report(self) -> None:
        """Tell of what has come by now."""
        with self._lock:
            changed: set[Destination] = set()
            with contextlib.suppress(OSError):  # there are no more
                for _ in range(_MOST_AT_ONCE):
                    where = destination(self._witness.recv(_LONGEST, socket.MSG_DONTWAIT))
                    if where is not None and (where in self._counts or len(self._counts) < _MOST):
                        self._counts[where] += 1
                        changed.add(where)
            for each in changed:
                self._tell(each, self._counts[each])

    def _count(self) -> None:
        while True:
            self._witness.recv(1, socket.MSG_PEEK)
            self.report()
            time.sleep(_PAUSE)  # who sends many is told of seldom


def destination(packet: bytes) -> Destination | None:
    """Return where the datagram was going that an ICMP message answers; None for other messages, and for loopback.

    Args:
        packet: with its IP header, as a raw socket gets it.
    """
    message = packet[4 * (packet[0] & 0xF) :] if packet else b""
    inner = message[8:]
    if message[:2] != bytes((_UNREACHABLE, _PORT)) or len(inner) < 20 or inner[9] != _UDP:
        return None
    address, ports = ipaddress.IPv4Address(inner[16:20]), inner[4 * (inner[0] & 0xF) :]
    return None if address.is_loopback or len(ports) < 4 else (str(address), int.from_bytes(ports[2:4]))

"""The jail's own name server: it asks nobody, and gives each name an address that stands for it. Pure.

A program that takes no proxy from its environment resolves a name and dials the address. The name stands in what it
sends then (TLS, HTTP), or is found again by the address. The range is that of benchmarks, which is nobody's (RFC 2544).
"""

import re
import struct

_FIRST, _COUNT = 0xC6120001, 0x1FFFE  # 198.18.0.1, and the addresses behind it in 198.18.0.0/15
_OWN, _LOOPBACK = "localhost", 0x7F000001
_MOST = 65536  # names that are kept; the oldest goes first
_HEADER = struct.Struct("!6H")
_ADDRESS, _INTERNET = 1, 1  # RFC 1035 3.2.2, 3.2.4
_ANSWERS, _RECURSES = 0x8000, 0x0180  # flags: this is an answer; recursion was asked for, and is to be had
_LABEL = re.compile(rb"[A-Za-z0-9_-]{1,63}")
_LONGEST = _HEADER.size + 253
_SECONDS = 30  # that an answer may be kept


class ResolverNames:
    """Names and the addresses that stand for them."""

    def __init__(self) -> None:
        self._addresses: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._next = 0

    def name_of(self, address: bytes) -> str | None:
        """Return the name that an address, of four bytes, stands for."""
        return self._names.get(int.from_bytes(address))

    def answer(self, query: bytes) -> tuple[bytes, str | None] | None:
        """Return the answer to a query, and the name that has got an address by it; None for what is no query.

        Every name has an address of version 4, and nothing else; `localhost` has the jail's own (RFC 6761 6.3).
        """
        if len(query) < _HEADER.size:
            return None
        number, flags, questions, *_ = _HEADER.unpack_from(query)
        read = _question(query) if questions == 1 and not flags & 0xF800 else None
        if read is None:
            return None
        name, kind, end = read
        if kind != _ADDRESS:
            return _HEADER.pack(number, _ANSWERS | _RECURSES, 1, 0, 0, 0) + query[_HEADER.size : end], None
        own = name == _OWN or name.endswith(f".{_OWN}")
        new = not own and name not in self._addresses
        address = _LOOPBACK if own else self._address(name)
        answer = struct.pack("!HHHIHI", 0xC000 | _HEADER.size, _ADDRESS, _INTERNET, _SECONDS, 4, address)
        head = _HEADER.pack(number, _ANSWERS | _RECURSES, 1, 1, 0, 0)
        return head + query[_HEADER.size : end] + answer, name if new else None

    def _address(self, name: str) -> int:
        if name not in self._addresses:
            if len(self._addresses) >= _MOST:
                oldest = next(iter(self._addresses))
                del self._names[self._addresses.pop(oldest)]
            self._addresses[name] = _FIRST + self._next
            self._names[_FIRST + self._next] = name
            self._next = (self._next + 1) % _COUNT
        return self._addresses[name]


def _question(query: bytes) -> tuple[str, int, int] | None:
    """Return the name that is asked for, in lower case, the kind of record, and where the question ends."""
    labels, at = [], _HEADER.size
    while at < len(query) and (length := query[at]):
        labels.append(query[at + 1 : at + 1 + length])
        at += 1 + length
    if not labels or at + 5 > len(query) or at > _LONGEST or not all(map(_LABEL.fullmatch, labels)):
        return None
    kind, space = struct.unpack_from("!HH", query, at + 1)
    return (b".".join(labels).decode("ascii").lower(), kind, at + 5) if space == _INTERNET else None

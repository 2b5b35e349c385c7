"""DNS messages: one address question written, one answer read. Sans-IO, and only what an address look-up needs.

Owns the strictness of answers: identity, question, bounds, and the alias chain, which is followed only within the
answer. A tenth of the CPU of a general library per look-up. Never sends anything.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from outward.core.addresses import Address

MAX_ALIASES = 8  # CNAMEs in a chain; Unbound followed 8 for long, and BIND follows 11 (max-query-restarts)
MAX_POINTERS = 16  # in one name; well-formed messages need one or two
MAX_NAME = 255  # octets on the wire, RFC 1035 2.3.4
MAX_TTL = 0x7FFFFFFF  # larger values mean zero, RFC 2181 8

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_RECURSION_DESIRED = 0x0100  # this, and the four below: RFC 1035 4.1.1
_RESPONSE = 0x8000
_OPCODE = 0x7800
_TRUNCATED = 0x0200
_RCODE = 0x000F
_CNAME = 5  # RFC 1035 3.2.2
_IN = 1  # RFC 1035 3.2.4


class RecordType(IntEnum):
    """Record types that are asked for."""

    A = 1
    AAAA = 28


class Rcode(IntEnum):
    """Response codes that are told apart; every other one means that the server is of no help."""

    NOERROR = 0
    NXDOMAIN = 3


class MessageError(ValueError):
    """The bytes are not a well-formed answer to the question that was asked."""


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """What a server said about one question.

    Attributes:
        rcode: response code (RFC 1035 4.1.1).
        truncated: whether the answer must be asked for again over TCP; the other fields then say nothing.
        addresses: in the server's order.
        ttl: seconds, the least along the alias chain.
    """

    rcode: int
    truncated: bool = False
    addresses: tuple[Address, ...] = ()
    ttl: int = 0


def wire_name(name: str) -> bytes:
    """Return the wire form of a canonical name, absolute."""
    labels = name.encode("ascii").split(b".")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def write_question(ident: int, name: bytes, kind: RecordType) -> bytes:
    """Return a query with recursion desired.

    Args:
        ident: message id, 16 bits, unpredictable.
        name: wire form, lower case.
        kind: which addresses.
    """
    return _HEADER.pack(ident, _RECURSION_DESIRED, 1, 0, 0, 0) + name + _QUESTION.pack(kind, _IN)


def read_answer(data: bytes, ident: int, name: bytes, kind: RecordType) -> DnsAnswer:
    """Read the answer to a question.

    Raises:
        MessageError: for another id, another question, or a message that cannot be read to its last answer.
    """
    try:
        return _read(data, ident, name, kind)
    except (struct.error, IndexError) as error:
        raise MessageError("the message ends too early") from error


def _read(data: bytes, ident: int, name: bytes, kind: RecordType) -> DnsAnswer:
    answered, flags, questions, records, _, _ = _HEADER.unpack_from(data)
    if answered != ident or not flags & _RESPONSE or flags & _OPCODE or questions != 1:
        raise MessageError("not an answer to this question")
    asked, offset = _read_name(data, _HEADER.size)
    if asked != name or _QUESTION.unpack_from(data, offset) != (kind, _IN):
        raise MessageError("an answer to another question")
    if flags & _TRUNCATED:
        return DnsAnswer(flags & _RCODE, truncated=True)
    addresses, ttl = _follow(name, *_read_records(data, offset + _QUESTION.size, records, kind))
    return DnsAnswer(flags & _RCODE, addresses=addresses, ttl=ttl)


type _Addresses = dict[bytes, list[tuple[Address, int]]]
type _Aliases = dict[bytes, tuple[bytes, int]]


def _read_records(data: bytes, offset: int, count: int, kind: RecordType) -> tuple[_Addresses, _Aliases]:
    addresses: _Addresses = {}
    aliases: _Aliases = {}
    for _ in range(count):
        owner, offset = _read_name(data, offset)
        rtype, rclass, ttl, length = _RECORD.unpack_from(data, offset)
        start = offset + _RECORD.size
        offset = start + length
        if offset > len(data):
            raise MessageError("a record ends behind the message")
        ttl = 0 if ttl > MAX_TTL else ttl
        if rclass != _IN:
            continue
        if rtype == kind:
            addresses.setdefault(owner, []).append((_address(data[start:offset], kind), ttl))
        elif rtype == _CNAME:
            aliases.setdefault(owner, (_read_name(data, start)[0], ttl))
    return addresses, aliases


def _address(data: bytes, kind: RecordType) -> Address:
    if len(data) != (4 if kind is RecordType.A else 16):
        raise MessageError("an address of the wrong length")
    return IPv4Address(data) if kind is RecordType.A else IPv6Address(data)


def _follow(name: bytes, addresses: _Addresses, aliases: _Aliases) -> tuple[tuple[Address, ...], int]:
    """Follow aliases from the name that was asked to its addresses; whatever lies off that chain is ignored."""
    least = MAX_TTL
    for _ in range(MAX_ALIASES + 1):
        if name in addresses:
            found = addresses[name]
            return tuple(address for address, _ in found), min(least, *(ttl for _, ttl in found))
        if name not in aliases:
            break
        name, ttl = aliases[name]
        least = min(least, ttl)
    return (), 0


def _read_name(data: bytes, offset: int) -> tuple[bytes, int]:
    """Return a name in lower-case wire form, and the offset behind it (RFC 1035 4.1.4)."""
    name = bytearray()
    behind, pointers = 0, 0
    while length := data[offset]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | data[offset + 1]
            behind = behind or offset + 2
            pointers += 1
            if target >= offset or pointers > MAX_POINTERS:
                raise MessageError("a compression pointer that leads nowhere")
            offset = target
            continue
        label = data[offset : offset + 1 + length]
        if length > 63 or len(label) <= length or len(name) + len(label) >= MAX_NAME:
            raise MessageError("a label or a name that is too long")
        name += label
        offset += 1 + length
    return bytes(name + b"\0").lower(), behind or offset + 1

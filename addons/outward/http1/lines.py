"""Field lines of HTTP/1 heads, each read once: clients and servers say the same lines again and again.

Owns what a line is by itself: its grammar, its name and value, and what becomes of it on the next hop if nothing else
of the head speaks against it. Sans-IO. What lines mean together is `fields` and `forwarding`.
"""

import re
from enum import IntEnum
from itertools import compress
from typing import NamedTuple

from outward.http1.fields import (
    DECIDING,
    TOKEN,
    Fields,
    HeadLimits,
    folded_name,
    malformed,
    too_large,
)

_LINE = re.compile(rb"(" + TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*+)")  # RFC 9112 5, no folding
_REMEMBERED, _SHORT = 4096, 128  # lines, bytes of one: half a MiB at most
_PRIVATE = re.compile(r"auth|cookie|key|token|secret|pass|cred|sign|session")  # whose values are not remembered
# Lines that stay are spelled as we would: `name: value`, without blanks around the value.
_STAYING = re.compile(
    rb"(?!(?:connection|keep-alive|te|trailer|upgrade|http2-settings|expect|host|alt-svc):"
    rb"|(?:proxy|outward)[-_.]|x[-_.](?:http|method|original|rewrite|override))"
    rb"[^:]++: [\x21-\x7e\x80-\xff].*+(?<![\t ])",
    re.IGNORECASE,
)
_DROPPED = re.compile(rb"connection: keep-alive|keep-alive:.*+|(?:proxy|outward)[-_.].*+", re.IGNORECASE)


class Fate(IntEnum):
    """What becomes of a line on the next hop."""

    STAYS = 0
    """Goes on as it is."""
    DROPPED = 1
    """Goes no further, and takes no other line with it."""
    HOST = 2
    """Names the destination: a request gets our own."""
    ASKS = 3
    """The head has to be looked at as a whole."""


_HOST, _ASKS = Fate.HOST, Fate.ASKS
# A login that belongs to the connection and not to the request (RFC 4559), in a request or in an answer.
_CREDENTIALS = frozenset({"authorization", "www-authenticate"})
_LOGIN = re.compile(r"\b(?:ntlm|negotiate|kerberos|nego2)\b", re.IGNORECASE)


class Line(NamedTuple):
    """A field line.

    Attributes:
        field: its name in lower case, and its value without outer blanks.
        fate: what becomes of it.
        stays: whether that is to go on as it is.
        decides: `fields.governed` has to look at it.
        logs_in: somebody logs in with it on the connection itself.
    """

    field: tuple[str, str]
    fate: Fate
    stays: bool
    decides: bool
    logs_in: bool


class Section(NamedTuple):
    """The field lines of one head.

    Attributes:
        received: all of them, from the CRLF before the first to the empty line.
        fields: lower-case names and values (Latin-1), in order.
        deciding: those of them that `fields.governed` has to look at.
        staying: the lines that go on as they are.
        host: whether one of the others is a Host.
        plain: whether the others are dropped without a look at the head as a whole.
        logs_in: whether somebody logs in on the connection itself.
    """

    received: bytes
    fields: Fields
    deciding: Fields
    staying: list[bytes]
    host: bool
    plain: bool
    logs_in: bool


_known: dict[bytes, Line] = {}


def read_section(received: bytes, lines: list[bytes], limits: HeadLimits) -> Section:
    """Read the field lines of a head, as received, and as split at each CRLF.

    Raises:
        HeadError: a line is none, or there are more than the limit.
    """
    if len(lines) > limits.header_count:
        raise too_large("too many fields")
    if not lines:
        return Section(received, [], [], [], host=False, plain=True, logs_in=False)
    found: list[Line | None] = [*map(_known.get, lines)]
    read = [each or _read(line) for each, line in zip(found, lines, strict=True)] if None in found else found
    fields, fates, stay, decide, log_in = zip(*read, strict=True)  # by column: this is done for every head
    return Section(
        received, [*fields], [*compress(fields, decide)], [*compress(lines, stay)], _HOST in fates, _ASKS not in fates,
        True in log_in,
    )  # fmt: skip


def logs_in(name: str, value: str) -> bool:
    """Tell whether somebody logs in with a field on the connection itself; its name is lower case.

    Example:
        >>> logs_in("authorization", "Negotiate abc"), logs_in("authorization", "Bearer abc")
        (True, False)
    """
    return name in _CREDENTIALS and _LOGIN.search(value) is not None


def _read(line: bytes) -> Line:
    found = _LINE.fullmatch(line)
    if found is None:
        raise malformed("not a strict HTTP/1.0 or HTTP/1.1 head")
    name, value = found[1].decode("ascii").lower(), found[2].decode("latin-1").strip(" \t")
    fate = _fate(line, name)
    decides = name in DECIDING or _disguised(name)
    read = Line((name, value), fate, fate is Fate.STAYS, decides, logs_in(name, value))
    if len(line) <= _SHORT and not _PRIVATE.search(name):
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[line] = read
    return read


def _disguised(name: str) -> bool:
    """Tell whether others read a name as a governed one."""
    return ("_" in name or "." in name) and folded_name(name) in DECIDING


def _fate(line: bytes, name: str) -> Fate:
    if _STAYING.fullmatch(line):
        return Fate.STAYS
    if _DROPPED.fullmatch(line):
        return Fate.DROPPED
    return Fate.HOST if name == "host" else Fate.ASKS

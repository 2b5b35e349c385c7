"""Field sections of HTTP/1 messages: one grammar, one judgement of framing, one list of what stays on this hop.

Owns what RFC 9110 and 9112 leave to choice: wherever two programs could read a message differently it is refused,
never repaired. Sans-IO; knows nothing of targets, policy or connections.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from outward.core.reasons import MEANINGS, Reason

if TYPE_CHECKING:
    from outward.http1.head import Head

Fields = list[tuple[str, str]]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # RFC 9110 5.6.2
SECTION = rb"((?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"  # no folding, no bare CR or LF, no controls

_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")
_TOKEN_TEXT = re.compile(TOKEN.decode("ascii"))

_FRAMING = frozenset({"content-length", "transfer-encoding"})
_ONCE = _FRAMING | {
    "host",
    "content-type",
    "expect",
    "upgrade",
    "proxy-authorization",
    "outward-conversation",
    "sec-websocket-version",
    "sec-websocket-key",
}
DECIDING = _ONCE | {"connection", "keep-alive", "te", "trailer", "content-encoding"}
_NOT_TO_LIST = _FRAMING | {"host", "content-type", "content-encoding", "expect"}

_NO_OPTIONS, _KEEP_ALIVE = frozenset[str](), frozenset({"keep-alive"})

_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings"})
_OURS = ("proxy-", "outward-")


class HeadLimits(Protocol):
    """Bounds of a message head."""

    @property
    def head_bytes(self) -> int:
        """Longest head, in bytes."""

    @property
    def header_count(self) -> int:
        """Most fields in a head."""


class HeadError(Exception):
    """A head that is refused.

    Attributes:
        reason: for the event and the denial.
        status: HTTP status; differs from the reason's own for heads that are too large (431).
        advice: what to do about it, where that is more than the reason's own cure.
        head: what was understood before the refusal; None if nothing was.
    """

    head: "Head | None" = None

    def __init__(self, reason: Reason, why: str, status: int | None = None, advice: str | None = None) -> None:
        super().__init__(why)
        self.reason = reason
        self.advice = advice
        self.status = MEANINGS[reason].status if status is None else status


def malformed(why: str) -> HeadError:
    """Return the refusal of an ambiguous message."""
    return HeadError(Reason.MALFORMED_REQUEST, why)


def too_large(why: str) -> HeadError:
    """Return the refusal of a head beyond the limits (RFC 6585 5)."""
    return HeadError(Reason.TOO_LARGE, why, 431)


def governed(fields: Fields) -> dict[str, str]:
    """Return the fields that decide how a message is read; each stands at most once and in ASCII.

    Raises:
        HeadError: for a repeated one, one in other than ASCII, or a spelling that CGI-like servers would fold into one
            (`Content_Length`).
    """
    found: dict[str, str] = {}
    for name, value in fields:
        if name in DECIDING:
            if not value.isascii() and name != "host":  # whose own reader says so better
                raise malformed(f"other than ASCII in {name}")
            if name in found:
                if name in _ONCE:
                    raise malformed(f"a repeated {name}")
                value = f"{found[name]}, {value}"  # noqa: PLW2901 - a list field continues (RFC 9110 5.3)
            found[name] = value
        elif ("_" in name or "." in name) and folded_name(name) in DECIDING:
            raise malformed("a field name that others read as a governed one")
    return found


def folded_name(name: str) -> str:
    """Return a lower-case field name as CGI-like servers read it."""
    return name.replace("_", "-").replace(".", "-")


def framing(found: dict[str, str], *, http_10: bool) -> int | None:
    """Return the length of a body in bytes, or None if it is chunked; 0 if nothing is said (a request's rule).

    Raises:
        HeadError: for every combination of RFC 9112 6.3 that peers have read in different ways.
    """
    coding, length = found.get("transfer-encoding"), found.get("content-length")
    if coding is not None:
        if length is not None:
            raise malformed("both Transfer-Encoding and Content-Length")
        if coding != "chunked" or http_10:
            raise malformed("a Transfer-Encoding other than `chunked`, once, in HTTP/1.1")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise malformed("a Content-Length that is no plain number")
    return int(length)


def connection_options(found: dict[str, str]) -> frozenset[str]:
    """Return the options of Connection, in lower case.

    Raises:
        HeadError: when it lists a field without which the message would mean something else, or is no list of tokens.
    """
    value = found.get("connection")
    if value is None:
        return _NO_OPTIONS
    if value == "keep-alive":  # nearly always
        return _KEEP_ALIVE
    options = frozenset(option.strip(" \t").lower() for option in value.split(",")) - {""}
    if options & _NOT_TO_LIST or not all(map(_TOKEN_TEXT.fullmatch, options)):
        raise malformed("a field that Connection may not list")
    return options


def hop_fields(fields: Iterable[tuple[str, str]], *, upgrade: bool = False) -> frozenset[str]:
    """Return the lower-case names of fields that a request does not carry to the next hop.

    Hop-by-hop fields, what Connection lists, every `Proxy-*` and `Outward-*` in any spelling that folds into one.
    Transfer-Encoding stays: it is the body's framing, which goes on as it came.

    Args:
        fields: names and values, in any case.
        upgrade: keep Connection and Upgrade, for a WebSocket handshake that was judged.
    """
    names = set(_HOP)
    for name, value in fields:
        lower = name.lower()
        if lower == "connection":
            names.update(option.strip(" \t").lower() for option in value.split(","))
        elif folded_name(lower).startswith(_OURS):
            names.add(lower)
    if upgrade:
        names -= {"connection", "upgrade"}
    return frozenset(names - {""} - _NOT_TO_LIST)


def reply_fields(fields: Iterable[tuple[str, str]], *, upgrade: bool = False) -> frozenset[str]:
    """Return the lower-case names of fields that a response does not carry to the client.

    As `hop_fields`, and Alt-Svc, which would lead the client past the proxy (RFC 7838).
    """
    return hop_fields(fields, upgrade=upgrade) | {"alt-svc"}

"""The strict reader of HTTP/1 heads: what a request asks for, or why it is refused.

Owns the request line, the four forms of target and their agreement with Host (RFC 9112 3.2). Sans-IO; used by the gate
and by the engine, so that both read alike. Never judges policy.
"""

import re
from dataclasses import dataclass, field

from outward.core.names import Host, MalformedHostError, parse_authority
from outward.core.reasons import Reason
from outward.http1.fields import (
    TOKEN,
    Fields,
    HeadError,
    HeadLimits,
    connection_options,
    framing,
    governed,
    malformed,
    too_large,
)
from outward.http1.lines import Section, read_section

END = b"\r\n\r\n"
_ENDED = [b"", b""]  # what a split at each CRLF leaves of it

REQUEST_LINE = rb"(" + TOKEN + rb") ([\x21-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n"
_REQUEST = re.compile(REQUEST_LINE.removesuffix(rb"\r\n"))
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*+)?")
ABSOLUTE = re.compile(r"([Hh][Tt][Tt][Pp]://[^/?]*)(/[^?]*)?(\?.*)?")
_OTHER = re.compile(r"(https|ws|wss)://([^/?#]*).*", re.IGNORECASE)
_CONVERSATION = re.compile(r"[\x21-\x7e]{1,200}")

_NOWHERE = Host("")
CLEAR, _SECURE = 80, 443  # the ports that a Host without one means (RFC 9110 4.2)
_SCHEMES = {  # default port, and what to send instead
    "https": (_SECURE, "A proxy carries `https://` inside a CONNECT: send that, or use a client that does."),
    "wss": (_SECURE, "A proxy carries `wss://` inside a CONNECT: send that, or use a client that does."),
    "ws": (CLEAR, "Write `http://` for `ws://` in the request target, or send a CONNECT."),
}
_USERINFO = "Leave user name and password out of the URL: credentials for the destination go into `Authorization`."
_OFFER = re.compile(r"(?:h2c|tls/[0-9.]+)(?:[ \t]*,[ \t]*(?:h2c|tls/[0-9.]+))*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Within:
    """The connection that a request comes through, which leads to one port, and in a tunnel to one host.

    Attributes:
        host, port: target of the CONNECT; no host where Host names it (see `redirected`).
        default_port: the port that a Host without one means (443 inside TLS, 80 in the clear).
    """

    host: Host
    port: int
    default_port: int = _SECURE


def redirected(port: int) -> Within:
    """Return what plain requests come through that were on their way to a port when a firewall led them here."""
    return Within(_NOWHERE, port, CLEAR)


@dataclass(slots=True)
class Head:
    """A request head that every program reads alike. Never changed once parsed: equal heads may be one object.

    Attributes:
        method: as sent; always upper case.
        target: as sent, ASCII.
        host, port: the destination.
        path: raw path without query; None for CONNECT.
        fields: lower-case names and values (Latin-1), in order.
        length: body length in bytes; None if it is chunked.
        websocket: a WebSocket handshake (RFC 6455 4.2.1).
        keep_alive: whether the client wants the connection to go on.
        conversation: value of Outward-Conversation.
        section: its field lines as they were read; None for what was made by hand.
    """

    method: str
    target: str
    http_10: bool
    fields: Fields
    host: Host = _NOWHERE
    port: int = 0
    path: str | None = None
    length: int | None = 0
    websocket: bool = False
    expect: bool = False
    keep_alive: bool = True
    authorization: str | None = None
    conversation: str | None = None
    section: Section | None = field(default=None, repr=False, compare=False)

    def get(self, name: str) -> str | None:
        """Return the first value of a field, or None. Names are lower case."""
        for each, value in self.fields:
            if each == name:
                return value
        return None


@dataclass(slots=True)
class ResponseHead:
    """A response head.

    Attributes:
        length: of the body, in bytes; None if it is chunked or ends with the connection.
        until_close: the body ends with the connection.
        keep_alive: whether the server would go on with the connection.
        section: its field lines as they were read; None for what was made by hand.
    """

    status: int
    http_10: bool
    fields: Fields
    length: int | None
    until_close: bool
    keep_alive: bool = True
    section: Section | None = field(default=None, repr=False, compare=False)


def parse_head(raw: bytes, limits: HeadLimits, within: Within | None = None, last: Head | None = None) -> Head:
    """Read one request head, up to and with its empty line.

    Args:
        raw: the head's bytes.
        limits: bounds of bytes and fields.
        within: the tunnel that it came through; None on the proxy port, where a target is absolute or a CONNECT's.
        last: the head before it on the same connection: fields that are the same to the byte are not read again.

    Raises:
        HeadError: for whatever is not understood, or could be understood in two ways.
    """
    if len(raw) > limits.head_bytes:
        raise too_large("the head is too long")
    if last is not None and (same := _with_fields_of(last, raw, within)) is not None:
        return same
    match, section = _split(_REQUEST, raw, limits)
    method, target, minor = match.groups()
    head = Head(method.decode("ascii"), target.decode("latin-1"), minor == b"0", section.fields, section=section)
    try:
        found = governed(section.deciding)
        if within is None:
            head.authorization = found.get("proxy-authorization")
        _judge_method(head.method)
        _locate(head, within)
        _judge_host(head, found, within)
        _judge_body(head, found)
    except HeadError as error:
        error.head = head
        raise
    return head


def _with_fields_of(last: Head, raw: bytes, within: Within | None) -> Head | None:
    """Return a head that differs from another one in its target at most; None if it has to be read."""
    end = raw.find(b"\r\n")
    match = _REQUEST.fullmatch(raw, 0, end) if last.section is not None and raw[end:] == last.section.received else None
    if match is None or match[1] != last.method.encode("ascii") or (match[3] == b"0") is not last.http_10:
        return None
    head = Head(  # `replace` would cost twice as much
        last.method, match[2].decode("latin-1"), last.http_10, last.fields, _NOWHERE, 0, None, last.length,
        last.websocket, last.expect, last.keep_alive, last.authorization, last.conversation, last.section,
    )  # fmt: skip
    try:
        _locate(head, within)
    except HeadError:
        return None
    return head if head.host == last.host and head.port == last.port else None


def _split(first: re.Pattern[bytes], raw: bytes, limits: HeadLimits) -> tuple[re.Match[bytes], Section]:
    """Return the first line of a head, and its field lines.

    Raises:
        HeadError: it is not of that form.
    """
    lines = raw.split(b"\r\n")
    match = first.fullmatch(lines[0])
    if match is None or lines[-2:] != _ENDED:
        raise malformed("not a strict HTTP/1.0 or HTTP/1.1 head")
    return match, read_section(raw[len(lines[0]) :], lines[1:-2], limits)


def _judge_method(method: str) -> None:
    """Refuse TRACE, and spellings that a lenient server takes for a method that the policy names."""
    if method in ("TRACE", "TRACK", "PRI") or method != method.upper():
        raise malformed("a method that is not carried")


def _locate(head: Head, within: Within | None) -> None:
    """Read the target: authority form for CONNECT, absolute form on the proxy port, origin form in a tunnel."""
    target = head.target
    try:
        if within is not None:
            head.host, head.port = within.host, within.port
            if head.method == "CONNECT" or not target.startswith("/"):
                raise malformed("a request to its destination has a target in origin form")
            head.path = target.partition("?")[0]
        elif head.method == "CONNECT":
            _judge_userinfo(target)
            head.host, head.port = parse_authority(_ascii(target), None)
        else:
            _locate_absolute(head)
    except MalformedHostError as error:
        raise HeadError(Reason.MALFORMED_HOST, str(error)) from error
    if not target.isascii() or "#" in target:
        raise malformed("a byte that no target holds")


def _locate_absolute(head: Head) -> None:
    match = ABSOLUTE.fullmatch(head.target)
    if match is None:
        _judge_scheme(head)
        raise malformed("a target other than `http://host/path`")
    authority = match[1][len("http://") :]
    _judge_userinfo(authority)
    head.host, head.port = parse_authority(_ascii(authority), CLEAR)
    head.path = match[2] or "/"


def _judge_scheme(head: Head) -> None:
    """Refuse schemes that belong inside a CONNECT, and tell what to send instead."""
    match = _OTHER.fullmatch(head.target)
    if match is not None:
        port, advice = _SCHEMES[match[1].lower()]
        _judge_userinfo(match[2])
        head.host, head.port = parse_authority(_ascii(match[2]), port)
        raise HeadError(Reason.MALFORMED_REQUEST, f"a target that begins with `{match[1].lower()}:`", advice=advice)


def _judge_userinfo(authority: str) -> None:
    """Refuse credentials in a target (RFC 9110 4.2.4): one program's user name is another one's host."""
    if "@" in authority:
        raise HeadError(Reason.MALFORMED_HOST, "credentials in the target", advice=_USERINFO)


def _ascii(text: str) -> str:
    """Refuse other scripts on the wire: a name is sent as A-labels."""
    if not text.isascii():
        raise MalformedHostError("a host name on the wire is ASCII")
    return text


def _judge_host(head: Head, found: dict[str, str], within: Within | None) -> None:
    """Hold Host against the destination (RFC 9112 3.2.2 would ignore it; others do not).

    A CONNECT's Host only has to be one: it goes nowhere, and some clients name the proxy in it.
    """
    value = found.get("host")
    if value is None:
        if head.http_10 and within is None:
            return
        raise malformed("a missing Host")
    if head.method == "CONNECT" and value == head.target:
        return
    implied = head.port if head.method == "CONNECT" else within.default_port if within else CLEAR
    try:
        named = parse_authority(_ascii(value), implied)
    except MalformedHostError as error:
        raise HeadError(Reason.MALFORMED_HOST, f"in Host: {error}") from error
    if head.host == _NOWHERE:
        head.host = named[0]
    if head.method != "CONNECT" and named != (head.host, head.port):
        raise HeadError(Reason.HOST_MISMATCH, "Host is not the destination")


def _judge_body(head: Head, found: dict[str, str]) -> None:
    """Read what follows the head: body, upgrade, expectation, persistence."""
    if "host" in found and len(found) == 1 + (found.get("connection") == "keep-alive"):  # nothing else decides anything
        head.keep_alive = not head.http_10
        return
    head.length = framing(found, http_10=head.http_10)
    options = connection_options(found)
    head.keep_alive = not head.http_10 and "close" not in options
    head.conversation = found.get("outward-conversation")
    if head.conversation is not None and not _CONVERSATION.fullmatch(head.conversation):
        raise malformed("a conversation is named by 1 to 200 visible characters")
    expect, upgrade = found.get("expect"), found.get("upgrade")
    if expect is not None:
        if expect.lower() != "100-continue":
            raise malformed("an Expect other than 100-continue")
        head.expect = not head.http_10  # which knows no answer before the last (RFC 9110 10.1.1)
    if upgrade is not None and not _OFFER.fullmatch(upgrade):
        if not _is_websocket(head, found, options):
            raise HeadError(Reason.UPGRADE_NOT_ALLOWED, "an upgrade other than WebSocket, version 13")
        head.websocket = True
    if head.method == "CONNECT" and head.length != 0:
        raise malformed("a CONNECT with a body")


def _is_websocket(head: Head, found: dict[str, str], options: frozenset[str]) -> bool:
    return (
        head.method == "GET"
        and not head.http_10
        and head.length == 0
        and found["upgrade"].lower() == "websocket"
        and "upgrade" in options
        and found.get("sec-websocket-version") == "13"
        and "sec-websocket-key" in found
    )


def parse_response_head(raw: bytes, limits: HeadLimits, method: str = "GET") -> ResponseHead:
    """Read one response head, up to and with its empty line.

    Args:
        raw: the head's bytes.
        limits: bounds of bytes and fields.
        method: of the request, for the responses that have no body (RFC 9112 6.3).

    Raises:
        HeadError: where a client could read another message than the proxy does.
    """
    if len(raw) > limits.head_bytes:
        raise too_large("the head is too long")
    match, section = _split(_STATUS, raw, limits)
    status, http_10, fields = int(match[2]), match[1] == b"0", section.fields
    found = governed(section.deciding)
    if "transfer-encoding" in found:  # in any case (RFC 9112 7): the client gets our own spelling of it
        found["transfer-encoding"] = found["transfer-encoding"].lower()
    length = framing(found, http_10=http_10)
    keep = not http_10 and "close" not in connection_options(found)
    if method == "HEAD" or status < 200 or status in (204, 304):
        return ResponseHead(status, http_10, fields, 0, False, keep, section)
    until_close = "content-length" not in found and "transfer-encoding" not in found
    return ResponseHead(status, http_10, fields, None if until_close else length, until_close, keep, section)

"""Heads of HTTP/2 messages, read strictly (RFC 9113 8), in the form of HTTP/1, which is the one that is judged.

Owns what HTTP/2 adds: pseudo fields, each once and first; names in lower case; no field that belongs to a connection;
`:authority` and Host the same. What is left is judged by the readers of HTTP/1 heads, so that nothing is decided twice.
Sans-IO; never judges policy.
"""

import re
from collections.abc import Collection, Iterable

from outward.core.reasons import Reason
from outward.http1.fields import DECIDING, TOKEN, Fields, HeadError, HeadLimits, malformed, reply_fields, too_large

Pairs = list[tuple[bytes, bytes]]

_NAME = re.compile(rb"(?![^A-Z]*+[A-Z])" + TOKEN)
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*+(?<![\t ]))?)?")  # RFC 9113 8.2.1
_METHOD = re.compile(TOKEN)
_PATH = re.compile(rb"[\x21-\x7e\x80-\xff]++")
_AUTHORITY = re.compile(rb"[\x21-\x7e\x80-\xff]*+")
_STATUS = re.compile(rb"[1-5][0-9]{2}")
_REQUEST = frozenset({b":method", b":scheme", b":authority", b":path"})
_RESPONSE = frozenset({b":status"})
# RFC 9113 8.2.2: what belongs to a connection makes a message malformed.
_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_FRAMING = frozenset({b"connection", b"transfer-encoding", b"keep-alive"})  # of HTTP/1, as its heads go on
_CHUNKED = b"Transfer-Encoding: chunked"
_CHANGES_NOTHING = frozenset({"authorization", "cookie", "set-cookie", "location", "cache-control"})
_GRPC = re.compile(r"application/grpc(?:[+;].*+)?", re.IGNORECASE)


def is_grpc(content_type: str | None) -> bool:
    """Tell whether a message is gRPC's, whose clients read a status in fields and no body of an error.

    Example:
        >>> is_grpc("application/grpc+proto"), is_grpc("application/grpc-web"), is_grpc(None)
        (True, False, False)
    """
    return content_type is not None and _GRPC.fullmatch(content_type) is not None


def request_head(fields: Pairs, limits: HeadLimits, *, ended: bool) -> bytes:
    r"""Return the head of a request in the form of HTTP/1.1; `ended` if no body follows.

    Raises:
        HeadError: it is malformed, or has far too many fields.

    Example:
        >>> from outward.config.settings import Limits
        >>> begin = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a.test")]
        >>> request_head([*begin, (b"te", b"trailers")], Limits(), ended=True)
        b'GET / HTTP/1.1\r\nHost: a.test\r\nte: trailers\r\n\r\n'
    """
    pseudo, regular = _split(fields, _REQUEST, limits)
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method == b"CONNECT":
        raise malformed("a CONNECT within a tunnel")
    if not _METHOD.fullmatch(method) or not _PATH.fullmatch(path) or pseudo.get(b":scheme") != b"https":
        raise malformed("a request without its method, path or scheme")
    host = _host(pseudo.get(b":authority"), regular)
    lines, cookies = [b"%b %b HTTP/1.1" % (method, path), b"Host: " + host], []
    for name, value in regular:
        if name == b"cookie":
            cookies.append(value)  # pieces of one field (RFC 9113 8.2.3)
        elif name == b"te" and value != b"trailers":
            raise malformed("a TE other than `trailers`")
        elif name != b"host":
            lines.append(b"%b: %b" % (name, value))
    if cookies:
        lines.append(b"cookie: " + b"; ".join(cookies))
    length = _length(regular)
    if ended and length not in (None, b"0"):
        raise malformed("a Content-Length without a body")
    return _framed(lines, length, ended=ended)


def response_head(fields: Pairs, limits: HeadLimits, *, ended: bool) -> bytes:
    r"""Return the head of a final response in the form of HTTP/1.1; `ended` if no body follows.

    Raises:
        HeadError: it is malformed, or has far too many fields.

    Example:
        >>> from outward.config.settings import Limits
        >>> response_head([(b":status", b"200"), (b"grpc-status", b"0")], Limits(), ended=True)
        b'HTTP/1.1 200\r\ngrpc-status: 0\r\n\r\n'
    """
    pseudo, regular = _split(fields, _RESPONSE, limits)
    status = pseudo.get(b":status", b"")
    if not _STATUS.fullmatch(status) or status < b"200" or any(name == b"te" for name, _ in regular):
        raise malformed("a response without its status, or with one that HTTP/2 does not know")
    lines = [b"HTTP/1.1 " + status, *(b"%b: %b" % field for field in regular)]
    return _framed(lines, _length(regular), ended=ended or status in (b"204", b"304"))


def trailers(fields: Pairs, limits: HeadLimits) -> Fields:
    """Return what goes on of the fields behind a response.

    What frames, routes or authenticates does not (RFC 9110 6.5.1), nor what a response's head does not carry on.

    Raises:
        HeadError: they are malformed, or too many.
    """
    _, regular = _split(fields, frozenset(), limits)
    size = sum(len(name) + len(value) + 4 for name, value in regular)
    if len(regular) > limits.header_count or size > limits.head_bytes:
        raise too_large("the trailers are too long")
    found = [(name.decode("ascii"), value.decode("latin-1")) for name, value in regular]
    drop = reply_fields(found) | DECIDING | _CHANGES_NOTHING
    return [(name, value) for name, value in found if name not in drop]


def request_fields(raw: bytes, *, trailers: bool) -> Pairs:
    r"""Return the fields of a request that goes on, from its head in the form of HTTP/1.1.

    Args:
        raw: the head, whose first field is Host.
        trailers: the client takes fields behind a response.

    Example:
        >>> request_fields(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n\r\n", trailers=False)[2:]
        [(b':authority', b'a.test'), (b':path', b'/'), (b'x-a', b'b')]
    """
    first, host, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, path, _ = first.split(b" ")
    begin = [(b":method", method), (b":scheme", b"https"), (b":authority", host[len("Host: ") :]), (b":path", path)]
    return [*begin, *_fields(lines), *([(b"te", b"trailers")] if trailers else ())]


def response_fields(raw: bytes) -> Pairs:
    r"""Return the fields of a response, from its head in the form of HTTP/1.

    Example:
        >>> response_fields(b"HTTP/1.1 403 Blocked\r\nA: b\r\nConnection: close\r\n\r\n")
        [(b':status', b'403'), (b'a', b'b')]
    """
    first, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return [(b":status", first[9:12]), *_fields(lines)]


def _fields(lines: Iterable[bytes]) -> Pairs:
    found = []
    for line in lines:
        name, _, value = line.partition(b":")
        lower = name.lower()
        if lower not in _FRAMING:
            found.append((lower, value.strip(b" \t")))
    return found


def _split(fields: Pairs, known: Collection[bytes], limits: HeadLimits) -> tuple[dict[bytes, bytes], Pairs]:
    """Return the pseudo fields and the others; every value and name is what RFC 9113 allows.

    What is far too many is not read; who reads the form of HTTP/1 counts exactly, once pieces of cookies are joined.
    """
    if len(fields) > len(known) + 2 * limits.header_count:
        raise too_large("too many fields")
    pseudo: dict[bytes, bytes] = {}
    regular: Pairs = []
    for name, value in fields:
        if name.startswith(b":"):
            if regular or name in pseudo or name not in known:
                raise malformed("a pseudo field that is unknown, repeated or out of place")
            pseudo[name] = value
        elif not _NAME.fullmatch(name) or name in _CONNECTION:
            raise malformed("a field name that HTTP/2 does not allow")
        elif not _VALUE.fullmatch(value):
            raise malformed("a field value that HTTP/2 does not allow")
        else:
            regular.append((name, value))
    return pseudo, regular


def _host(authority: bytes | None, regular: Pairs) -> bytes:
    """Return the host that is asked for; Host, if it is sent as well, must say the same (RFC 9113 8.3.1)."""
    hosts = [value for name, value in regular if name == b"host"]
    if authority is not None and not _AUTHORITY.fullmatch(authority):
        raise malformed("an :authority that is none")
    if len(hosts) > 1 or (authority is None and not hosts):
        raise malformed("a missing or repeated host")
    if authority is None:
        return hosts[0]
    if hosts and hosts[0].lower() != authority.lower():
        raise HeadError(Reason.HOST_MISMATCH, "Host is not the :authority")
    return authority


def _length(regular: Pairs) -> bytes | None:
    found = [value for name, value in regular if name == b"content-length"]
    return found[0] if found else None  # a second one is refused by who reads the head


def _framed(lines: list[bytes], length: bytes | None, *, ended: bool) -> bytes:
    """Return a head whose framing says in the words of HTTP/1 whether a body follows."""
    if length is None and not ended:
        lines.append(_CHUNKED)
    return b"\r\n".join((*lines, b"", b""))

"""Heads as they go on: what a request and a response carry to the next hop.

Owns the rewriting of heads that were read and judged: one canonical Host, no hop-by-hop fields, no credentials, no
disguises of another method. Sans-IO; never judges.
"""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1
from types import MappingProxyType

from outward.core.names import Host
from outward.http1.fields import Fields, folded_name, hop_fields, reply_fields
from outward.http1.head import ABSOLUTE, Head, ResponseHead
from outward.http1.lines import Section

_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
# What frameworks take for the method or the path: a rule that names either would not hold (Symfony, Rails, IIS).
OVERRIDES = frozenset(
    {
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-override-url",
    }
)
_BODILESS = frozenset({101, 204, 304})  # RFC 9112 6.3
_CLOSE = b"Connection: close"


def authority(host: Host, port: int, default_port: int) -> str:
    """Return the one spelling of a destination that Host may have."""
    return str(host) if port == default_port else f"{host}:{port}"


def request_head(
    raw: bytes,
    head: Head,
    *,
    tls: bool,
    overrides: bool,
    length: int | None = None,
    fields: Mapping[str, str | None] = MappingProxyType({}),
    parent: list[bytes] | None = None,
) -> bytes:
    """Return a request head in the form that the next hop gets.

    Args:
        raw: the head as received, for the spelling of its names.
        head: the same, parsed.
        tls: the destination is spoken to over TLS.
        overrides: keep the fields in which frameworks look for another method or path.
        length: of a body that was rewritten; it replaces the framing.
        fields: values that replace the request's own, by lower-case name; None removes one.
        parent: field lines for a parent proxy, which takes the request in absolute form (RFC 9112 3.2.2).
    """
    host = authority(head.host, head.port, 443 if tls else 80)
    named = f"Host: {host}".encode("ascii")
    target = head.target if head.target.startswith("/") else _origin_form(head.target)
    setting = [f"{name}: {value}".encode("latin-1") for name, value in fields.items() if value is not None]
    if length is None and parent is None and (staying := _staying(head.section)) is not None:
        begin = f"{head.method} {target} HTTP/1.1".encode("latin-1")
        if fields:
            staying = [line for line in staying if _name(line) not in fields]
        return b"\r\n".join((begin, named, *staying, *setting, b"", b""))
    drop = hop_fields(head.fields, upgrade=head.websocket) | {"host", "expect"} | fields.keys()
    if not overrides:
        drop |= {name for name, _ in head.fields if folded_name(name) in OVERRIDES}
    if length is not None:
        drop |= {"content-length", "transfer-encoding"}
    if parent is not None:
        target = f"http://{host}{target}"
    lines = [
        f"{head.method} {target} HTTP/1.1".encode("latin-1"),
        named,
        *(parent or ()),
        *_lines(raw, head.fields, drop),
    ]
    lines += setting
    if length is not None:
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def response_head(raw: bytes, response: ResponseHead, head: Head, *, keep: bool, rewritten: bool) -> tuple[bytes, bool]:
    """Return a response head in the form that the client gets, and whether its body goes out in chunks.

    Args:
        raw: the head as received, for its reason phrase and the spelling of its names.
        response: the same, parsed.
        head: the request's.
        keep: the client's connection goes on afterwards.
        rewritten: the body may change, so that its length is not known.
    """
    if not (rewritten or head.http_10 or response.length is None or response.status in _BODILESS):
        staying = _staying(response.section, of_request=False)
        if staying is not None:
            line = b"HTTP/1.1" + raw[8 : raw.index(b"\r\n")]
            return b"\r\n".join((line, *staying, b"", b"") if keep else (line, *staying, _CLOSE, b"", b"")), False
    switching = response.status == 101
    drop = reply_fields(response.fields, upgrade=switching)
    bodiless = response.status in _BODILESS
    chunked = False
    if rewritten and not bodiless and head.method != "HEAD":
        drop |= {"content-length", "transfer-encoding"}
        chunked = not head.http_10
    elif bodiless or head.http_10:
        drop |= {"transfer-encoding"}
    else:
        chunked = response.length is None and head.method != "HEAD"
        drop |= {"transfer-encoding"} if chunked else frozenset()
    if bodiless and response.status != 304:  # only there it tells of a body that is not sent (RFC 9110 8.6)
        drop |= {"content-length"}
    status = raw[: raw.index(b"\r\n")]
    lines = [b"HTTP/1.1" + status[8:], *_lines(raw, response.fields, drop)]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if not keep and not switching:
        lines.append(_CLOSE)
    return b"\r\n".join(lines) + b"\r\n\r\n", chunked


def _staying(section: Section | None, *, of_request: bool = True) -> list[bytes] | None:
    """Return the field lines that go on as received, if no other has to be looked at together with the whole head."""
    if section is None or not section.plain or (section.host and not of_request):
        return None
    return section.staying


def _name(line: bytes) -> str:
    return line.partition(b":")[0].decode("ascii").lower()


def websocket_accepted(head: Head, response: ResponseHead) -> bool:
    """Tell whether a 101 completes the WebSocket handshake that a request began (RFC 6455 4.1)."""
    if not head.websocket:
        return False
    found = dict(response.fields)
    digest = sha1(f"{head.get('sec-websocket-key')}{_WEBSOCKET_GUID}".encode("latin-1"), usedforsecurity=False)
    return found.get("upgrade", "").lower() == "websocket" and found.get("sec-websocket-accept") == b64encode(
        digest.digest()
    ).decode("ascii")


def _origin_form(target: str) -> str:
    """Return the origin form of an absolute target (RFC 9112 3.2.1)."""
    match = ABSOLUTE.fullmatch(target)
    if match is None:
        raise ValueError("not an absolute target")
    return (match[2] or "/") + (match[3] or "")


def _lines(raw: bytes, fields: Fields, drop: frozenset[str]) -> list[bytes]:
    """Return the field lines that stay, their names spelled as received."""
    received = raw.split(b"\r\n")[1:]
    return [
        line[: len(name)] + b": " + value.encode("latin-1")
        for (name, value), line in zip(fields, received, strict=False)
        if name not in drop
    ]

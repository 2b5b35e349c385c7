"""mitmproxy's messages as heads on the wire, and back, so that the addon reads and rewrites them as `serve` does.

Owns the translation; uses mitmproxy's public message classes only, and never judges.
"""

import time
from contextlib import suppress

from mitmproxy import http

from outward.core.names import MalformedHostError, canonical_host


def request_bytes(request: http.Request, *, absolute: bool) -> bytes:
    """Return a request's head as one on the wire.

    Args:
        request: mitmproxy has made an absolute target one in origin form.
        absolute: whether to undo that: the request came on the proxy port.
    """
    data = request.data
    target = data.authority if data.method == b"CONNECT" else data.path
    if absolute and data.method != b"CONNECT":
        target = data.scheme + b"://" + _authority(data.host, data.port) + data.path
    return b"%b %b %b\r\n%b\r\n" % (data.method, target, data.http_version, _lines(data.headers))


def response_bytes(response: http.Response) -> bytes:
    """Return a response's head as one on the wire."""
    data = response.data
    return b"%b %d %b\r\n%b\r\n" % (data.http_version, data.status_code, data.reason, _lines(data.headers))


def put_request(request: http.Request, raw: bytes) -> None:
    """Give a request the target and the fields of a head in origin form."""
    line, fields = _taken_apart(raw)
    request.data.path = line.split(b" ")[1]
    request.data.authority = b""
    request.headers = fields


def put_response(response: http.Response, raw: bytes) -> None:
    """Give a response the fields of a head."""
    _, response.headers = _taken_apart(raw)


def response_of(raw: bytes) -> http.Response:
    """Return a response from its wire form; its body is what follows the head."""
    head, _, body = raw.partition(b"\r\n\r\n")
    line, fields = _taken_apart(head)
    version, status, reason = line.split(b" ", 2)
    now = time.time()
    return http.Response(version, int(status), reason, fields, body, None, now, now)


def _authority(host: str, port: int) -> bytes:
    """Return a destination as a target has it: mitmproxy shows A-labels as Unicode, and what is odd as it came."""
    with suppress(MalformedHostError):  # whoever reads the head refuses it
        host = str(canonical_host(f"[{host}]" if ":" in host else host))
    return f"{host}:{port}".encode("utf-8", "surrogateescape")


def _lines(headers: http.Headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in headers.fields)


def _taken_apart(raw: bytes) -> tuple[bytes, http.Headers]:
    line, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    fields = (each.partition(b":") for each in lines)
    return line, http.Headers([(name, value.strip(b" ")) for name, _, value in fields])

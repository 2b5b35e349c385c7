"""What a client is told when it is refused: one response for both lanes.

Owns the denial's status line, fields and bodies. Everything in it comes from the event and the policy: it never echoes
a path, a credential or an internal detail, and escapes what it does echo.
"""

import html
import json
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from outward.core.model import Stage
from outward.core.reasons import MEANINGS, Reason
from outward.records.events import Event

REASON_PHRASE = "Blocked by egress policy"

_ID = "\x00"  # stands for the decision id in the cached renderings; no field can hold it
_CREDENTIALS = (Reason.UNKNOWN_CLIENT, Reason.BAD_CREDENTIALS)
_RETRY_SECONDS = b"5"
_CHALLENGES = [(b"Proxy-Authenticate", b'Basic realm="outward", charset="UTF-8"'), (b"Proxy-Authenticate", b"Bearer")]
_JSON_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title></head>
<body><h1>{title}</h1>
<p>{detail}</p>
<dl>{facts}</dl></body></html>
"""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    status: int
    reason_phrase: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def encode(self) -> bytes:
        """Return the bytes of the response as HTTP/1.1."""
        fields = b"".join(b"%b: %b\r\n" % field for field in self.headers)
        return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (self.status, self.reason_phrase.encode("ascii"), fields, self.body)


class _Facts(NamedTuple):
    """What a denial says, apart from its id."""

    reason: Reason
    status: int
    stage: Stage
    group: str | None
    host: str | None
    port: int | None
    suggestion: str | None


def denial_status(reason: Reason, *, challenge: bool) -> int:
    """Return the status of a denial: 407 only where credentials would help."""
    return 407 if challenge and reason in _CREDENTIALS else MEANINGS[reason].status


def denial(event: Event, suggestion: str | None, accept: str | None, *, challenge: bool, head: bool) -> Response:
    """Return the response that tells a client why it is refused.

    Args:
        event: the denial; its `status` is kept where it is set.
        suggestion: the YAML line that would allow the request, where one would.
        accept: the client's Accept field.
        challenge: whether credentials would help.
        head: the request was a HEAD: no body follows.
    """
    facts = _facts(event, suggestion, challenge=challenge)
    media, body = _body(facts, _kind(accept))
    raw = body.replace(_ID, event.id).encode("utf-8")
    headers = _headers(facts, event.id.encode("ascii"), media, len(raw))
    return Response(facts.status, _phrase(facts.status), headers, b"" if head else raw)


def denial_bytes(event: Event, suggestion: str | None, accept: str | None, *, challenge: bool, head: bool) -> bytes:
    """Return `denial(…).encode()`; renderings are kept, so that a repeated refusal costs a join."""
    return event.id.encode("ascii").join(_pieces(_facts(event, suggestion, challenge=challenge), _kind(accept), head))


def _facts(event: Event, suggestion: str | None, *, challenge: bool) -> _Facts:
    status = event.status or denial_status(event.reason, challenge=challenge)
    return _Facts(event.reason, status, event.stage, event.group, event.host, event.port, suggestion)


@lru_cache(maxsize=1024)
def _pieces(facts: _Facts, kind: str, head: bool) -> tuple[bytes, ...]:
    """Return the wire form of a denial, cut where the id stands."""
    media, body = _body(facts, kind)
    raw = body.encode("utf-8")
    length = len(raw) + raw.count(b"\x00") * (_ID_LENGTH - 1)
    headers = _headers(facts, b"\x00", media, length)
    return tuple(Response(facts.status, _phrase(facts.status), headers, b"" if head else raw).encode().split(b"\x00"))


_ID_LENGTH = 32  # records.events.new_id


def _phrase(status: int) -> str:
    return REASON_PHRASE if status == 403 else HTTPStatus(status).phrase


def _headers(facts: _Facts, decision: bytes, media: str, length: int) -> list[tuple[bytes, bytes]]:
    """Return the fields of a denial (RFC 9209 2.1.1 for Proxy-Status)."""
    error = MEANINGS[facts.reason].error
    headers = [
        (b"Proxy-Status", f'outward; error={error}; details="{facts.reason}"'.encode("ascii")),
        (b"Outward-Decision", decision),
        (b"Cache-Control", b"no-store"),
        (b"Content-Type", media.encode("ascii")),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Length", b"%d" % length),
        (b"Connection", b"close"),
    ]
    if facts.status == 407:
        headers += _CHALLENGES
    if facts.status == 503:
        headers.append((b"Retry-After", _RETRY_SECONDS))
    if media.startswith("text/html"):
        headers.append((b"Content-Security-Policy", b"default-src 'none'"))
    return headers


def _kind(accept: str | None) -> str:
    """Choose the body's form: HTML for browsers, JSON for whoever takes it or does not say, else text."""
    if not accept:
        return "json"
    if "text/html" in accept:
        return "html"
    return "json" if "json" in accept or "*/*" in accept or "application/*" in accept else "text"


def _body(facts: _Facts, kind: str) -> tuple[str, str]:
    """Return the media type and the text of a body, with `_ID` for the id."""
    problem = _problem(facts)
    if kind == "json":
        text = json.dumps(problem, indent=2).replace("\\u0000", _ID).translate(_JSON_ESCAPES)
        return "application/problem+json", text + "\n"
    title, detail = MEANINGS[facts.reason].title, MEANINGS[facts.reason].cure
    shown = {name: str(value) for name, value in problem.items() if name not in _HEADLINE and value is not None}
    if kind == "html":
        listed = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in shown.items())
        page = _PAGE.format(title=html.escape(title), detail=html.escape(detail), facts=listed)
        return "text/html; charset=utf-8", page
    lines = [f"{title}. {detail}", *(f"{name}: {value}" for name, value in shown.items())]
    return "text/plain; charset=utf-8", "\n".join(lines) + "\n"


_HEADLINE = ("type", "title", "status", "detail")


def _problem(facts: _Facts) -> dict[str, object]:
    """Return the members of the problem (RFC 9457 3)."""
    meaning = MEANINGS[facts.reason]
    return {
        "type": f"urn:outward:denial:{facts.reason}",
        "title": meaning.title,
        "status": facts.status,
        "detail": meaning.cure,
        "reason": str(facts.reason),
        "stage": str(facts.stage),
        "group": facts.group,
        "host": facts.host,
        "port": facts.port,
        "decision_id": _ID,
        "retryable": meaning.retryable,
        "suggestion": facts.suggestion,
    }

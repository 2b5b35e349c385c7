"""What a client is told when it is refused: one response for both lanes.

Owns the denial's status line, fields and bodies. Everything in it comes from the event and the policy: it never echoes
a path, a credential or an internal detail, and escapes what it does echo.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

import orjson

from outward.core.model import Stage
from outward.core.reasons import MEANINGS, Reason
from outward.core.suggest import cure
from outward.records.events.values import Event

REASON_PHRASE = "Blocked by egress policy"

HOW = "POST its url and your why as JSON, or run `outward request URL --why TEXT`"
_CREDENTIALS = (Reason.UNKNOWN_CLIENT, Reason.BAD_CREDENTIALS)
_RETRY_SECONDS = 5  # told in Retry-After (RFC 9110 10.2.3): a DNS failure or an overload is often over by then
_CHALLENGES = [(b"Proxy-Authenticate", b'Basic realm="outward", charset="UTF-8"'), (b"Proxy-Authenticate", b"Bearer")]
_MARKUP = re.compile("[<>&]")
_JSON_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}
_PROBLEM = """{{
  "type": "urn:outward:denial:{reason}",
  "title": {title},
  "status": {status},
  "detail": {cure},
  "reason": "{reason}",
  "stage": "{stage}",
  "group": %(group)s,
  "host": %(host)s,
  "port": %(port)s,
  "decision_id": "%(id)s",
  "retryable": {retryable},
  "suggestion": %(suggestion)s{ask}{more}
}}
"""
# The member that the model vendors' clients show as the message of an error, at the stages that concern vendors.
_ERROR = """,
  "error": {{"type": "permission_error", "code": "{reason}", "message": {message}}}"""
# Where a client may ask for what it is denied; said only where it may.
_ASK = {
    "json": ',\n  "request": %(request)s',
    "text": "request: %(request)s\n",
    "html": "<tr><th>Ask for it at<td>%(request)s\n",
}
_TOLD_TO_CLIENTS = frozenset({Stage.SEARCH, Stage.RESPONSE})
_TEXT = """{title}. {cure}
reason: {reason}
stage: {stage}
group: %(group)s
host: %(host)s
port: %(port)s
suggestion: %(suggestion)s
{ask}decision: %(id)s
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title></head>
<body><h1>{title}</h1>
<p>{cure}</p>
<table>
<tr><th>Reason<td>{reason}
<tr><th>Stage<td>{stage}
<tr><th>Group<td>%(group)s
<tr><th>Host<td>%(host)s
<tr><th>Port<td>%(port)s
<tr><th>Rule that would allow it<td><code>%(suggestion)s</code>
{ask}<tr><th>Decision<td>%(id)s
</table></body></html>
"""


class _Form(NamedTuple):
    """A denial without the facts of one request: what is the same for all with this reason, stage and kind.

    Attributes:
        head: format of the head, with places for the id and the length.
        body: format of the body, with named places for facts.
    """

    head: bytes
    body: str


def denial_status(reason: Reason, *, challenge: bool) -> int:
    """Return the status of a denial: 407 only where credentials would help."""
    return 407 if challenge and reason in _CREDENTIALS else MEANINGS[reason].status


def denial(
    event: Event,
    suggestion: str | None,
    accept: str | None,
    *,
    challenge: bool,
    head: bool,
    request: str | None = None,
    again: bool = False,
) -> bytes:
    """Return the response that tells a client why it is refused, as HTTP/1.1.

    Args:
        event: the denial; its `status` is kept where it is set.
        suggestion: the YAML line that would allow the request, where one would.
        accept: the client's Accept field.
        challenge: whether credentials would help.
        head: the request was a HEAD: no body follows.
        request: where, and how, the client may ask for it; None where it cannot.
        again: the connection stays open behind it.
    """
    status = event.status or denial_status(event.reason, challenge=challenge)
    kind = _kind(accept)
    advice = event.advice or cure(event.reason, event.host, None, event.stage, line=suggestion is not None)
    if event.reason is Reason.TOO_LARGE and event.detail:
        advice = f"{event.detail} {advice}"
    if event.reason is Reason.PATH_NOT_ALLOWED and event.detail is not None:
        advice = f"{advice} Here {event.detail}."
    retry = event.retry_after or (_RETRY_SECONDS if status == 503 else None)
    form = _form(event.reason, status, event.stage, kind, advice, asks=request is not None, again=again, retry=retry)
    body = _fill(form.body, kind, event, suggestion, request)
    return form.head % (event.id.encode("ascii"), len(body)) + (b"" if head else body)


def _kind(accept: str | None) -> str:
    """Choose the body's form: HTML for browsers, JSON for whoever takes it or does not say, else text."""
    if not accept:
        return "json"
    if "text/html" in accept:
        return "html"
    return "json" if "json" in accept or "*/*" in accept or "application/*" in accept else "text"


def _fill(body: str, kind: str, event: Event, suggestion: str | None, request: str | None) -> bytes:
    """Write the facts into a body, escaped."""
    show = _SHOW[kind]
    facts = {
        "group": show(event.group),
        "host": show(event.host),
        "port": show(event.port),
        "id": event.id,
        "suggestion": show(suggestion),
        "request": show(request if kind == "json" or request is None else f"{request} ({HOW})"),
    }
    return (body % facts).encode("utf-8")


@lru_cache(maxsize=1024)
def _as_json(value: str | int | None) -> str:
    text = orjson.dumps(value).decode("utf-8")
    return text.translate(_JSON_ESCAPES) if _MARKUP.search(text) else text


def _as_html(value: str | int | None) -> str:
    import html  # noqa: PLC0415 - it brings all names of signs, and few clients are browsers

    return html.escape("-" if value is None else str(value))


def _as_text(value: str | int | None) -> str:
    return "-" if value is None else str(value)


_SHOW: dict[str, Callable[[str | int | None], str]] = {"json": _as_json, "html": _as_html, "text": _as_text}
_MEDIA = {"json": "application/problem+json", "html": "text/html; charset=utf-8", "text": "text/plain; charset=utf-8"}


@lru_cache(maxsize=512)
def _form(
    reason: Reason, status: int, stage: Stage, kind: str, advice: str, *, asks: bool, again: bool, retry: int | None
) -> _Form:
    phrase = REASON_PHRASE if status == 403 else HTTPStatus(status).phrase
    fields = b"".join(b"%b: %b\r\n" % field for field in _fields(reason, status, _MEDIA[kind], retry, again=again))
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase.encode("ascii"), fields)
    return _Form(head, _body(reason, status, stage, kind, advice, ask=_ASK[kind] if asks else ""))


def _fields(reason: Reason, status: int, media: str, retry: int | None, *, again: bool) -> list[tuple[bytes, bytes]]:
    """Return the fields of a denial (RFC 9209 2.1.1 for Proxy-Status), with places for the id and the length."""
    fields = [
        (b"Proxy-Status", f'outward; error={MEANINGS[reason].error}; details="{reason}"'.encode("ascii")),
        (b"Outward-Decision", b"%b"),
        (b"Cache-Control", b"no-store"),
        (b"Content-Type", media.encode("ascii")),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Length", b"%d"),
    ]
    if not again:
        fields.append((b"Connection", b"close"))
    if status == 407:
        fields += _CHALLENGES
    if retry is not None:
        fields.append((b"Retry-After", b"%d" % retry))
    if media.startswith("text/html"):
        fields.append((b"Content-Security-Policy", b"default-src 'none'"))
    return fields


def _body(reason: Reason, status: int, stage: Stage, kind: str, advice: str, *, ask: str) -> str:
    """Return the format of a body: the members of the problem (RFC 9457 3), or the same for people."""
    meaning = MEANINGS[reason]
    show = _SHOW[kind]
    title, advice_shown = (show(text).replace("%", "%%") for text in (meaning.title, advice))
    if kind == "json":
        message = show(f"{meaning.title} ({reason}). {advice}").replace("%", "%%")
        more = _ERROR.format(reason=reason, message=message) if stage in _TOLD_TO_CLIENTS else ""
        return _PROBLEM.format(
            reason=reason,
            title=title,
            status=status,
            cure=advice_shown,
            stage=stage,
            retryable=show(meaning.retryable),
            ask=ask,
            more=more,
        )
    return (_PAGE if kind == "html" else _TEXT).format(
        reason=reason, title=title, cure=advice_shown, stage=stage, ask=ask
    )

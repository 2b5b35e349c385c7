"""A denial in a vendor's own words: its clients raise their usual exception, with our reason in its message.

The vendor's error object stands beside the members of the problem (RFC 9457). If both have a `type`, the vendor's
stands, and ours is `problem_type`. The vendor's `status` and `detail` stand too: the response's own status says ours,
and the vendor's detail holds ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from outward.core.reasons import MEANINGS
from outward.records.events.values import Event

_FIELDS = (
    "HTTP/1.1 {status} {phrase}\r\n"
    'Proxy-Status: outward; error={error}; details="{reason}"\r\n'
    "Outward-Decision: {id}\r\n"
    "Cache-Control: no-store\r\n"
    "Content-Type: application/json\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Content-Length: {length}\r\n"
    "{more}\r\n"
)
_MORE = {
    426: "Upgrade: HTTP/1.1\r\nConnection: Upgrade, close\r\n",
    503: "Retry-After: 5\r\nConnection: close\r\n",
}


@dataclass(frozen=True, slots=True)
class VendorDenial:
    """What a vendor would say.

    Attributes:
        members: of the body.
        status: of the response; None for the reason's own.
    """

    members: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None


def vendor_denial(event: Event, told: VendorDenial, advice: str, suggestion: str | None, *, head: bool) -> bytes:
    """Return the response that tells a vendor's client why it is refused, as HTTP/1.1.

    Args:
        event: the denial; its `status` is the response's.
        told: what the vendor would say.
        advice: what to do about it.
        suggestion: the line that would allow the request, where one would.
        head: the request was a HEAD: no body follows.
    """
    status, meaning = event.status or 403, MEANINGS[event.reason]
    problem = {
        "type": f"urn:outward:denial:{event.reason}",
        "title": meaning.title,
        "status": status,
        "detail": advice,
        "reason": str(event.reason),
        "stage": str(event.stage),
        "group": event.group,
        "host": event.host,
        "port": event.port,
        "decision_id": event.id,
        "retryable": meaning.retryable,
        "suggestion": suggestion,
    }
    if "type" in told.members:
        problem["problem_type"] = problem.pop("type")
    body = orjson.dumps({**problem, **told.members}, option=orjson.OPT_INDENT_2)
    for sign, escape in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        body = body.replace(sign, escape)
    phrase = "Blocked by egress policy" if status == 403 else HTTPStatus(status).phrase
    more = _MORE.get(status, "Connection: close\r\n")
    if event.retry_after is not None:
        more = f"Retry-After: {event.retry_after}\r\nConnection: close\r\n"
    fields = _FIELDS.format(
        status=status, phrase=phrase, error=meaning.error or "http_request_denied", reason=event.reason,
        id=event.id, length=len(body), more=more,
    )  # fmt: skip
    return fields.encode("ascii") + (b"" if head else body)

"""The seam for governance of hosted search: what the inspect lane asks before a governed request and of its response.

Interface only. Without a governor a request with a body to a governed host is refused: nobody could read it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from outward.core.reasons import Reason
from outward.http1.head import Head, ResponseHead
from outward.proxy.dialect import VendorDenial
from outward.proxy.inspection.exchange import Exchange

Tap = Callable[[bytes], bytes | Awaitable[bytes]]
"""Takes each piece of a response body and returns what goes on; the empty piece marks the end.

What it returns may have to be waited for: give no other piece until then, and stop reading the destination.
"""


@dataclass(frozen=True, slots=True)
class Whole:
    """A tap that reads the whole body before anything of the response goes on, so that it can still be refused."""

    read: Tap

    def __call__(self, data: bytes) -> bytes | Awaitable[bytes]:
        """Take a piece; only the empty one, at the end, returns something."""
        return self.read(data)


class CutError(Exception):
    """Raised by a tap: the rest of the response must not reach the client.

    Where nothing of it has, and the exchange was refused, the client gets the denial.

    Attributes:
        last: what the client still gets, the vendor's own error event.
    """

    def __init__(self, last: bytes = b"") -> None:
        super().__init__("the response is cut")
        self.last = last


@dataclass(frozen=True, slots=True)
class Pass:
    """Let the request through.

    Attributes:
        body: replaces the request's body where it is not None.
        fields: values that replace the request's own, by lower-case name; None removes one.
    """

    body: bytes | None = None
    fields: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the request, at stage `search`.

    Attributes:
        line: of a policy, that would let it through.
        detail: a sentence for the client.
        dialect: says it in the vendor's words, where the request's body decides those.
    """

    reason: Reason
    line: str | None = None
    detail: str = ""
    dialect: Callable[[Reason, str], VendorDenial] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """Say this to the client, and send nothing on: the proxy itself was asked."""

    answer: bytes = field(repr=False)


class Governor(Protocol):
    """Web-search governance."""

    def dialect(self, vendor: str, head: Head, reason: Reason, message: str) -> VendorDenial:
        """Return a denial as the vendor itself would say it."""

    def request_needs_body(self, vendor: str, head: Head) -> bool:
        """Tell whether the request's body must be read as a whole before it is judged."""

    def on_request(self, exchange: Exchange, body: bytes) -> Awaitable[Pass | Refuse] | Pass | Refuse:
        """Judge a request to a governed host; `body` is empty where it was not asked for."""

    def response_tap(self, exchange: Exchange, response: ResponseHead) -> Tap | None:
        """Return what reads, and may change, the response's body; None where nothing does."""

    def holds(self, exchange: Exchange, response: ResponseHead) -> bool:
        """Tell whether a refusal is to be read as a whole before the client sees it: the request may be mended."""

    def again(self, exchange: Exchange, status: int, body: bytes) -> Awaitable[Pass | None] | Pass | None:
        """Return what to send once more after a refusal that was held, or None to pass the refusal on."""

    def on_close(self, exchange: Exchange) -> None:
        """Take note that a governed exchange has ended, whether or not its response was complete."""

"""What the layers say to each other beyond mitmproxy's own events: our heads, our denials, our ways to close."""

from dataclasses import dataclass

from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import RequestHeaders

from outward.proxy.head import ResponseHead
from outward.proxy.inspection.exchange import Exchange


class Asked(RequestHeaders):
    """A request was read, judged and allowed."""

    def __init__(self, stream_id: int, exchange: Exchange) -> None:
        self.stream_id = stream_id
        self.exchange = exchange


@dataclass
class Forward(HttpEvent):
    """Send a request head upstream."""

    head: bytes
    method: str
    chunked: bool


@dataclass
class Replied(HttpEvent):
    """A response head was read; `more` where some of its body follows at once."""

    raw: bytes
    head: ResponseHead
    more: bool


@dataclass
class Reply(HttpEvent):
    """Send a response head to the client; `more` where some of its body follows at once, to be sent with it."""

    head: bytes
    more: bool
    chunked: bool
    keep: bool
    switching: bool


@dataclass
class Refusal(HttpEvent):
    """Send a denial to the client, and close."""

    answer: bytes


@dataclass
class Continue(HttpEvent):
    """Ask the client for the body that it holds back."""


@dataclass
class Late(events.Event):
    """A deadline has passed; `head` where it was that of a request head."""

    head: bool


class CloseLingering(commands.CloseConnection):
    """Close once the client has had time to read the answer, although it may still be sending."""


class CloseAbruptly(commands.CloseConnection):
    """Close so that the client cannot take what it has for the whole."""

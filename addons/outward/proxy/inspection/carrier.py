"""What a transfer needs of both its sides, whichever HTTP they speak: interfaces only.

A side of HTTP/1 is a connection; one of HTTP/2 is a stream of a connection.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from outward.config.settings import Limits
from outward.http1.head import Head
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.inspection.upstream import User
from outward.proxy.parent import Parent

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import Pausable


class Held(Protocol):
    """The client, as a transfer sees it."""

    def hold(self, why: object) -> None:
        """Have it send no more for now."""

    def release(self, why: object) -> None:
        """Let it go on."""


class Upward(Protocol):
    """A request's way to its destination: a connection of HTTP/1, or a stream of HTTP/2."""

    @property
    def parent(self) -> Parent | None:
        """The parent proxy that takes the request in absolute form, if there is one."""

    @property
    def used(self) -> bool:
        """Whether it has carried a request before, so that this one may have been lost unread."""

    def pause(self) -> None:
        """Leave what comes until `resume`."""

    def resume(self) -> None:
        """Go on."""

    def request(self, user: User, raw: bytes, head: Head, *, chunked: bool) -> None:
        """Send a request head for a user; `head` is what it was made of."""

    def data(self, data: bytes) -> None:
        """Send a piece of its body."""

    def finish(self) -> None:
        """Send its end."""

    def close(self) -> None:
        """Be done with it."""


class Ways(Protocol):
    """What finds the way to a destination."""

    def connect(self, exchange: Exchange, then: Callable[[Any], None], *, fresh: bool) -> None:
        """Find one, and go on with it; with None if there is none, and the request is refused."""

    def parent_fields(self, parent: Parent | None) -> list[bytes] | None:
        """Return the field lines that a request to a parent has beside the client's own; None without a parent."""


class Downward(Protocol):
    """How a response goes to the client."""

    def go_on(self) -> None:
        """Ask the client for the body that it holds back."""

    def reply(self, raw: bytes, *, chunked: bool, keep: bool, wait: bool) -> None:
        """Send the head of a response, or let it wait for what follows at once."""

    def switch(self) -> None:
        """Relay from now on."""

    def data(self, data: bytes) -> None:
        """Send a piece of it."""

    def finish(self) -> None:
        """End it."""

    def deny(self, answer: bytes) -> None:
        """Send a denial instead."""

    def cut(self) -> None:
        """End so that the client cannot take what it has for the whole."""


class Carrier(Protocol):
    """Whose request it is: a client's connection of HTTP/1, or a stream of its HTTP/2 connection."""

    @property
    def hooks(self) -> Hooks:
        """The policy."""

    @property
    def limits(self) -> Limits:
        """Bounds."""

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to stop."""

    @property
    def client(self) -> Held:
        """Who sends the request."""

    @property
    def destinations(self) -> Ways:
        """What finds the way."""

    @property
    def downstream(self) -> Downward:
        """How the response goes back."""

    def ask[*A, T](
        self,
        where: str,
        side: "Pausable | None",
        then: Callable[[T | None], None],
        function: Callable[[*A], T | Awaitable[T]],
        *args: *A,
    ) -> None:
        """Ask a hook, and go on with its answer; see `InspectedConnection.ask`."""

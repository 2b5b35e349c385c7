"""Deadlines of one length for many connections, on one timer.

Since every entry waits equally long, the order of arrival is the order of expiry: starting and stopping cost a dict
operation, where a timer for each connection would cost microseconds.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from outward.config.settings import Limits

LINGER = 2.0  # seconds that a refused client gets to read its answer, as in Apache (SECONDS_TO_LINGER)
SLOWED = 3.0  # seconds that a refusal waits after many wrong credentials, as in login.defs(5) (FAIL_DELAY)


class Expiring(Protocol):
    """What has a deadline.

    Attributes:
        touched: set by traffic; grants one more period, and is cleared by it.
    """

    touched: bool

    def expired(self) -> None:
        """Act on the deadline; called once, outside the set."""


class Alarm:
    """A deadline that nothing prolongs, whatever trickles in."""

    __slots__ = ("expired",)
    touched = False

    def __init__(self, expired: Callable[[], None]) -> None:
        self.expired = expired


class Deadlines:
    """Calls `expired` on whatever is still waiting `seconds` after it started or was last touched."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[Expiring, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def __iter__(self) -> Iterator[Expiring]:
        """Yield what is waiting, the longest waiting first."""
        return iter(self._due)

    def start(self, item: Expiring) -> None:
        """Begin to wait for an item."""
        self._due[item] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._sweep)

    def stop(self, item: Expiring) -> None:
        """Forget an item; unknown ones are no error."""
        self._due.pop(item, None)

    def close(self) -> None:
        """Forget everything."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        """Expire what is due, renew what was touched, and sleep until the next."""
        now = self._loop.time()
        self._timer = None
        late: list[Expiring] = []
        while self._due:
            item, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._loop.call_later(due - now, self._sweep)
                break
            del self._due[item]
            if item.touched:
                item.touched = False
                self._due[item] = now + self._seconds
            else:
                late.append(item)
        for item in late:
            item.expired()


class Waits:
    """The deadlines that the connections of a lane wait in; needs a running loop.

    Attributes:
        heads: connections whose request head is not complete.
        handshakes: connections whose ClientHello, or TLS handshake, is not complete.
        idle: connections that carry bytes, or wait for the next request.
        lingering: refused connections that may still be sending.
        slowed: refused connections whose answer waits.
    """

    def __init__(self, limits: Limits) -> None:
        self.heads = Deadlines(limits.head_timeout)
        self.handshakes = Deadlines(limits.handshake_timeout)
        self.idle = Deadlines(limits.idle_timeout)
        self.lingering = Deadlines(LINGER)
        self.slowed = Deadlines(SLOWED)

    def close(self) -> None:
        """Stop them all."""
        for deadlines in (self.heads, self.handshakes, self.idle, self.lingering, self.slowed):
            deadlines.close()

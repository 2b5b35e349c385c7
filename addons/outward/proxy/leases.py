"""Connections that stand by a grant, and end with it.

Owns the moment: a timer at the next grant's end, and a look whenever the grants change. What a file allows meanwhile
keeps its connections. Needs a running loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from outward.core.grants import Grant
from outward.core.model import Decision
from outward.proxy.judge import Judge

log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds at most between two looks at the clock, which may have been set, while anything stands by a grant


class Leases:
    """Puts grants in force, and takes connections down with them."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._loop = asyncio.get_running_loop()
        self._held: dict[object, tuple[Decision, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        judge.leases = self.hold

    def use(self, grants: Sequence[Grant]) -> None:
        """Put grants in force instead of those before."""
        self._judge.grants = tuple(grants)
        self._look()

    def from_thread(self, grants: Sequence[Grant]) -> None:
        """Do so from any thread, soon."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.use, grants)

    def hold(self, decision: Decision, cut: Callable[[], None]) -> Callable[[], None]:
        """Cut a connection once what allowed it holds no more; returns what lets it go."""
        key = object()
        self._held[key] = decision, cut
        self._set()  # no look that is due is put off
        return lambda: self._let_go(key)

    def _let_go(self, key: object) -> None:
        self._held.pop(key, None)

    def close(self) -> None:
        """Stop looking."""
        self._held.clear()
        self._stop()

    def _look(self) -> None:
        """Cut what stands by nothing any more, and look again when the next end comes."""
        self._stop()
        for key, (decision, cut) in list(self._held.items()):
            if not self._judge.stands(decision):
                self._held.pop(key, None)
                try:
                    cut()
                except Exception:  # the others end all the same
                    log.exception("a connection whose grant has ended could not be cut")
        self._set()

    def _set(self) -> None:
        if self._held and self._timer is None:
            end = self._judge.next_end
            wait = _LOOK if end is None else min(_LOOK, max(0.0, end / 1000 - time.time()))
            self._timer = self._loop.call_later(wait, self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

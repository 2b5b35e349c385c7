"""Workers: a bounded queue with a thread behind it. Offering never blocks and never raises."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

_log = logging.getLogger(__name__)

_PAUSE = 0.02  # seconds
BATCH = 2000  # items at once, so that no transaction keeps other writers waiting for long

type Handler[T] = Callable[[list[T]], float | None]


class Worker[T]:
    """Hands what is offered to a handler, in batches, on a thread of its own.

    The handler gets an empty batch where it asked to be called again: it returns the seconds until then, or None. An
    exception out of the handler is logged, counted by the caller's `on_error`, and does not end the thread.

    Args:
        linger: seconds that the first item of a batch waits for others.
    """

    def __init__(
        self, name: str, handler: Handler[T], *, capacity: int, linger: float, on_error: Callable[[int], None]
    ) -> None:
        self.name = name
        self._handler = handler
        self._capacity = capacity
        self._linger = linger
        self._on_error = on_error
        self._items: deque[T] = deque()
        self._wake = threading.Event()
        self._awake = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether the queue has no room now."""
        return len(self._items) >= self._capacity

    def start(self) -> None:
        """Start the thread; what was offered before is kept until then."""
        self._thread.start()

    def offer(self, item: T) -> bool:
        """Take an item, or return False if the queue is full."""
        items = self._items
        if len(items) >= self._capacity:
            return False
        items.append(item)
        if not self._capacity:  # the thread has ended meanwhile: taken back, unless it has taken this too
            with suppress(ValueError):
                items.remove(item)
                return False
        if not self._awake:
            self._awake = True
            self._wake.set()
        return True

    def nudge(self) -> None:
        """Have the handler called soon, although nothing was offered."""
        self._wake.set()

    def close(self, timeout: float) -> bool:
        """Handle what is queued, end the thread, and tell whether that was done within a number of seconds."""
        self._closing.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def leftover(self) -> list[T]:
        """Take what is still queued; for a worker that did not close in time."""
        return self._drain(len(self._items))

    def _run(self) -> None:
        delay: float | None = None
        while True:
            self._wake.wait(delay)
            if not self._closing.is_set() and 0 < len(self._items) < BATCH:
                self._closing.wait(self._linger)
            self._wake.clear()
            self._awake = False
            closing = self._closing.is_set()
            delay = self._handle(self._drain(BATCH))
            if self._items:
                self._wake.set()
            elif closing:
                self._capacity = 0  # from here on nothing is taken, so that nothing is forgotten here
                self._handle(self._drain(len(self._items)))
                return

    def _drain(self, limit: int) -> list[T]:
        """Take at most a number of items that are queued now."""
        batch: list[T] = []
        with suppress(IndexError):  # another thread took the rest
            for _ in range(min(limit, len(self._items))):
                batch.append(self._items.popleft())  # noqa: PERF401 - keeps what was taken before the error
        return batch

    def _handle(self, batch: list[T]) -> float | None:
        try:
            return self._handler(batch)
        except Exception:  # noqa: BLE001 - the thread must outlive every failure
            _log.exception("a batch of %d records failed", len(batch))
            self._on_error(len(batch))
            time.sleep(max(self._linger, _PAUSE))  # a handler that always fails must not spin
            return 1.0

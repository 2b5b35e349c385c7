"""Events as they happen, for those who watch: a bounded queue for each, fed from the proxy's own event loop.

Costs the data path one look at an empty list when nobody watches. Who reads too slowly loses the oldest and is told so.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import orjson

from outward.ops.web import Problem
from outward.records.events import Event, Record, as_record

WATCHERS = 64
QUEUE = 1000
HEARTBEAT = 15.0  # seconds; keeps middleboxes from closing, and notices who has gone


class _Watcher:
    """One reader."""

    def __init__(self, wanted: Callable[[Record], bool]) -> None:
        self.wanted = wanted
        self.waiting: deque[Record] = deque(maxlen=QUEUE)
        self.lost = 0
        self.news = asyncio.Event()


class Stream:
    """Hands events to watchers; `publish` belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._watchers: list[_Watcher] = []

    def publish(self, event: Event) -> None:
        """Show an event to everyone who watches."""
        if not self._watchers:
            return
        record = as_record(event)
        for watcher in self._watchers:
            if watcher.wanted(record):
                watcher.lost += len(watcher.waiting) == QUEUE
                watcher.waiting.append(record)
                watcher.news.set()

    def watch(self, wanted: Callable[[Record], bool]) -> AsyncIterator[bytes]:
        """Return the events that are wanted, as server-sent events, until the reader goes.

        Raises:
            Problem: 503 when too many watch already.
        """
        if len(self._watchers) >= WATCHERS:
            raise Problem(503, "too many readers watch already", {"Retry-After": "30"})
        watcher = _Watcher(wanted)
        self._watchers.append(watcher)
        return self._events(watcher)

    async def _events(self, watcher: _Watcher) -> AsyncIterator[bytes]:
        try:
            yield b"retry: 2000\n\n"
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(watcher.news.wait(), HEARTBEAT)
                watcher.news.clear()
                if watcher.lost:
                    yield b"event: lost\ndata: %d\n\n" % watcher.lost
                    watcher.lost = 0
                if not watcher.waiting:
                    yield b":\n\n"
                while watcher.waiting:
                    yield as_sse(watcher.waiting.popleft())
        finally:
            self._watchers.remove(watcher)


def as_sse(record: Record) -> bytes:
    """Return an event's message; JSON has no line breaks."""
    return b"event: decision\nid: %b\ndata: %b\n\n" % (str(record["id"]).encode(), orjson.dumps(record))

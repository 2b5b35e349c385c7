"""Events as they happen, for those who watch: a bounded queue for each, fed from the proxy's own event loop.

Costs the data path one look at an empty list when nobody watches. Who reads too slowly loses the oldest and is told so.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import orjson

from outward.records.events.values import Event, Record, as_record

QUEUE = 1000
HEARTBEAT = 15.0  # seconds; keeps middleboxes from closing, and notices who has gone
RECHECK = 1.0  # seconds that a reader of many events goes unasked whether it still may


class Watcher:
    """One reader's events: an iterator of server-sent events, which ends when the reader may no longer watch."""

    def __init__(self, wanted: Callable[[Record], bool], allowed: Callable[[], bool]) -> None:
        """Prepare.

        Args:
            wanted: tells which events.
            allowed: tells whether the reader may still watch; asked once a second at most, and with each heartbeat.
        """
        self._wanted, self._allowed = wanted, allowed
        self._waiting: deque[Record] = deque(maxlen=QUEUE)
        self._lost = 0
        self._news = asyncio.Event()

    def show(self, record: Record) -> None:
        """Queue an event, if it is wanted."""
        if self._wanted(record):
            self._lost += len(self._waiting) == QUEUE
            self._waiting.append(record)
            self._news.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what there is to send."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        yield b"retry: 2000\n\n"
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), HEARTBEAT)
            self._news.clear()
            if not self._waiting or loop.time() - asked >= RECHECK:
                asked = loop.time()
                if not self._allowed():
                    return
            if self._lost:
                yield b"event: lost\ndata: %d\n\n" % self._lost
                self._lost = 0
            if not self._waiting:
                yield b":\n\n"
            while self._waiting and loop.time() - asked < RECHECK:
                yield as_sse(self._waiting.popleft())
            if self._waiting:
                self._news.set()


class Stream:
    """Hands events to watchers; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def publish(self, event: Event) -> None:
        """Show an event to everyone who watches."""
        if not self._watchers:
            return
        record = as_record(event)
        for watcher in self._watchers:
            watcher.show(record)

    def join(self, watcher: Watcher) -> Callable[[], None]:
        """Show a watcher every event from now on, and return what ends that."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)


def as_sse(record: Record) -> bytes:
    """Return an event's message; JSON has no line breaks."""
    return b"event: decision\nid: %b\ndata: %b\n\n" % (str(record["id"]).encode(), orjson.dumps(record))

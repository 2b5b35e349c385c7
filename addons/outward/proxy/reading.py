"""The reading of one governed response: short pieces on the loop, long ones in a thread, in order and one at a time.

What is long, or encoded so that it may unfold, takes a thread of its own kind. While that reads, nobody else touches
the observation: a response that ends meanwhile is told of when the thread is done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.governor import CutError
from outward.search.observation import MAX_WHOLE, Observation
from outward.threads import Threads

# Longer texts are read in a thread: one full of domains takes two milliseconds for each kilobyte.
IN_LOOP = 16 * 1024


class Readers:
    """Threads that read responses, and what they have not finished.

    Attributes:
        waited_for: False where who feeds a response cannot wait: then all is read on the loop.
    """

    def __init__(self, most: int) -> None:
        """Prepare up to a number of threads."""
        self.waited_for = True
        self._threads = Threads("answers", most)
        self._under_way: set[asyncio.Future[Any]] = set()

    def begin[T](self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Begin work in a thread; it goes on to its end, whoever stops waiting for it."""
        begun: Coroutine[Any, Any, T] = self._threads.run(work)
        task = asyncio.get_running_loop().create_task(begun)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def settle(self, seconds: float) -> None:
        """Wait until all is read that has been begun, for a number of seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._under_way:
                    await asyncio.wait(self._under_way)


class Reading:
    """Reads one response.

    Attributes:
        observation: what was found.
        noted: called when a piece was read, before it goes on: the client may act on what it says at once.
    """

    def __init__(
        self,
        exchange: Exchange,
        observation: Observation,
        readers: Readers,
        told: Callable[[], None],
        unread: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            exchange: the response's.
            observation: reads it.
            readers: the threads for what is long.
            told: called once, when all has been read that will be.
            unread: called when the rest is withheld because it could not be read.
        """
        self.observation = observation
        self._exchange, self._readers = exchange, readers
        self._told, self._unread = told, unread
        self.noted: Callable[[], None] = lambda: None
        self._busy = self._left = self._last = self._over = False
        self._held = bytearray()
        self._paid = 0

    def whole(self, data: bytes) -> bytes | Awaitable[bytes]:
        """Hold the response until it is filtered, or judged as a whole."""
        held = self._held
        if data:
            held += data
            if len(held) > MAX_WHOLE:
                raise self._withheld(Reason.TOO_LARGE)
            if not self._exchange.hold(len(data)):
                raise self._withheld(Reason.OVERLOADED)
            return b""
        self._last = True
        body, self._held = bytes(held), bytearray()
        return self._read(len(body), partial(self.observation.replace, body), self._judged)

    def piece(self, data: bytes) -> bytes | Awaitable[bytes]:
        """Pass on what is read, and pay for the most that has been held."""
        observation = self.observation
        if not data:
            self._last = True
            return self._read(observation.held, observation.finish, self._ended)
        return self._read(observation.held + len(data), partial(observation.feed, data), self._passed)

    def leave(self) -> None:
        """Take note that no more comes: client or vendor have left before the end."""
        if self._busy:
            self._left = True
        elif not self._over:
            finish = partial(self.observation.finish, aborted=True)
            if self._short(self.observation.held):
                finish()
                self._tell()
            else:
                self._over = True
                self._readers.begin(finish).add_done_callback(self._finished)

    def _short(self, size: int) -> bool:
        return not self._readers.waited_for or (size <= IN_LOOP and not self.observation.encoded)

    def _read[T](self, size: int, work: Callable[[], T], then: Callable[[T], bytes]) -> bytes | Awaitable[bytes]:
        """Do work on a number of bytes, and go on with its result on the loop."""
        return then(work()) if self._short(size) else self._in_thread(work, then)

    def _in_thread[T](self, work: Callable[[], T], then: Callable[[T], bytes]) -> Awaitable[bytes]:
        self._busy = True
        begun = self._readers.begin(work)
        begun.add_done_callback(self._idle)
        return self._after(begun, then)

    async def _after[T](self, begun: asyncio.Future[T], then: Callable[[T], bytes]) -> bytes:
        result = await asyncio.shield(begun)
        if self._over:  # the exchange has ended meanwhile
            raise CutError
        return then(result)

    def _idle(self, begun: asyncio.Future[Any]) -> None:
        self._busy = False
        if not self._left:
            return
        if self._last:
            self._finished(begun)
        else:
            self.leave()

    def _finished(self, begun: asyncio.Future[Any]) -> None:
        """Tell, although nobody waits any more; what failed has not read all."""
        if begun.cancelled() or begun.exception() is not None:
            self.observation.seen.incomplete = True
        self._tell()

    def _tell(self) -> None:
        self._over = True
        self._told()

    # What follows, on the loop ------------------------------------------------------------------------------------

    def _passed(self, passed: bytes) -> bytes:
        observation = self.observation
        self.noted()
        if observation.held > self._paid:
            if self._exchange.hold(observation.held - self._paid):
                self._paid = observation.held
            else:
                passed += observation.give_up()
        if observation.was_cut:
            if not observation.seen.violated:
                self._unread()
            raise CutError(passed)
        return passed

    def _ended(self, rest: bytes) -> bytes:
        self._tell()
        return rest

    def _judged(self, body: bytes | None) -> bytes:
        if body is None:
            cut = Reason.SOURCE_OUTSIDE_ALLOWLIST if self.observation.was_cut else Reason.WEB_SEARCH_UNINSPECTABLE
            self._exchange.refuse(cut, Stage.RESPONSE)
        self._tell()
        if body is None:
            raise CutError
        return body

    def _withheld(self, reason: Reason) -> CutError:
        """Refuse the exchange, of whose response the client has seen nothing, and return what ends it."""
        self._exchange.refuse(reason, Stage.RESPONSE, 502 if reason is Reason.TOO_LARGE else None)  # not the request
        return CutError()

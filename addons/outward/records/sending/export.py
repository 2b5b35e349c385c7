"""The export: brings every decision to a receiver outside, at least once, without the database.

A decision waits on disk (`spill`) until the receiver has it: it goes there in batches, is sent from there in its order,
and is taken off once the receiver has answered. So there is one way for all: a receiver that is slow or away, a restart
and a kill lose nothing, up to the bound on disk, and what is sent twice has the same id. Two threads; neither is the
data path's. What the receiver understands is the dialect's affair.
"""

import logging
import random
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import orjson

from outward.core.model import Verdict
from outward.records.events.folds import Tally
from outward.records.events.spill import Spill, SpillFullError
from outward.records.events.stdout_sink import told
from outward.records.events.values import Event, Record, line
from outward.records.sending.destination import DeliveryError, Destination
from outward.records.text import clean
from outward.records.worker import Worker

log = logging.getLogger(__name__)

CAPACITY = 16_384  # events that wait in memory
MAX_BYTES = 2 << 20  # of lines in one request
MAX_WAIT = 3600.0  # seconds that a receiver may ask for
_LINGER = 0.2  # seconds; what a kill can lose is not older
_OF_STRANGERS = 0.5  # of the bound on disk: a flood of unknown clients leaves room for groups
_CONTENT = frozenset({400, 413, 422})  # these records are refused; any other status is about the receiver itself
_UNFIT = 422  # as if the receiver had refused it: what the dialect cannot encode
_ENOUGH = 16  # requests that are taken before larger ones are tried again
_ADOPT = 60.0  # seconds between two looks for what a process left that is gone
_QUICK = 1  # of zlib
_MOST_SAID = 200  # characters of why a receiver refuses records


class Rejection(Exception):  # noqa: N818 - it is an answer, and no fault of ours
    """The receiver has taken a request, but for some of its records.

    Attributes:
        count: of those that it did not take, for good.
    """

    def __init__(self, count: int, message: str) -> None:
        super().__init__(message)
        self.count = count


class Dialect(Protocol):
    """What a receiver understands.

    Attributes:
        content_type: of a request.
        compressed: whether it takes gzip.
        denials_only: whether it is told of nothing but what is denied, or would be.
    """

    content_type: str
    compressed: bool
    denials_only: bool

    def encode(self, records: Sequence[Record]) -> bytes:
        """Return the body of a request."""
        ...

    def read(self, answer: bytes) -> None:
        """Read the answer to a request that was taken.

        Raises:
            Rejection: it was not taken whole.
        """
        ...


class ExportCounts(Protocol):
    """Where exported records are counted; any thread may call it."""

    def exported(self, export: str, outcome: str, count: int) -> None:
        """Count records that were `sent`, or that the receiver `rejected`, or that were `dropped` for want of room."""
        ...

    def export_failed(self, export: str, reason: str) -> None:
        """Count a request that failed, and is tried again."""
        ...


class Export:
    """Sends decisions to one receiver; see the module.

    Attributes:
        name: of its dialect, for metrics and log.
        problem: what keeps records from the receiver, in words; None if nothing does.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        destination: Destination,
        spool: Spill,
        counts: ExportCounts,
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        retries: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            name: of the dialect.
            dialect: what the receiver understands.
            destination: the receiver.
            spool: where records wait.
            counts: where to count.
            headers: returns more fields of a request; asked each time.
            retries: seconds before the first retry, and at most.
        """
        self.name = name
        self.problem: str | None = None
        self._dialect, self._destination, self._spool = dialect, destination, spool
        self._counts, self._headers = counts, headers
        self._first, self._last = retries
        self._failures, self._taken = 0, 0
        self._most: int | None = None
        self._oldest: float | None = None
        self._dropping = False
        self._said: str | None = None  # with its last refusal, which is told once until it changes
        self._adopt_at = time.monotonic() + _ADOPT
        self._worker: Worker[Event | Tally] = Worker(
            f"export-{name}", self._keep, capacity=CAPACITY, linger=_LINGER, on_error=self._drop
        )
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"export-{name}-send", daemon=True)

    @property
    def waiting(self) -> int:
        """Bytes on disk that the receiver has not taken."""
        return len(self._spool)

    def lag(self) -> float:
        """Return the age in seconds of the oldest record that waits, as last seen; 0 if none does."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)

    def start(self) -> None:
        """Start the threads."""
        self._worker.start()
        self._thread.start()

    def offer(self, item: Event | Tally) -> None:
        """Take what was recorded. Never blocks, never raises."""
        if self._dialect.denials_only and isinstance(item, Event) and not _denied(item):
            return
        if not self._worker.offer(item):
            self._drop(1)

    def close(self, timeout: float) -> None:
        """Send what is left if the receiver takes it, and end, within about a number of seconds; the rest stays."""
        deadline = time.monotonic() + timeout
        if not self._worker.close(timeout):
            self._keep(self._worker.leftover())
        self._stop.set()
        self._ready.set()
        if self._thread.ident is not None:
            self._thread.join(max(0.1, deadline - time.monotonic()))
            self._destination.abort()
            self._thread.join(1.0)
        if not self._thread.is_alive():
            self._spool.close()

    def _keep(self, items: list[Event | Tally]) -> None:
        """Put items on disk."""
        kinds: dict[bool, list[bytes]] = {}
        for item in items:
            event = item.fold.event if isinstance(item, Tally) else item
            kinds.setdefault(event.group is None, []).append(line(told(item)))
        for strangers, lines in kinds.items():
            try:
                self._spool.append(lines, _OF_STRANGERS if strangers else 1.0)
            except (OSError, SpillFullError) as error:
                if not self._dropping:
                    log.critical("the %s export keeps nothing more, which is lost to it: %s", self.name, error)
                self._dropping = True
                self._drop(len(lines))
            else:
                self._dropping = self._dropping and strangers
        self._ready.set()

    def _drop(self, count: int) -> None:
        self._counts.exported(self.name, "dropped", count)

    def _run(self) -> None:
        while True:
            last = self._stop.is_set()  # asked before the look, so that nothing written until then is missed
            self._ready.clear()
            wait = self._attempt()
            if last and (wait is None or self.problem):
                return
            if wait is None:
                self._ready.wait(_ADOPT)
            else:
                self._stop.wait(wait)

    def _attempt(self) -> float | None:
        """Send a batch and return the seconds until the next; None if nothing waits."""
        try:
            return 0.0 if self._send() else None
        except DeliveryError as error:
            return self._retry(error.reason, f"{self._destination.name} takes no records: {error}", error.retry_after)
        except Exception as error:  # the thread must outlive what it does not understand; what waits stays on disk
            log.exception("the %s export failed", self.name)
            return self._retry("internal", f"the export failed: {error}", 0.0)

    def _retry(self, reason: str, problem: str, asked: float) -> float:
        """Count a failure and return when to try again: exponential, spread, and not before the receiver wants."""
        self._counts.export_failed(self.name, reason)
        self._failures += 1
        if self._failures == 1:
            log.warning("%s; trying again", problem)
        self.problem = problem
        wait = min(self._last, self._first * 2 ** min(self._failures - 1, 30))
        return max(random.uniform(wait / 2, wait), min(asked, MAX_WAIT))  # noqa: S311 - spreads load, guards nothing

    def _send(self) -> bool:
        """Send the oldest records; False if none wait.

        Raises:
            DeliveryError: the receiver took nothing, and may later.
        """
        if time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + _ADOPT
            self._spool.adopt()
        lines = self._spool.peek(MAX_BYTES)[: self._most]
        if not lines:
            self._oldest = None
            return False
        records = _parsed(lines)
        if len(records) < len(lines):
            self._drop(len(lines) - len(records))
        self._oldest = _time(records)
        try:
            if records:
                self._deliver(records)
        except DeliveryError as error:
            if error.status not in _CONTENT:
                raise
            self._taken = 0
            if len(lines) > 1:
                self._most = len(lines) // 2
                self._counts.export_failed(self.name, error.reason)
                return True
            what = f"{self._destination.name} refuses a record, which is lost to it"
            log.error("%s: %s: %s", what, error, lines[0].decode())  # noqa: TRY400 - no fault of the code
            self._counts.exported(self.name, "rejected", 1)
        self._spool.take(sum(map(len, lines)))
        if self.problem:
            log.info("%s takes records again", self._destination.name)
        self._failures, self.problem, self._taken = 0, None, self._taken + 1
        if self._most is not None and self._taken >= _ENOUGH:
            self._most, self._taken = 2 * self._most, 0
        return True

    def _deliver(self, records: Sequence[Record]) -> None:
        try:
            headers = self._headers()
        except (OSError, ValueError) as error:
            raise DeliveryError("headers", f"its header fields cannot be read: {error}") from error
        try:
            body, coding = self._dialect.encode(records), ""
        except Exception as error:  # what a disk or another version made of a record; the rest must not wait for it
            raise DeliveryError("content", f"it cannot be encoded: {error!r}", status=_UNFIT) from error
        if self._dialect.compressed:
            body, coding = _gzip(body), "gzip"
        fields = {"Content-Type": self._dialect.content_type, "Content-Encoding": coding, **headers}
        answer = self._destination.send(body, fields)
        rejected, said = 0, None
        try:
            self._dialect.read(answer)
        except Rejection as rejection:
            rejected = min(max(0, rejection.count), len(records))  # it is somebody else's word
            said = clean(str(rejection), _MOST_SAID)
            if said != self._said:
                level = logging.ERROR if rejected else logging.WARNING
                log.log(level, "%s refuses %d records for good: %s", self._destination.name, rejected, said)
            self._counts.exported(self.name, "rejected", rejected)
        self._said = said
        self._counts.exported(self.name, "sent", len(records) - rejected)


def _denied(event: Event) -> bool:
    return event.would_deny or event.verdict is Verdict.DENY


def _parsed(lines: Sequence[bytes]) -> list[Record]:
    """Read lines; what a damaged disk made of one is left out."""
    records = []
    for text in lines:
        with suppress(orjson.JSONDecodeError):
            record = orjson.loads(text)
            if isinstance(record, dict):
                records.append(record)
    return records


def _time(records: Sequence[Record]) -> float | None:
    first = next((record.get("time") or record.get("first_seen") for record in records), None)
    with suppress(TypeError, ValueError):
        return datetime.fromisoformat(first).timestamp() if first else None
    return None


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(_QUICK, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()

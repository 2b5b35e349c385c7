"""The recorder: takes events from the data path and brings them to their sinks, losing nothing silently.

Three workers, each with a bounded queue: `stdout` writes JSON lines; `store` writes batches to the database, and spills
to disk while the database is away; `overflow` spills what the store's queue has no room for. What even the disk does
not take is counted as dropped and logged. The data path only appends to queues, and counts repeats; see `folds`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outward.core.model import Verdict
from outward.records.audit.folds import AuditFolds
from outward.records.audit.values import AuditEvent
from outward.records.database import Database, open_database
from outward.records.events.folds import Folds, Tally
from outward.records.events.keeper import DayKeeper, Keeper
from outward.records.events.spill import MAX_BYTES as SPILL_BYTES
from outward.records.events.spill import Spill
from outward.records.events.stdout_sink import LineSink
from outward.records.events.sums import Sums, summed
from outward.records.events.values import Event, Record, new_id, trim
from outward.records.events.writer import Item, RecordCounts, StoreWriter
from outward.records.worker import Handler, Worker

if TYPE_CHECKING:
    from outward.records.audit.keeper import Anchor
    from outward.records.audit.stream import AuditStream
    from outward.records.sending.export import Export

_log = logging.getLogger(__name__)

MAX_BYTES = 8 << 30  # of the store
CAPACITY = 16_384  # events that wait in each queue
_STDOUT_LINGER = 0.02  # seconds; others look for a decision's line soon after it was made
STORE_LINGER = 0.08
_LEAVE = 0.5  # seconds that whoever reads a whole day is waited for at the end
_TALLY = 0.4  # seconds between two looks at what was repeated
_TALLIES = 1000  # at once
_FLUSH = 2.0  # seconds that what is sent on gets at the end; what is not delivered then waits


class Recorder:
    """Records events; `record` is safe to call from any thread and never waits."""

    def __init__(
        self,
        url: str,
        state: Path,
        counts: RecordCounts,
        *,
        retention: float,
        stdout: int | None = None,
        as_line: Callable[[Record], bytes] | None = None,
        capacity: int = CAPACITY,
        max_bytes: int = MAX_BYTES,
        spill_bytes: int = SPILL_BYTES,
        connect: Callable[[str, Path], Database] = open_database,
        stream: "AuditStream | None" = None,
        linger: float = STORE_LINGER,
        keep_allowed: bool = True,
        instance: str | None = None,
        exports: "Sequence[Export]" = (),
        audit_retention: float | None = None,
        anchor: "Anchor | None" = None,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            url: the configured `records.url`.
            state: the state directory; the spill lies in it.
            counts: where to count.
            retention: seconds that events are kept.
            stdout: descriptor for a line for each event, or None for none.
            as_line: makes it, of JSON if it is None.
            capacity: events that wait in each queue.
            max_bytes: of the events in the store; see `pruning`.
            spill_bytes: of the spill.
            connect: opens the database.
            stream: sends audit events on, once they are in the database.
            linger: seconds that the first event of a batch waits for others.
            exports: send decisions to receivers outside.
            audit_retention: seconds that audit events are kept; None for ever.
            anchor: tells the head of the audit chain to a place outside.
            keep_allowed: whether what is allowed has rows of its own; otherwise it is added up, see `sums`.
            instance: names this proxy in every event.
        """
        self._counts, self._instance, self._capacity = counts, instance, capacity
        self.stream, self.exports = stream, tuple(exports)
        keeper = Keeper(counts, retention, max_bytes)
        spill = Spill(state / "spill", max_bytes=spill_bytes)
        self._writer = StoreWriter(lambda: connect(url, state), state, counts, keeper, spill)
        self._folds, self._audited, self._folding = Folds(), AuditFolds(), threading.Lock()
        self._sums = None if keep_allowed else Sums()
        self._tallied_at = 0.0
        self._store: Worker[Item] = Worker(
            "records-store", self._to_store, capacity=capacity, linger=linger, on_error=self._writer.lose
        )
        self._overflow: Worker[Item] = Worker(
            "records-overflow", self._writer.spill, capacity=capacity, linger=0.0, on_error=self._writer.lose
        )
        self._workers: list[Worker[Any]] = [self._store, self._overflow]
        self._tenders: list[Worker[None]] = []
        if url.startswith("postgres"):
            self._tend("records-days", DayKeeper(lambda: connect(url, state), counts, retention).handle)
        self._tend_audit(lambda: connect(url, state), state, audit_retention, anchor)
        self._stdout = None if stdout is None else self._printer(stdout, as_line)

    def _tend_audit(
        self, connect: Callable[[], Database], state: Path, retention: float | None, anchor: "Anchor | None"
    ) -> None:
        """Prune the audit chain, and tell its head to a place outside, if that is wanted."""
        self.anchor = anchor
        if retention is not None:
            from outward.records.audit.keeper import AuditKeeper  # noqa: PLC0415 - loads cryptography

            keep = AuditKeeper(connect, state, self._counts, retention, streamed=self.stream is not None)
            self._tend("audit-retention", keep.handle)
        if anchor is not None:
            self._tend("audit-anchor", anchor.handle)

    def _printer(self, stdout: int, as_line: Callable[[Record], bytes] | None) -> "Worker[Event | Tally]":
        """Return what writes a line for each event."""
        self._lines = LineSink(stdout, self._unprinted, as_line)
        printer: Worker[Event | Tally] = Worker(
            "records-stdout",
            self._lines.handle,
            capacity=self._capacity,
            linger=_STDOUT_LINGER,
            on_error=self._unprinted,
        )
        self._workers.append(printer)
        return printer

    @property
    def _senders(self) -> "Sequence[AuditStream | Export]":
        return (*self.exports, *([self.stream] if self.stream is not None else []))

    @property
    def problem(self) -> str | None:
        """Why the audit chain takes nothing; None if it does."""
        return "the audit chain takes nothing: see the log" if self._writer.chain_broken else None

    @property
    def losing(self) -> str | None:
        """That what is recorded now is lost, for all or for strangers alone; None if it is kept.

        It takes no proxy out of service: all that share a database would go at once.
        """
        if self._writer.losing:
            return "records are being lost"
        return "records of unknown clients are being lost" if self._writer.full else None

    @property
    def unaudited(self) -> bool:
        """Whether audit events cannot be kept now; nothing is searched then."""
        return self._writer.unaudited or (self._store.full and self._overflow.full)

    @property
    def clock_problem(self) -> str | None:
        """Why nothing is pruned by age now; None if it is."""
        return self._writer.clock_problem

    @property
    def away(self) -> str | None:
        """That the database takes nothing now, and the disk does; None if it is open."""
        return None if self._writer.open else "the record store is away, spilling to disk: see the log"

    @property
    def spilled(self) -> int:
        """Bytes on disk that the database has not taken."""
        return self._writer.spilled

    @property
    def capacity(self) -> int:
        """Events that may wait in memory."""
        return 2 * self._capacity

    def __len__(self) -> int:
        return len(self._store) + len(self._overflow)

    def start(self) -> None:
        """Start the workers; opening the database happens there."""
        for worker in self._workers:
            worker.start()
        self._store.nudge()
        for tender in self._tenders:
            tender.start()
            tender.nudge()
        for sender in self._senders:
            sender.start()

    def _tend(self, name: str, handle: Handler[None]) -> None:
        """Have something looked after, on a thread of its own."""
        self._tenders.append(Worker(name, handle, capacity=0, linger=0.0, on_error=_unheard))

    def settle(self, event: Event) -> None:
        """Give a denial that is about to be told the id of the row that counts it. Never blocks, never raises."""
        if event.verdict is Verdict.DENY and event.fold is None:
            trim(event)
            with self._folding:
                self._folds.count(event, time.monotonic())

    def withdraw(self, event: Event) -> bool:
        """Take back a settled challenge that was answered and is not to be recorded; True if its id is free then."""
        with self._folding:
            return self._folds.withdraw(event)

    def record(self, event: Event) -> None:
        """Take one event, which nobody changes any more. Never blocks, never raises."""
        trim(event)
        event.instance = self._instance
        self.settle(event)
        if event.fold is not None:
            with self._folding:
                row = self._folds.recorded(event)
            if row is None:
                return
            event = row
        if not self._only_counted(event) and not self._store.offer(event) and not self._overflow.offer(event):
            self._writer.lose(1)
        self._tell(event)

    def _tell(self, item: Event | Tally) -> None:
        """Hand what was recorded to standard output and to the exports."""
        if self._stdout is not None and not self._stdout.offer(item):
            self._unprinted(1)
        for export in self.exports:
            export.offer(item)

    def _only_counted(self, event: Event) -> bool:
        """Count an event that gets no row; False if it gets one."""
        if self._sums is None or not summed(event):
            return False
        with self._folding:
            if self._sums is None:  # the end has come meanwhile
                return False
            first = self._sums.add(event, time.monotonic())
        if first:
            self._store.nudge()
        return True

    def _to_store(self, items: list[Item]) -> float:
        """Write what was recorded, and what was repeated since it was last looked at."""
        now = time.monotonic()
        tallies: list[Tally] = []
        if now - self._tallied_at >= _TALLY:
            self._tallied_at = now
            tallies = self._tallies(now)
        with self._folding:
            acts: list[Item] = [*self._audited.due(now), *self._summed(now)]
        delay = self._writer.handle([*items, *(tally for tally in tallies if tally.added), *acts])
        return min(delay, _TALLY) if len(self._folds) or len(self._audited) or self._sums else delay

    def _summed(self, now: float) -> list[Record]:
        return [] if self._sums is None else self._sums.due(now)

    def _tallies(self, now: float) -> list[Tally]:
        with self._folding:
            tallies = self._folds.tallies(now, _TALLIES, ended_only=not self._writer.open)
        for tally in tallies:
            if tally.unprinted:
                self._tell(tally)
        return tallies

    def _end_folds(self) -> None:
        """Hand what was repeated to the workers, before they end."""
        with self._folding:
            self._folds.end()
            acts: list[Item] = [*self._audited.due(float("inf")), *self._summed(float("inf"))]
            self._sums = None  # whatever comes now gets a row, which the workers' end does not pass by
        while tallies := self._tallies(time.monotonic()):
            left = [tally for tally in tallies if tally.added and not self._store.offer(tally)]
            self._writer.spill(list(left))
        self._writer.spill([act for act in acts if not self._store.offer(act)])

    def audit(self, event: AuditEvent) -> None:
        """Take one audit event. Never blocks, never raises."""
        with self._folding:
            row = self._audited.take(event, time.monotonic())
        if row is not None and not self._store.offer(row) and not self._overflow.offer(row):
            self._writer.lose_audit(1)

    def receipt(self, receipt: Mapping[str, Any]) -> None:
        """Take the receipt of one request that searched. Never blocks, never raises."""
        record = {"receipt": dict(receipt), "time": time.time(), "id": new_id()}
        if not self._store.offer(record) and not self._overflow.offer(record):
            self._writer.lose(1)

    def close(self, timeout: float) -> None:
        """Flush and stop, within about a number of seconds; what the store does not take in time is spilled."""
        deadline = time.monotonic() + timeout
        self._end_folds()
        late = [worker for worker in self._workers if not worker.close(max(0.1, deadline - time.monotonic()))]
        for worker in late:
            left = worker.leftover()
            _log.error("%s did not finish in time, %d records were waiting", worker.name, len(left))
            if worker is self._stdout:
                self._unprinted(len(left))
            else:
                self._writer.spill(left)
        if not late:
            self._writer.close()
        for tender in self._tenders:
            tender.close(_LEAVE)
        for sender in self._senders:
            sender.close(_FLUSH)

    def _unprinted(self, count: int) -> None:
        self._counts.records_dropped("stdout", count)


def _unheard(_count: int) -> None:
    """Do nothing: where nothing is offered, nothing is lost."""

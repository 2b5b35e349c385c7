"""The recorder: takes events from the data path and brings them to their sinks, losing nothing silently.

Three workers, each with a bounded queue: `stdout` writes JSON lines; `store` writes batches to the database, and spills
to disk while the database is away; `overflow` spills what the store's queue has no room for. What even the disk does
not take is counted as dropped and logged. The data path only appends to queues.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outward.records import audit
from outward.records.database import Database, open_database
from outward.records.events import Event, new_id, trim
from outward.records.lines import LineSink
from outward.records.worker import Worker
from outward.records.writer import Counts, Item, StoreWriter

if TYPE_CHECKING:
    from outward.records.audit_stream import AuditStream

_log = logging.getLogger(__name__)

CAPACITY = 16_384  # events that wait in each queue
_STDOUT_LINGER = 0.02  # seconds; others look for a decision's line soon after it was made
_STORE_LINGER = 0.08
_STREAM_FLUSH = 2.0  # seconds that the audit stream gets at the end; what it does not deliver waits in the database


class Recorder:
    """Records events; `record` is safe to call from any thread and never waits."""

    def __init__(
        self,
        url: str,
        state: Path,
        counts: Counts,
        *,
        retention: float,
        stdout: int | None = None,
        capacity: int = CAPACITY,
        max_bytes: int = 4 << 30,
        connect: Callable[[str, Path], Database] = open_database,
        stream: "AuditStream | None" = None,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            url: the configured `records.url`.
            state: the state directory; the spill lies in it.
            counts: where to count.
            retention: seconds that events are kept.
            stdout: descriptor for JSON lines, or None for none.
            capacity: events that wait in each queue.
            max_bytes: of the store; beyond it the oldest events go.
            connect: opens the database.
            stream: sends audit events on, once they are in the database.
        """
        self._counts, self.stream = counts, stream
        self._writer = StoreWriter(lambda: connect(url, state), state, counts, retention, max_bytes)
        self._store: Worker[Item] = Worker(
            "records-store", self._writer.handle, capacity=capacity, linger=_STORE_LINGER, on_error=self._writer.lose
        )
        self._overflow: Worker[Item] = Worker(
            "records-overflow", self._writer.spill, capacity=capacity, linger=0.0, on_error=self._writer.lose
        )
        self._workers: list[Worker[Any]] = [self._store, self._overflow]
        self._stdout: Worker[Event] | None = None
        if stdout is not None:
            self._lines = LineSink(stdout, self._unprinted)
            self._stdout = Worker(
                "records-stdout", self._lines.handle, capacity=capacity, linger=_STDOUT_LINGER, on_error=self._unprinted
            )
            self._workers.append(self._stdout)

    @property
    def problem(self) -> str | None:
        """Why what is recorded now is not kept, in the store or on disk; None where it is."""
        if self._writer.losing:
            return "records are being lost"
        return "the audit chain takes nothing: see the log" if self._writer.chain_broken else None

    @property
    def away(self) -> str | None:
        """That the database takes nothing now, and the disk does; None where it is open."""
        return None if self._writer.open else "the record store is away, spilling to disk: see the log"

    @property
    def spilled(self) -> int:
        """Bytes on disk that the database has not taken."""
        return self._writer.spilled

    def __len__(self) -> int:
        return len(self._store) + len(self._overflow)

    def start(self) -> None:
        """Start the workers; opening the database happens there."""
        for worker in self._workers:
            worker.start()
        self._store.nudge()
        if self.stream is not None:
            self.stream.start()

    def record(self, event: Event) -> None:
        """Take one event, which nobody changes any more. Never blocks, never raises."""
        trim(event)
        if not self._store.offer(event) and not self._overflow.offer(event):
            self._writer.lose(1)
        if self._stdout is not None and not self._stdout.offer(event):
            self._unprinted(1)

    def audit(self, event: audit.AuditEvent) -> None:
        """Take one audit event. Never blocks, never raises."""
        record = audit.as_record(event)
        if not self._store.offer(record) and not self._overflow.offer(record):
            self._writer.lose_audit(1)

    def receipt(self, receipt: Mapping[str, Any]) -> None:
        """Take the receipt of one request that searched. Never blocks, never raises."""
        record = {"receipt": dict(receipt), "time": time.time(), "id": new_id()}
        if not self._store.offer(record) and not self._overflow.offer(record):
            self._writer.lose(1)

    def close(self, timeout: float) -> None:
        """Flush and stop, within about a number of seconds; what the store does not take in time is spilled."""
        deadline = time.monotonic() + timeout
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
        if self.stream is not None:
            self.stream.close(_STREAM_FLUSH)

    def _unprinted(self, count: int) -> None:
        self._counts.records_dropped("stdout", count)

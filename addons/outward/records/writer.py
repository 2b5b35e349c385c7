"""The writer: brings records to the database, by way of the spill whenever the database is away.

Owns the connection, its retries and retention. While the spill holds anything, new records go behind it, so that order
is kept. Runs on the store's worker, never on the data path.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import orjson

from outward.records import store
from outward.records.database import Database, StoreAwayError, migrate
from outward.records.events import Event, Record, as_record, line
from outward.records.spill import Spill, SpillFullError

_log = logging.getLogger(__name__)

_REPLAY_BYTES = 1 << 18  # in one transaction
_REPLAY_SECONDS = 0.25  # before new events are looked at
_FIRST_RETRY, _LAST_RETRY = 0.25, 15.0  # seconds
_HOUSEKEEPING = 60.0  # seconds
_SOON = 0.01  # seconds


class Counts(Protocol):
    """Where records are counted; any thread may call it."""

    def records_written(self, count: int) -> None:
        """Count events that the store has taken."""
        ...

    def records_dropped(self, sink: str, count: int) -> None:
        """Count events that a sink lost for good."""
        ...


class StoreWriter:
    """Writes batches of events; see the module.

    Attributes:
        losing: whether the last attempt to keep events failed altogether.
    """

    def __init__(
        self, connect: Callable[[], Database], spill: Path, counts: Counts, retention: float, max_bytes: int
    ) -> None:
        self._connect = connect
        self._database: Database | None = None
        self._spill = Spill(spill)
        self._counts = counts
        self._retention = retention
        self._max_bytes = max_bytes
        self._retry_at = 0.0
        self._retry_after = _FIRST_RETRY
        self._housekeeping_at = 0.0
        self.losing = False

    def handle(self, events: list[Event]) -> float:
        """Write a batch and return the seconds until the next call that needs no batch."""
        if self._away() or self._spill:
            self.spill(events)
            self._replay()
        elif events:
            records = [as_record(event) for event in events]
            if not self._write(records):
                self._keep([line(record) for record in records])
        if self._away():
            return max(_SOON, self._retry_at - time.monotonic())
        return _SOON if self._spill else self._housekeep(time.monotonic())

    def overflow(self, events: list[Event]) -> None:
        """Spill what the store's queue had no room for; a worker's handler."""
        self.spill(events)

    def spill(self, events: list[Event]) -> None:
        """Put events behind what the spill holds."""
        if events:
            self._keep([line(as_record(event)) for event in events])
        elif self.losing:
            self._keep([b"\n"])  # find out whether the disk takes anything again

    def lose(self, count: int) -> None:
        """Count events that could not be kept anywhere, and say so."""
        if not self.losing:
            _log.critical("records are being lost: neither the store nor the spill takes them")
        self.losing = True
        self._counts.records_dropped("store", count)

    def close(self) -> None:
        """Close the database and the spill."""
        if self._database is not None:
            self._database.close()
        self._spill.close()

    def _away(self) -> bool:
        return time.monotonic() < self._retry_at

    def _keep(self, lines: Sequence[bytes]) -> None:
        try:
            self._spill.append(lines)
        except (OSError, SpillFullError) as error:
            _log.error("the spill does not take %d records: %s", len(lines), error)
            self.lose(len(lines))
        else:
            self.losing = False

    def _write(self, records: Sequence[Record]) -> bool:
        """Write records to the database; False where it is away. A record that it refuses is dropped alone."""
        try:
            if self._database is None:
                self._database = self._opened()
            self._transact(self._database, records)
        except StoreAwayError as error:
            self._went_away(error)
            return False
        self._retry_after, self.losing = _FIRST_RETRY, False
        return True

    def _opened(self) -> Database:
        database = self._connect()
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        _log.info("the record store is open")
        return database

    def _transact(self, database: Database, records: Sequence[Record]) -> None:
        try:
            with database.transaction():
                store.write(database, records)
            self._counts.records_written(len(records))
        except StoreAwayError:
            raise
        except Exception:  # noqa: BLE001 - drivers refuse a row in many ways
            if len(records) == 1:
                _log.exception("the store refuses a record")
                self.lose(1)
                return
            for record in records:
                self._transact(database, [record])

    def _went_away(self, error: StoreAwayError) -> None:
        _log.warning("the record store is away, spilling to disk: %s", error)
        if self._database is not None:
            self._database.close()
            self._database = None
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(_LAST_RETRY, self._retry_after * 2)

    def _replay(self) -> None:
        """Write the oldest of what the spill holds, for a while, if the database is not known to be away."""
        until = time.monotonic() + _REPLAY_SECONDS
        while not self._away() and time.monotonic() < until:
            try:
                lines = self._spill.peek(_REPLAY_BYTES)
            except OSError as error:
                self._went_away(StoreAwayError(f"the spill cannot be read: {error}"))
                return
            if not lines or not self._write(self._parsed(lines)):
                return
            self._spill.take(sum(map(len, lines)))

    def _parsed(self, lines: list[bytes]) -> list[Record]:
        """Read spilled lines; what a damaged disk made of one is counted as lost."""
        records = []
        for text in lines:
            try:
                record = orjson.loads(text) if text.strip() else None
            except orjson.JSONDecodeError:
                self.lose(1)
            else:
                records.extend([record] if record else [])
        return records

    def _housekeep(self, now: float) -> float:
        """Delete what is too old or too much, a small batch at a time, and return the seconds until the next."""
        if now < self._housekeeping_at:
            return self._housekeeping_at - now
        try:
            if self._database is None:
                self._write([])
            if self._database is not None:
                gone = store.prune(self._database, time.time() - self._retention)
                if not gone and self._database.size() > self._max_bytes:
                    gone = store.prune_oldest(self._database)
                if gone:
                    return 0.05
        except StoreAwayError as error:
            self._went_away(error)
            return self._retry_after
        self._housekeeping_at = now + _HOUSEKEEPING
        self._spill.adopt()
        return _SOON if self._spill else _HOUSEKEEPING

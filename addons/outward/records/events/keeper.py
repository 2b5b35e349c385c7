"""The keeper: retention and bounds of the store, a small batch at a time, each logged and counted."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from outward.records.clocks import Clock
from outward.records.database import Database, StoreAwayError
from outward.records.events import pruning, sums
from outward.records.state import receipts

if TYPE_CHECKING:
    from outward.records.events.writer import RecordCounts

_log = logging.getLogger(__name__)

DAY = 86_400.0  # seconds
_EVERY = 60.0  # seconds between two looks at what is too old
_LOOK = 1.0  # seconds between two looks at the size, while records come
_AGAIN = 5.0  # seconds until days are looked at again, where the database did not let us
_TOO_OFTEN = 12  # refusals in a row that are worth a line
_MORE = 0.02  # seconds between two batches
_OF_RECEIPTS = 8  # their bound is the events' by this
_TELL = 60.0  # seconds between two lines about pruning by size


class DayKeeper:
    """Tends the days of a database that keeps events so, with a connection of its own: a day is read whole."""

    def __init__(self, connect: Callable[[], Database], counts: "RecordCounts", retention: float) -> None:
        self._connect, self._counts, self._retention = connect, counts, retention
        self._clock = Clock()
        self._refused = 0

    def handle(self, _items: Sequence[None]) -> float:
        """Look at what is due, and return the seconds until the next look."""
        try:
            database = self._connect()
        except StoreAwayError:
            return _EVERY
        try:
            agreed = self._clock.agreed(database.now(), lambda: None)
            gone = database.tend_days(0.0 if agreed is None else agreed - self._retention)
            if gone:
                self._counts.records_pruned("age", "all", gone)
                _log.info("a day of %d events was dropped: it is older than `records.retention`", gone)
        except StoreAwayError as error:
            self._refused += 1
            level = logging.WARNING if self._refused == _TOO_OFTEN else logging.DEBUG
            _log.log(level, "the days of the store cannot be made or dropped, and are tried again: %s", error)
            return _AGAIN
        finally:
            database.close()
        self._refused = 0
        return _EVERY


class Keeper:
    """Prunes; used by the store's worker alone. Moments are seconds of a clock that does not go back.

    Attributes:
        clock: decides whether anything is pruned by age.
    """

    def __init__(self, counts: "RecordCounts", retention: float, max_bytes: int) -> None:
        self.clock = Clock()
        self._counts, self._retention, self._max_bytes = counts, retention, max_bytes
        self._aged_at, self._sized_at, self._receipts_at = 0.0, 0.0, 0.0
        self._told_at = -_TELL
        self._gone: dict[str, int] = {}
        self._freed = False
        self._trouble: str | None = None

    def wrote(self, now: float) -> None:
        """Note that records came, so that the size is looked at soon."""
        self._sized_at = min(self._sized_at, now + _LOOK)

    def due(self, now: float) -> float:
        """Return the seconds until `tend` has something to do."""
        return max(0.0, min(self._aged_at, self._sized_at, self._receipts_at) - now)

    def tend(self, database: Database, now: float) -> float:
        """Prune a batch of what is due and return the seconds until the next.

        Raises:
            StoreAwayError: as everything that uses the database.
        """
        if now >= self._aged_at and not self._age(database, now):
            return _MORE
        if now >= self._sized_at:
            if self._fit(database, now):
                return _MORE
            self._sized_at = now + _EVERY
        if now >= self._receipts_at:
            if self._fit_receipts(database):
                return _MORE
            self._receipts_at = now + _EVERY
        if self._freed:
            self._freed = database.give_back()
        return _MORE if self._freed else self.due(now)

    def _age(self, database: Database, now: float) -> bool:
        """Prune by age; True if nothing is left to do."""
        agreed = self.clock.agreed(database.now(), lambda: _newest(database))
        if self.clock.problem != self._trouble:
            self._trouble = self.clock.problem
            if self._trouble:
                _log.warning("nothing is pruned by age: %s", self._trouble)
        if agreed is not None:
            before = agreed - self._retention
            by_day = self._retention >= 2 * DAY and database.by_day()
            gone = pruning.prune_older(database, before // DAY * DAY if by_day else before)
            if gone:
                self._counts.records_pruned("age", "all", gone)
                self._freed = True
            if gone == pruning.BATCH:
                return False
            pruning.prune_summary(database, before)
            receipts.prune(database, before)
            sums.prune(database, before, agreed)
        if pruning.merge_summary(database) or sums.merge(database):
            return False
        self._aged_at = now + _EVERY
        return True

    def _fit(self, database: Database, now: float) -> bool:
        """Prune by size; True if there is more to do."""
        surplus = pruning.excess(pruning.sizes(database), self._max_bytes)
        if surplus is not None:
            gone = pruning.prune_oldest(database, *surplus)
            of = "groups" if surplus[0] else "strangers"
            self._gone[of] = self._gone.get(of, 0) + gone
            self._counts.records_pruned("size", of, gone)
            self._freed = True
        if self._gone and (surplus is None or now - self._told_at >= _TELL):
            self._tell(now)
        return surplus is not None

    def _fit_receipts(self, database: Database) -> bool:
        """Prune receipts by size; True if there is more to do."""
        surplus = pruning.excess(receipts.sizes(database), self._max_bytes // _OF_RECEIPTS)
        if surplus is None:
            return False
        gone = receipts.prune_oldest(database, *surplus)
        self._counts.records_pruned("size", "receipts", gone)
        _log.warning("the receipts of searches are at their bound: the oldest %d of %s went", gone, surplus[0])
        self._freed = True
        return True

    def _tell(self, now: float) -> None:
        self._told_at = now
        counts = ", ".join(f"{gone} of {of}" for of, gone in sorted(self._gone.items()))
        _log.warning(
            "the store is at its bound of %d bytes (`records.max_bytes`): the oldest events went, %s; the summary keeps"
            " their counts",
            self._max_bytes,
            counts,
        )
        self._gone.clear()


def _newest(database: Database) -> float | None:
    rows = database.execute("SELECT time_ms FROM events ORDER BY id DESC LIMIT 1")
    return rows[0][0] / 1000 if rows else None

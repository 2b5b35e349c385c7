"""How many searches groups make on a UTC day: one count for all proxies that share a database.

If a group has a limit, a request's searches are reserved in one transaction before anything goes upstream. What it did
not use is given back once its answer was read. Without a limit they are added up here and written a moment later.
A proxy that is killed leaves its reservations until the day ends: the count errs towards too many.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from outward.core.policy import within as lies_within
from outward.records.database import Database, StoreAwayError, subtree
from outward.records.link import PAUSE, Link
from outward.records.worker import Worker

_log = logging.getLogger(__name__)

LOCK = 0x73726368  # any number, the same in every process of a fleet
_KEPT = timedelta(days=92)

type _Key = tuple[str, str, str]  # day, group, vendor


@dataclass(frozen=True, slots=True)
class SearchReservation:
    """What a request may search.

    Attributes:
        day: that it counts for, `2026-11-30`.
        searches: reserved for it; 0 if nothing is left.
        limit: where nothing is left, whose limit that is, and how many a day.
    """

    day: str
    group: str
    vendor: str
    searches: int
    limit: tuple[str, int] = ("", 0)


def day_of(seconds: float) -> str:
    """Return the UTC day of a Unix time: `2026-11-30`."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def read(database: Database, day: str) -> dict[str, dict[str, int]]:
    """Return what every group itself searched on a day, by vendor."""
    found: dict[str, dict[str, int]] = {}
    rows = database.execute("SELECT group_path, vendor, searches FROM search_counts WHERE day = ?", (day,))
    for group, vendor, searches in rows:
        if searches:
            found.setdefault(group, {})[vendor] = int(searches)
    return found


def within(counts: Mapping[str, Mapping[str, int]], group: str) -> dict[str, int]:
    """Return what a group and all below it searched, by vendor."""
    total = Counter[str]()
    for path, vendors in counts.items():
        if lies_within(path, group):
            total.update(vendors)
    return dict(sorted(total.items()))


class SearchCounts:
    """The counts, as one process keeps them. `reserve` waits for the database, `add` never does."""

    def __init__(self, connect: Callable[[], Database], clock: Callable[[], float] = time.time) -> None:
        """Prepare; nothing is opened before it is needed.

        Args:
            connect: opens the database, its schema up to date.
            clock: returns Unix seconds; the database's own clock goes before it.
        """
        self._link, self._clock = Link(connect), clock
        self._pruned = ""
        self._pending: Counter[_Key] = Counter()
        self._adding = threading.Lock()
        self._worker: Worker[None] = Worker(
            "search-counts", self._write, capacity=1, linger=0.0, on_error=lambda _count: None
        )

    def start(self) -> None:
        """Start to write what is added."""
        self._worker.start()

    def close(self, timeout: float) -> None:
        """Write what is left, within a number of seconds, and close the connection."""
        if not self._worker.close(timeout) or self._pending:
            _log.error("%d searches could not be counted", sum(self._pending.values()))
        self._link.close()

    def add(self, group: str, vendor: str, searches: int) -> None:
        """Count searches that were made. Never waits, never raises."""
        self._add((day_of(self._clock()), group, vendor), searches)

    def settle(self, grant: SearchReservation, used: int) -> None:
        """Say how many searches a request made in the end; more than were reserved count too. Never waits."""
        self._add((grant.day, grant.group, grant.vendor), used - grant.searches)

    def _add(self, key: _Key, searches: int) -> None:
        if searches:
            with self._adding:
                self._pending[key] += searches
            self._worker.nudge()

    def reserve(self, group: str, vendor: str, limits: Sequence[tuple[str, int]], wanted: int) -> SearchReservation:
        """Reserve searches for a request: as many as it wants, or as all limits leave.

        Args:
            group: who asks.
            vendor: whose searches they are.
            limits: groups at or above it, and how many each and all below it may make on a day.
            wanted: at least 1.

        Raises:
            StoreAwayError: they cannot be counted, so they may not be made.
        """
        return self._in_transaction(lambda database: self._reserve(database, group, vendor, limits, wanted))

    def _reserve(
        self, database: Database, group: str, vendor: str, limits: Iterable[tuple[str, int]], wanted: int
    ) -> SearchReservation:
        now = database.now()
        day, left = day_of(self._clock() if now is None else now), wanted
        for path, most in limits:
            condition, values = subtree(path)
            rows = database.execute(
                f"SELECT COALESCE(SUM(searches), 0) FROM search_counts WHERE day = ? AND {condition}", (day, *values)
            )
            left = min(left, most - int(rows[0][0]))
            if left <= 0:
                return SearchReservation(day, group, vendor, 0, (path, most))
        _count(database, {(day, group, vendor): left})
        return SearchReservation(day, group, vendor, left)

    def _write(self, _nothing: list[None]) -> float | None:
        """Write what was added; returns when to try again where the database is away."""
        if not self._pending:
            return None
        try:
            self._in_transaction(lambda _database: None)
        except StoreAwayError as error:
            _log.warning("searches are not counted yet: %s", error)
            return PAUSE
        return None

    def _in_transaction[T](self, work: Callable[[Database], T]) -> T:
        """Do work in a transaction of its own, which writes first what was added."""
        with self._adding:
            taken, self._pending = self._pending, Counter()
        begun = False

        def whole(database: Database) -> T:
            nonlocal begun
            begun = True
            self._prune(database)
            _count(database, taken)
            return work(database)

        try:
            return self._link.run(whole, LOCK)
        except BaseException:
            with self._adding:  # nobody knows whether a commit was made that failed: nothing is given back twice
                self._pending.update(+taken if begun else taken)
            raise

    def _prune(self, database: Database) -> None:
        """Forget old days, once a day."""
        today = day_of(self._clock())
        if today != self._pruned:
            before = (datetime.fromisoformat(today) - _KEPT).date().isoformat()
            database.execute("DELETE FROM search_counts WHERE day < ?", (before,))
            self._pruned = today


def _count(database: Database, added: Mapping[_Key, int]) -> None:
    rows = [(*key, searches) for key, searches in sorted(added.items()) if searches]
    if rows:
        database.insert(
            "INSERT INTO search_counts AS old (day, group_path, vendor, searches) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (day, group_path, vendor) DO UPDATE SET searches = old.searches + excluded.searches",
            rows,
        )

"""The audit stream: brings every row of the audit chains to a destination, in its chain's order, at least once.

The cursor lies in the database, and moves only after the destination has answered. So neither a failure nor a restart
loses a row. If an answer is lost, its row is sent again with the same `id`. A row that the destination refuses by
itself holds its chain, and no other, until it is taken: requests shrink until it stands alone, so that it can be named.
Of the proxies that share a database one delivers, the others wait to take over. Runs on a thread of its own.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from outward.records.audit import cursors
from outward.records.audit.cursors import ChainRow
from outward.records.database import Database, StoreAwayError, migrate
from outward.records.sending.destination import DeliveryError, Destination

log = logging.getLogger(__name__)

LEASE = 0x61756469  # any number, the same in every process of a fleet
MAX_BYTES = 1 << 20  # of one request, unless one event is longer
MAX_WAIT = 3600.0  # seconds that a destination may ask for
_IDLE, _TAKEOVER = 0.5, 2.0  # seconds between two looks at the database, and at who delivers
_CONTENT = frozenset({400, 413, 422})  # these events are refused; any other status is about the destination itself
_ENOUGH = 16  # requests that are taken before larger ones are tried again


class StreamCounts(Protocol):
    """Where deliveries are counted; any thread may call it."""

    def audit_sent(self, count: int) -> None:
        """Count events that the destination has taken."""
        ...

    def audit_failed(self, reason: str) -> None:
        """Count a failed attempt."""
        ...


@dataclass(slots=True)
class _Pace:
    """How a chain's events are offered.

    Attributes:
        most: events in a request.
        taken: requests in a row that were taken at this size.
        refusals: of the one event that the next request begins with, in a row.
        due: when to offer it again, in monotonic seconds.
        held: that event, in words.
    """

    most: int
    taken: int = 0
    refusals: int = 0
    due: float = 0.0
    held: str | None = None


class AuditStream:
    """Delivers; see the module.

    Attributes:
        pending: events that wait, as last seen; 0 if another proxy delivers.
        problem: what keeps events from their destination, in words; None if nothing does.
    """

    def __init__(
        self,
        destination: Destination,
        connect: Callable[[], Database],
        counts: StreamCounts,
        *,
        batch: int = 100,
        retries: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            destination: where to.
            connect: opens the database.
            counts: where to count.
            batch: most events in a request.
            retries: seconds before the first retry, and at most.
        """
        self.pending = 0
        self.problem: str | None = None
        self._destination, self._connect, self._counts = destination, connect, counts
        self._most = batch
        self._paces: dict[str, _Pace] = {}
        self._first, self._last = retries
        self._failures = 0
        self._oldest: float | None = None
        self._database: Database | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-stream", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def lag(self) -> float:
        """Return the age in seconds of the oldest event that waits; 0 if none does."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)

    def close(self, timeout: float) -> None:
        """Deliver what is left if the destination takes it, and end, within about a number of seconds."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
            self._destination.abort()

    def _run(self) -> None:
        while True:
            last = self._stop.is_set()  # asked before the look, so that nothing written until then is missed
            wait = self._attempt()
            if last and wait:
                break
            self._stop.wait(wait)
        self._hang_up()

    def _attempt(self) -> float:
        """Do one round and return the seconds until the next."""
        try:
            return self._round()
        except StoreAwayError as error:
            log.debug("the audit stream waits for the database: %s", error)
            self._hang_up()
            return self._retry("store", 0.0)
        except DeliveryError as error:
            self.problem = f"{self._destination.name} does not take audit events: {error}"
            if not self._failures:
                log.warning("%s; trying again", self.problem)
            return self._retry(error.reason, error.retry_after)
        except Exception:  # the thread must outlive what it does not understand; nothing is lost meanwhile
            log.exception("the audit stream failed")
            return self._retry("internal", 0.0)

    def _retry(self, reason: str, asked: float) -> float:
        """Count a failure and return when to try again."""
        self._counts.audit_failed(reason)
        self._failures += 1
        return self._wait(self._failures, asked)

    def _wait(self, failures: int, asked: float) -> float:
        """Return the seconds until another try: exponential, spread, and not before the destination wants."""
        wait = min(self._last, self._first * 2 ** min(failures - 1, 30))
        return max(random.uniform(wait / 2, wait), min(asked, MAX_WAIT))  # noqa: S311 - spreads load, guards nothing

    def _round(self) -> float:
        database = self._opened()
        if not database.lease(LEASE):
            self.pending, self._oldest, self.problem = 0, None, None
            return _TAKEOVER
        waiting = cursors.behind(database)
        batches = [
            (chain.chain, rows)
            for chain in waiting
            if (rows := cursors.following(database, chain, self._pace(chain.chain).most))
        ]
        self._oldest = min((rows[0].time_ms / 1000 for _, rows in batches), default=None)
        self.pending = sum(chain.head - chain.seq for chain in waiting)  # last: who sees it finds the age as well
        offered = [self._offer(database, chain, _fitting(rows)) for chain, rows in batches]
        held = [pace.held for chain, _ in batches if (pace := self._pace(chain)).held]
        self.problem = "; ".join(held) or None
        return 0.0 if any(offered) else _IDLE

    def _pace(self, chain: str) -> _Pace:
        return self._paces.setdefault(chain, _Pace(self._most))

    def _offer(self, database: Database, chain: str, rows: Sequence[ChainRow]) -> bool:
        """Offer the next rows of a chain; tells whether there is reason to go on at once.

        Raises:
            DeliveryError: the destination takes nothing, of whichever chain.
        """
        pace = self._pace(chain)
        if pace.due > time.monotonic():
            return False
        try:
            self._deliver(database, chain, rows)
        except DeliveryError as error:
            if error.status not in _CONTENT:
                raise
            self._refused(pace, chain, rows, error)
            return len(rows) > 1
        if pace.held is not None:
            log.info("%s takes the event that it refused", self._destination.name)
        pace.refusals, pace.due, pace.held, pace.taken = 0, 0.0, None, pace.taken + 1
        if pace.taken >= _ENOUGH and pace.most < self._most:
            pace.most, pace.taken = min(self._most, 2 * pace.most), 0
        return True

    def _refused(self, pace: _Pace, chain: str, rows: Sequence[ChainRow], error: DeliveryError) -> None:
        """Offer fewer rows next, or hold the one that is refused by itself, and name it."""
        pace.taken = 0
        if len(rows) > 1:
            pace.most = len(rows) // 2
            self._counts.audit_failed(error.reason)
            return
        self._counts.audit_failed("refused")
        pace.refusals += 1
        pace.due = time.monotonic() + self._wait(pace.refusals, error.retry_after)
        row = rows[0]
        pace.held = (
            f"{self._destination.name} refuses audit event {row.ident} ({row.event_type}, row {row.seq} of chain"
            f" {chain}): {error}; it and what follows it in its chain wait"
        )
        if pace.refusals == 1:
            log.error("%s", pace.held)

    def _deliver(self, database: Database, chain: str, rows: Sequence[ChainRow]) -> None:
        single = self._most == 1
        kind = "application/json" if single else "application/x-ndjson"
        self._destination.post([row.text for row in rows], kind, rows[0].event_type if single else None)
        cursors.advance(database, chain, rows[-1].seq)
        self._counts.audit_sent(len(rows))
        if self._failures:
            log.info("%s takes audit events again", self._destination.name)
        self._failures = 0

    def _opened(self) -> Database:
        if self._database is None:
            self._database = self._connect()
            migrate(self._database)
        return self._database

    def _hang_up(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _fitting(rows: Sequence[ChainRow]) -> Sequence[ChainRow]:
    """Return the first rows that fit into one request; the first one always does."""
    total = 0
    for number, row in enumerate(rows):
        total += len(row.body) + len(row.private or "")
        if number and total > MAX_BYTES:
            return rows[:number]
    return rows

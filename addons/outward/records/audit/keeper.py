"""The audit's keepers: what is too old goes, and the head of the chain is told to a place outside.

Both are handlers of workers of their own: neither the data path nor the writer waits for them.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from outward.files import read_regular
from outward.records.audit import erasing
from outward.records.audit.chain import HEAD_FILE, Chain, ChainError, ChainHead, load_head
from outward.records.audit.values import as_record
from outward.records.clocks import Clock
from outward.records.database import Database, StoreAwayError
from outward.records.events.values import rfc3339
from outward.records.sending.destination import DeliveryError, Destination

if TYPE_CHECKING:
    from outward.records.events.writer import RecordCounts

log = logging.getLogger(__name__)

DAY = 86_400.0  # seconds
_LOOK = 3600.0  # seconds between two looks at what is too old
_EVERY = 300.0  # seconds between two anchors, if there is something new
_AGAIN = 15.0  # seconds until an anchor is tried again
_GONE = 7 * DAY  # seconds that the newest row of a proxy is too old before it counts as gone
_ANCHORS = 1 << 30  # bytes of a file of anchors: a proxy adds 100 KB a day at most
_LOCK = 0x61756474  # any number, the same in every process of a fleet


class AuditKeeper:
    """Deletes audit events that are too old, those of whole UTC days, from the beginning of its chain.

    Each proxy of a fleet does so with its own chain alone, whose verification believes nobody else. The chain of a
    proxy that is gone is deleted whole by whoever sees it first.
    """

    def __init__(
        self, connect: Callable[[], Database], state: Path, counts: "RecordCounts", retention: float, *, streamed: bool
    ) -> None:
        """Prepare.

        Args:
            connect: opens the database.
            state: where the chain's key is.
            counts: where to count.
            retention: seconds that audit events are kept.
            streamed: nothing goes that the audit stream has not delivered.
        """
        self._connect, self._state, self._counts = connect, state, counts
        self._retention, self._streamed, self._clock = retention, streamed, Clock()

    def handle(self, _items: Sequence[None]) -> float:
        """Delete what is due, and return the seconds until the next look."""
        try:
            database = self._connect()
        except StoreAwayError:
            return _LOOK / 60
        try:
            agreed = self._clock.agreed(database.now(), lambda: erasing.newest(database))
            if agreed is not None:
                self._prune(database, agreed)
        except StoreAwayError as error:  # a chain that cannot be used is one
            log.debug("the audit is pruned later: %s", error)
            return _LOOK / 60
        finally:
            database.close()
        return _LOOK

    def _prune(self, database: Database, now: float) -> None:
        own, edge = Chain(self._state), (now - self._retention) // DAY * DAY
        for chain in erasing.chains(database):
            while gone := self._batch(database, own, chain, round(edge * 1000)):
                self._counts.records_pruned("age", "audit", gone)

    def _batch(self, database: Database, own: Chain, chain: str, before_ms: int) -> int:
        """Delete the oldest rows of a chain, with the event that says so, and return how many they were."""
        with database.transaction(_LOCK):
            if chain != own.name and not _is_gone(database, chain, before_ms):
                return 0
            cut = erasing.prunable(database, chain, before_ms, delivered=self._streamed)
            if cut is None:
                return 0
            told = [erasing.pruned(chain, cut), *erasing.still_needed(database, chain, cut.seq)]
            head = own.append(database, [as_record(event) for event in told])
            erasing.delete(database, chain, cut.seq)
        own.save(head)
        what = f"{cut.rows} audit events of chain {chain[:12]}"
        log.info("%s were deleted: they were older than `records.audit.retention`", what)
        return cut.rows


def _is_gone(database: Database, chain: str, before_ms: int) -> bool:
    """Whether a chain's proxy is gone: one that runs has pruned its chain in time, with an event in it."""
    newest = erasing.newest(database, chain)
    return newest is not None and newest * 1000 < before_ms - _GONE * 1000


class Anchor:
    """Tells the head of this state directory's chain to a file or an endpoint, whenever there is a new one.

    Whoever later cuts rows and resets the heads in database and state directory cannot cut it there.

    Attributes:
        problem: why the last one was not taken; None if it was.
    """

    def __init__(self, state: Path, place: Path | Destination) -> None:
        self._state, self._place = state, place
        self._told: ChainHead | None = None
        self._since: float | None = None
        self.problem: str | None = None

    def lag(self) -> float:
        """Return for how many seconds there has been a head that is not told; 0 if there is none."""
        return 0.0 if self._since is None else max(0.0, time.time() - self._since)

    def handle(self, _items: Sequence[None]) -> float:
        """Tell the head if it is new, and return the seconds until the next look."""
        if not (self._state / HEAD_FILE).exists():
            return _EVERY
        try:
            head = load_head(self._state / HEAD_FILE)
            if head == self._told:
                return _EVERY
            self._since = self._since or time.time()
            self._tell(head)
        except (OSError, ChainError, DeliveryError) as error:
            if self.problem is None:
                log.error("the head of the audit chain is not anchored: %s", error)  # noqa: TRY400 - no fault of the code
            self.problem = f"the head of the audit chain is not anchored: {error}"
            return _AGAIN
        self._told, self._since, self.problem = head, None, None
        return _EVERY

    def _tell(self, head: ChainHead) -> None:
        values = {"time": rfc3339(time.time()), "chain": head.chain, "seq": head.seq, "hash": head.hash}
        text = orjson.dumps({**values, "signature": head.signature}, option=orjson.OPT_APPEND_NEWLINE)
        if isinstance(self._place, Destination):
            self._place.send(text, {"Content-Type": "application/json"})
            return
        descriptor = os.open(self._place, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def anchors_in(file: Path) -> list[ChainHead]:
    """Return the heads that a file of anchors names, or what the endpoint was told, a JSON object a line.

    Raises:
        OSError: it cannot be read, or is larger than 1 GiB, thirty years of one proxy.
        ValueError: a line is no head.
    """
    return list(dict.fromkeys(_heads(read_regular(file, _ANCHORS))))


def _heads(text: bytes) -> Iterator[ChainHead]:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = orjson.loads(line)
            yield ChainHead(found["chain"], int(found["seq"]), found["hash"], found["signature"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} names no head of a chain") from error

"""The writer: brings records to the database, by way of the spill whenever the database is away.

Owns the connection, its retries and retention. While the spill holds anything, new records go behind it, so that order
is kept. Runs on the store's worker, never on the data path.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import orjson

from outward.records.audit import values
from outward.records.audit.values import AuditEvent
from outward.records.database import MIGRATION_LOCK, Database, StoreAwayError, migrate
from outward.records.events import store, sums
from outward.records.events.folds import Tally
from outward.records.events.keeper import Keeper
from outward.records.events.spill import Spill, SpillFullError
from outward.records.events.templates import line_of
from outward.records.events.values import Event, Record, as_record, line
from outward.records.state import receipts

if TYPE_CHECKING:
    from outward.records.audit.chain import Chain, ChainHead

type Item = Event | Tally | AuditEvent | Record
"""An event, what is new about a fold, an audit event, a search's receipt under the key `receipt`, or `sums`."""
type Kept = Event | Record
"""What an item is written as: an event stays one, for its row or its line is made when it is known which is wanted."""

_log = logging.getLogger(__name__)

_REPLAY_BYTES = 1 << 18  # in one transaction
_REPLAY_SECONDS = 0.25  # before new events are looked at
_FIRST_RETRY, _LAST_RETRY = 0.25, 15.0  # seconds
_LOOK_AGAIN = 1.0  # seconds, while something is wrong
_SOON = 0.01  # seconds
_ADOPT = 60.0  # seconds between two looks for what a process left that is gone
# How full each kind may make the spill: a flood of strangers leaves room for groups, and both for what is audited.
_SHARES = {"strangers": 0.5, "groups": 0.9, "audit": 1.0}
_OTHERS = {"event_type", "receipt", "sums"}  # one of them is in every record that is no event
_ALL_BUT_FULL = 0.95  # of the spill; the rest is for what is under way


class RecordCounts(Protocol):
    """Where records are counted; any thread may call it."""

    def records_written(self, count: int) -> None:
        """Count events that the store has taken."""
        ...

    def records_dropped(self, sink: str, count: int) -> None:
        """Count events that a sink lost for good."""
        ...

    def records_pruned(self, why: str, of: str, count: int) -> None:
        """Count events that were deleted: for their `age` or for the store's `size`; `of` whom, or receipts."""
        ...


class StoreWriter:
    """Writes batches of events; see the module.

    Attributes:
        losing: whether the last attempt to keep events of groups, or what is audited, failed altogether.
        chain_broken: whether the audit chain could not be used when last tried, or is there and untried.
    """

    def __init__(
        self, connect: Callable[[], Database], state: Path, counts: RecordCounts, keeper: Keeper, spill: Spill
    ) -> None:
        self._connect = connect
        self._database: Database | None = None
        self._state = state
        self._chain: Chain | None = None
        self._spill, self._keeper = spill, keeper
        self._counts = counts
        self._full: dict[str, int] = {}  # bytes that the spill did not take, by kind
        self._try_spill_at = 0.0
        self._retry_at = 0.0
        self._retry_after = _FIRST_RETRY
        self._adopt_at = time.monotonic() + _ADOPT
        self.losing = False
        self.open = False
        self.chain_broken = any(state.glob("audit.*"))  # tried before anything is said to be well
        self._chain_trouble = ""

    def handle(self, items: list[Item]) -> float:
        """Write a batch and return the seconds until the next call that needs no batch."""
        if self.chain_broken:
            self._try_chain()
        if self._full and (not items or time.monotonic() >= self._try_spill_at):
            self._try_spill()
        delay = self._handle(items)
        return min(delay, _LOOK_AGAIN) if self.chain_broken or self._full or self.losing else delay

    def _handle(self, items: list[Item]) -> float:
        if self._away() or self._spill:
            self.spill(items)
            self._replay()
        elif items or self._database is None:  # opening it is also how a lost one is found again
            records = [_kept(item) for item in items]
            if not self._write(records) and records:
                self._keep(records)
        if self._away():
            return max(_SOON, self._retry_at - time.monotonic())
        return _SOON if self._spill else self._housekeep(time.monotonic())

    def spill(self, items: list[Item]) -> None:
        """Put events behind what the spill holds."""
        if items:
            self._keep([_kept(item) for item in items])

    @property
    def unaudited(self) -> bool:
        """Whether what is audited could not be kept when last tried, or soon cannot: searches are under way."""
        return self.chain_broken or "audit" in self._full or self._spill.fullness > _ALL_BUT_FULL

    @property
    def full(self) -> bool:
        """Whether the spill did not take something when last tried."""
        return bool(self._full)

    @property
    def clock_problem(self) -> str | None:
        """Why nothing is pruned by age now; None if it is."""
        return self._keeper.clock.problem

    def lose(self, count: int) -> None:
        """Count events that could not be kept anywhere, and say so."""
        if not self.losing:
            _log.critical("records are being lost: neither the store nor the spill takes them")
        self.losing = True
        self._counts.records_dropped("store", count)

    def lose_audit(self, count: int) -> None:
        """Count audit events that could not be kept, and say so."""
        _log.critical("%d audit events are lost", count)
        self._counts.records_dropped("audit", count)

    def close(self) -> None:
        """Close the database and the spill."""
        if self._database is not None:
            self._database.close()
        self._spill.close()

    @property
    def spilled(self) -> int:
        """Bytes on disk that the database has not taken."""
        return len(self._spill)

    def _away(self) -> bool:
        return time.monotonic() < self._retry_at

    def _keep(self, records: Sequence[Kept]) -> None:
        kinds: dict[str, list[Kept]] = {}
        for record in records:
            kinds.setdefault(_kind(record), []).append(record)
        for kind, those in kinds.items():
            lines = [line_of(each) if isinstance(each, Event) else line(each) for each in those]
            try:
                self._spill.append(lines, _SHARES[kind])
            except (OSError, SpillFullError) as error:
                self._drop(kind, those, lines, error)
            else:
                self._full.pop(kind, None)
                self.losing = bool(self._full.keys() - {"strangers"})

    def _drop(self, kind: str, records: Sequence[Kept], lines: Sequence[bytes], error: Exception) -> None:
        """Count what not even the disk takes, and say so; strangers' are the first for which there is no room."""
        if kind not in self._full:
            _log.critical("the spill takes nothing more of %s, which is lost: %s", kind, error)
        if kind == "strangers":
            self._counts.records_dropped("store", _told(records))
        elif kind == "groups":
            self.lose(_told(records))
        else:
            self.lose_audit(_told(records))
            self.losing = True
        self._full[kind] = sum(map(len, lines))  # last: who sees it finds the loss counted

    def _try_spill(self) -> None:
        """Find out, with a blank line, whether the disk has room again for what it did not take."""
        self._try_spill_at = time.monotonic() + _LOOK_AGAIN
        for kind, size in sorted(self._full.items()):
            with suppress(OSError, SpillFullError):
                self._spill.append([b" " * size + b"\n"], _SHARES[kind])
                self._full.pop(kind, None)
        self.losing = bool(self._full.keys() - {"strangers"})

    def _write(self, records: Sequence[Kept], *, again: bool = False) -> bool:
        """Write records to the database; False if it is away. A record that it refuses is dropped alone."""
        try:
            if self._database is None:
                self._database = self._opened()
            self._transact(self._database, records, again=again)
        except StoreAwayError as error:
            self._went_away(error)
            return False
        if records or not self.losing:  # a disk that is all but full takes a small change, and no records
            if not self.open:
                _log.info("the record store is open")
            self._retry_after, self.losing, self.open = _FIRST_RETRY, False, True
            if not self._spill:
                self._full.clear()
        return True

    def _opened(self) -> Database:
        database = self._connect()
        try:
            migrate(database)
            with suppress(StoreAwayError):  # somebody else has the table now: it stays whole, or is split already
                database.begin_days()
            with database.transaction(MIGRATION_LOCK):
                store.prove(database)
        except BaseException:
            database.close()
            raise
        return database

    def _transact(self, database: Database, records: Sequence[Kept], *, again: bool) -> None:
        events = [each for each in records if isinstance(each, Event) or not _OTHERS & each.keys()]
        others = [each for each in records if not isinstance(each, Event)]
        acts = [record for record in others if "event_type" in record]
        totals = [record for record in others if "sums" in record]
        try:
            with database.transaction():
                store.write(database, events, again=again)
                for record in others:
                    if "receipt" in record:
                        receipts.write(database, record["receipt"], record["time"], record["id"])
                for total in totals:
                    sums.write(database, total)
                head = self._append(database, acts) if acts else None
        except StoreAwayError:
            raise
        except Exception:  # noqa: BLE001 - drivers refuse a row in many ways
            if len(records) == 1:
                _log.exception("the store refuses a record")
                self.lose(1)
                return
            for each in records:
                self._transact(database, [each], again=again)
        else:
            if events:
                self._keeper.wrote(time.monotonic())
            self._counts.records_written(_told([*events, *totals]))
            self._keep_head(head)

    def _append(self, database: Database, acts: Sequence[Record]) -> "ChainHead | None":
        """Append to the audit chain; where its key or head cannot be used, the events are lost, loudly."""
        from outward.records.audit.chain import ChainError  # noqa: PLC0415 - loads cryptography

        chain = self._chain or self._try_chain()
        if chain is not None:
            try:
                return chain.append(database, acts)
            except ChainError as error:
                self._break_chain(error)
        self.lose_audit(_told(acts))
        return None

    def _try_chain(self) -> "Chain | None":
        """Open the audit chain; None if its key or head cannot be used."""
        from outward.records.audit.chain import Chain, ChainError  # noqa: PLC0415 - loads cryptography

        try:
            self._chain = Chain(self._state)
        except ChainError as error:
            self._break_chain(error)
        else:
            self.chain_broken, self._chain_trouble = False, ""
        return self._chain

    def _break_chain(self, error: Exception) -> None:
        """Let go of the chain, which is tried again soon, and say why, once."""
        self._chain, self.chain_broken = None, True
        if str(error) != self._chain_trouble:
            self._chain_trouble = str(error)
            _log.critical("the audit chain takes nothing: %s", error)

    def _keep_head(self, head: "ChainHead | None") -> None:
        """Keep the head of the audit chain after its rows; where that fails, the rows behind it stay signed."""
        if head is None or self._chain is None:
            return
        from outward.records.audit.chain import ChainError  # noqa: PLC0415 - loads cryptography

        try:
            self._chain.save(head)
        except (ChainError, OSError) as error:
            _log.error("the head of the audit chain cannot be kept: %s", error)

    def _went_away(self, error: StoreAwayError) -> None:
        self.open = False
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
            if not lines or not self._write(self._parsed(lines), again=True):
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
        """Prune a small batch, where something is due, and return the seconds until the next."""
        try:
            delay = self._keeper.tend(self._database, now) if self._database is not None else _LOOK_AGAIN
        except StoreAwayError as error:
            self._went_away(error)
            return self._retry_after
        if now >= self._adopt_at:
            self._adopt_at = now + _ADOPT
            self._spill.adopt()
        return _SOON if self._spill else delay


def _kind(record: Kept) -> str:
    """Return whose record it is, as `_SHARES` has it."""
    if isinstance(record, Event):
        return "strangers" if record.group is None else "groups"
    if "event_type" in record or "receipt" in record:
        return "audit"
    return "strangers" if "sums" not in record and record["group"] is None else "groups"


def _kept(item: Item) -> Kept:
    if isinstance(item, Tally):
        return as_record(item.row) | {"added": item.added}
    if isinstance(item, AuditEvent):
        return values.as_record(item)
    return item


def _told(records: Sequence[Kept]) -> int:
    """Return how many attempts, or acts, some records tell of."""
    return sum(
        each.count
        if isinstance(each, Event)
        else each.get("added") or each.get("count") or each.get("details", {}).get("count", 1)
        for each in records
    )

"""Folds: repeats of a denial are counted in the row of the first one, whose id the client is then given.

Pure and bounded: no clock, no lock, no thread; `recorder` has those. A fold begins with the first denial of its kind
and takes repeats for a minute. A group's folds crowd out its own. Only if all places are taken does a group that has
none end a fold of another. A stranger (a client of no group) has few folds of its own. What else it asks for is counted
in one row for each reason. So a flood of made-up hosts fills nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from outward.core.reasons import Reason
from outward.core.secrets import secret_of
from outward.records.events.values import Event

WINDOW = 60.0  # seconds
SHARE = 1024  # folds of one group at a time; then its oldest ends early
GROUPS = 16_384  # folds of all groups together
OF_SOURCE = 64  # hosts, ports and reasons of one stranger that have rows of their own within a window
STRANGERS = 4096  # folds of all strangers together

_BY_REQUEST = (Reason.PATH_NOT_ALLOWED, Reason.METHOD_NOT_ALLOWED)  # the question was about the request itself

type Key = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Fold:
    """A denial and its repeats.

    Attributes:
        event: the first one; it may still be open.
        until: when repeats begin another fold, in the caller's seconds.
        count: attempts, without those that are held.
        held: challenges that may still be answered; they count once nobody has.
        last: Unix time of the last one.
        told: attempts that the store has been told of; 0 until the first one is recorded.
        printed: attempts that the first one's line told of.
        crowd: it counts attempts of several kinds, so that its row names no host.
        ended: it takes no more repeats.
    """

    event: Event
    until: float
    last: float
    crowd: bool = False
    count: int = 1
    held: int = 0
    told: int = 0
    printed: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What is new about a fold: its row counts more attempts than the store knows.

    Attributes:
        fold: whose row it is.
        count, last: as they were when this was taken.
        added: attempts that the store was not told of before.
        unprinted: attempts that no line has told of; 0 while the fold goes on.
    """

    fold: Fold
    count: int
    last: float
    added: int
    unprinted: int

    @property
    def row(self) -> Event:
        """The event as its row is to be."""
        return _row(self.fold, self.count, self.last)


@dataclass(slots=True)
class _Table:
    """Folds of one group, or of all strangers, the oldest first."""

    folds: dict[Key, Fold] = field(default_factory=dict)

    def expired(self, now: float) -> Iterator[Fold]:
        """Remove and yield what has ended by a moment."""
        while self.folds:
            key, fold = next(iter(self.folds.items()))
            if fold.until > now:
                return
            del self.folds[key]
            yield fold


class Folds:
    """The folds that are open now. Times are seconds of any one clock that does not go back."""

    def __init__(self) -> None:
        self._groups: dict[str, _Table] = {}
        self._strangers = _Table()
        self._of_source: dict[str | None, int] = {}
        self._changed: dict[Fold, None] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size + len(self._strangers.folds)

    def count(self, event: Event, now: float) -> None:
        """Count a denial, once: in the fold that it repeats, whose id it gets, or in one that it begins."""
        if event.fold is not None:
            return
        group = event.group
        if event.told:
            event.fold = _begun(event, now)
        elif group is None:
            self._count_stranger(event, now)
        else:
            table = self._groups.setdefault(group, _Table())
            key = _key(event)
            if not self._repeats(table, key, event, now):
                while table.folds and (len(table.folds) >= SHARE or self._size >= GROUPS):
                    self._evict(table)
                if self._size >= GROUPS:  # this group has none, others have all: any one gives one up
                    self._evict(next(each for each in self._groups.values() if each.folds))
                event.fold = table.folds[key] = _begun(event, now + WINDOW)
                self._size += 1

    def recorded(self, event: Event) -> Event | None:
        """Return the row of an event whose question has ended; None for a repeat, which has no row of its own."""
        fold, event.fold = event.fold, None  # no cycle is left for the collector
        if fold is None:
            return event
        if event.challenge:
            self._unanswered(fold, event)
        if fold.event is not event:
            return None
        fold.told = fold.printed = fold.count
        return _row(fold, fold.count, fold.last) if fold.crowd or fold.count > 1 else event

    def _unanswered(self, fold: Fold, event: Event) -> None:
        """Count a challenge that nobody has answered; the first of a fold has the row."""
        fold.held -= 1
        fold.count += 1
        fold.last = max(fold.last, event.time)
        if fold.told:
            self._changed[fold] = None
        elif fold.event.challenge:
            fold.event = event

    def withdraw(self, event: Event) -> bool:
        """Take back a challenge that was answered; True if no row will have its id, which is free then."""
        fold, event.fold = event.fold, None
        if fold is None:
            return False
        fold.held -= 1
        if fold.held or fold.count:
            return False
        folds, first = self._strangers.folds, fold.event
        for key in (_stranger(first), *_crowds(first)):
            if folds.get(key) is fold:
                del folds[key]
                self._ended(fold)
        return True

    def tallies(self, now: float, most: int, *, ended_only: bool = False) -> list[Tally]:
        """End what has had its time, and return what the store has to learn, the oldest first.

        Args:
            now: the moment.
            most: tallies at once; further ones come the next time.
            ended_only: leave out what goes on; a store that is away would only pile it up.
        """
        self._expire(now)
        chosen = [fold for fold in self._changed if fold.told and (fold.ended or not ended_only)][:most]
        found = []
        for fold in chosen:
            del self._changed[fold]
            unprinted = fold.count - fold.printed if fold.ended else 0
            if fold.count > fold.told or unprinted:
                found.append(Tally(fold, fold.count, fold.last, fold.count - fold.told, unprinted))
            fold.told = fold.count
            fold.printed = fold.count if fold.ended else fold.printed
        return found

    def end(self) -> None:
        """End every fold."""
        self._expire(float("inf"))

    def _count_stranger(self, event: Event, now: float) -> None:
        table, source = self._strangers, event.client
        key = _stranger(event)
        of_source, of_all = _crowds(event)
        if self._repeats(table, key, event, now):
            return
        if self._of_source.get(source, 0) < OF_SOURCE and len(table.folds) < STRANGERS:
            self._of_source[source] = self._of_source.get(source, 0) + 1
            event.fold = table.folds[key] = _begun(event, now + WINDOW)
            return
        if self._repeats(table, of_source, event, now):
            return
        if len(table.folds) >= STRANGERS:
            of_source = of_all
            if self._repeats(table, of_source, event, now):
                return
        event.fold = table.folds[of_source] = _begun(event, now + WINDOW, crowd=True)

    def _repeats(self, table: _Table, key: Key, event: Event, now: float) -> bool:
        """Count an event in an open fold; False if there is none."""
        fold = table.folds.get(key)
        if fold is None:
            return False
        if fold.until <= now:
            del table.folds[key]
            self._ended(fold)
            return False
        event.fold, event.id = fold, fold.event.id
        if event.challenge:
            fold.held += 1
            return True
        if not fold.told and fold.event.challenge:
            fold.event = event  # the one that it takes the place of may be answered, and has no row then
        fold.count += 1
        fold.last = max(fold.last, event.time)
        self._changed[fold] = None
        return True

    def _evict(self, table: _Table) -> None:
        key, fold = next(iter(table.folds.items()))
        del table.folds[key]
        self._ended(fold)

    def _ended(self, fold: Fold) -> None:
        """Note that a fold has left its table."""
        fold.ended = True
        if fold.event.group is not None:
            self._size -= 1
        elif not fold.crowd:
            left = self._of_source[fold.event.client] - 1
            if left:
                self._of_source[fold.event.client] = left
            else:
                del self._of_source[fold.event.client]
        if fold.count > 1:
            self._changed[fold] = None

    def _expire(self, now: float) -> None:
        for fold in self._strangers.expired(now):
            self._ended(fold)
        for group in list(self._groups):
            table = self._groups[group]
            for fold in table.expired(now):
                self._ended(fold)
            if not table.folds:
                del self._groups[group]


def _key(event: Event) -> Key:
    """Return what two denials of a group share where the second repeats the first: the question and its answer.

    Beside client, group, host, port and reason: what else a reader of the row relies on. The path and the method count
    where the answer is about them, the secret where its placeholder was refused.
    """
    request: Key = (event.method, event.path) if event.reason in _BY_REQUEST else ()
    if event.reason is Reason.SECRET_MISDIRECTED:
        request = (secret_of(event.detail),)
    return (
        event.client, event.host, event.port, event.reason, event.stage, event.conversation, event.sni, event.address,
        event.generation, event.client_name, event.subject, event.claims, event.redirected_from, *request,
    )  # fmt: skip


def _stranger(event: Event) -> Key:
    """Return what two denials of a stranger share; one whose token is good belongs to nobody else's row."""
    return event.client, event.host, event.port, event.reason, event.subject


def _crowds(event: Event) -> tuple[Key, Key]:
    """Return what the denials of one stranger share, and those of all."""
    return (event.client, event.reason), (None, event.reason)


def _begun(event: Event, until: float, *, crowd: bool = False) -> Fold:
    """Return a fold with its first event."""
    held = int(event.challenge)
    return Fold(event, until, event.time, crowd, count=1 - held, held=held)


def _row(fold: Fold, count: int, last: float) -> Event:
    """Return the event as its row is to be, which nobody changes any more."""
    row = replace(fold.event, count=count, last_seen=last, fold=None)
    if fold.crowd:
        row.host = row.port = row.path = row.method = row.scheme = row.sni = row.user_agent = row.trace_id = None
        row.conversation = row.client_name = row.subject = row.redirected_from = None
        row.claims = ()
    return row

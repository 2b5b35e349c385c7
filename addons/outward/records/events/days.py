"""Events by day, on PostgreSQL: one partition for each UTC day, made ahead, dropped as a whole when it is too old.

Partitions are by id, which begins with its time, so that the id stays the primary key. What belongs to no day that
there is (a clock was wrong, or no proxy ran for days) lies in `events_other`, and moves once its day is made. No
statement here waits for a lock for more than a second, or makes others wait longer. Partitions are attached, not
created in place. One is detached before it is read or dropped.
"""

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from outward.records.database import Database, StoreAwayError

log = logging.getLogger(__name__)

AHEAD = 3  # days that are made ahead
OTHER, BEFORE, LEFT = "events_other", "events_before", "events_days"
_LOCK = 0x64617973  # any number, the same in every process of a fleet
_BATCH = 5000  # rows that move in one transaction
_TRIES = 60  # to get the table to oneself, a second each
_RECENT = 120  # seconds; rows that may still be counted up are moved at once
_WHOLE = "kept as one table"  # the table's comment, where somebody wanted it so

_NO_WAIT = "SET LOCAL lock_timeout = 1000"
_SHAPE = "SELECT relkind::text, obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass('events')"
_PARTS = (
    "SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
    " WHERE inhparent = to_regclass('events')"
)
_DETACHED = (
    "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND pg_table_is_visible(oid)"
    f" AND (relname ~ '^events_[0-9]{{8}}$' OR relname = '{BEFORE}')"
)
_INDEXES = (
    "SELECT i.relname::text, pg_get_indexdef(i.oid), indisprimary FROM pg_index JOIN pg_class i ON i.oid = indexrelid"
    " WHERE indrelid = to_regclass('events') ORDER BY i.relname"
)
_BOUND = "by_day"  # the constraint of the one table, while it is being split
_SPARE = 86_400.0  # seconds that its day is ahead at least, when it begins
_CUT = re.compile("'([0-9a-f]{12})'")
_BOUNDS = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass('events') AND conname = ?"
_UPPER = re.compile(r"TO \('([0-9a-f]+)'\)")
# Who asks for one person's events asks for few; a day's index of its own needs no lock on the others.
_OF_DAY = ("subject", "client_name")


class Gone(NamedTuple):
    """A partition that was dropped: its name, and how many events it held."""

    name: str
    events: int


def is_split(database: Database) -> bool:
    """Tell whether events are kept by day."""
    return [row[0] for row in database.execute(_SHAPE)] == ["p"]


def begin(database: Database) -> None:
    """Keep events by day from the first one on: split the table where it is empty and nobody wanted it whole."""
    unbind(database)
    shape = database.execute(_SHAPE)
    if shape == [("r", None)] and not database.execute("SELECT 1 FROM events LIMIT 1"):
        with database.transaction(_LOCK):
            if database.execute(_SHAPE) == [("r", None)]:
                database.execute(_NO_WAIT)
                database.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
                if not database.execute("SELECT 1 FROM events LIMIT 1"):
                    _swap(database, BEFORE)
                    database.execute(f"DROP TABLE {BEFORE}")
    make(database)


def unbind(database: Database) -> None:
    """Drop the bound that a split left which was killed, before its day comes: then the table would take no row.

    One that runs began with a day to spare, and is left alone.
    """
    now = database.now()
    if now is not None and not is_split(database):
        soon = f"{int((now + _SPARE) * 1000):012x}"
        if any(found[1] <= soon for (text,) in database.execute(_BOUNDS, (_BOUND,)) if (found := _CUT.search(text))):
            _unbind(database)


def make(database: Database) -> None:
    """Make the partitions of today and the days ahead, each in a transaction of its own."""
    now = database.now()
    if now is None or not is_split(database):
        return
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in (today + timedelta(days=each) for each in range(AHEAD + 1)):
        name = f"events_{day:%Y%m%d}"
        if not _there(database, name):
            with database.transaction(_LOCK):
                _make(database, name, _id(day), _id(day + timedelta(days=1)))


def drop(database: Database, before: float) -> list[Gone]:
    """Drop the partitions of days that ended before a Unix time, and return them.

    A partition is detached first, which takes a moment. What it held is added up and taken off the sums of sizes when
    nobody else sees it any more.
    """
    edge = f"{max(0, int(before * 1000)):012x}"
    ended = [name for name, upper in _uppers(database).items() if upper <= edge]
    for name in sorted(ended):
        with database.transaction(_LOCK):
            if name in _uppers(database):
                database.execute(_NO_WAIT)
                database.execute(f"ALTER TABLE events DETACH PARTITION {name}")
    return [_drop(database, name) for (name,) in database.execute(_DETACHED) if _ended(database, name, edge)]


def split(database: Database) -> None:
    """Turn the one table into partitions while proxies write: what it holds becomes the first of them.

    Every step may be repeated. The one that reads all rows excludes nobody; the others take a moment.

    Raises:
        StoreAwayError: the database fails, or never lets go of the table.
    """
    if is_split(database):
        make(database)
        return
    join(database)  # what an earlier call of it has not moved yet
    cut = _cut(database)
    # Until the last step a row of a clock that is a day ahead would be refused; without this it would have to read all
    # rows while everybody waits.
    _unbind(database)
    try:
        _alone(
            database,
            lambda: database.execute(f"ALTER TABLE events ADD CONSTRAINT {_BOUND} CHECK (id < '{cut}') NOT VALID"),
        )
        with database.transaction():
            database.patient()
            database.execute(f"ALTER TABLE events VALIDATE CONSTRAINT {_BOUND}")
        _alone(database, lambda: _swap(database, BEFORE, cut))
    except BaseException:
        with suppress(StoreAwayError):  # else the next look of a proxy does it
            _unbind(database)
        raise
    make(database)


def join(database: Database) -> None:
    """Turn the partitions back into one table: new rows go there at once, old ones move over, the newest first.

    Until they have moved, old rows are not seen. It may be ended at any time, and goes on when it is called again.

    Raises:
        StoreAwayError: the database fails, or never lets go of the table.
    """
    if is_split(database):
        recent = f"{max(0, int((time.time() - _RECENT) * 1000)):012x}"
        _alone(database, lambda: _unsplit(database, recent))
    if not _there(database, LEFT):
        return
    while _move(database, LEFT, "ORDER BY id DESC"):
        pass
    with database.transaction(_LOCK):
        database.execute(f"DROP TABLE IF EXISTS {LEFT}")


def _make(database: Database, name: str, start: str, end: str) -> None:
    """Make one partition, and move there what lies in the other one; within a transaction."""
    first = max((upper for each, upper in _uppers(database).items() if each == BEFORE), default="")
    if _there(database, name) or start < first:
        return
    database.execute(_NO_WAIT)
    database.execute(f"LOCK TABLE {OTHER} IN ACCESS EXCLUSIVE MODE")  # or what comes meanwhile is in the way
    database.execute(f"CREATE TABLE {name} (LIKE events INCLUDING DEFAULTS)")
    database.execute(
        f"WITH moved AS (DELETE FROM {OTHER} WHERE id >= '{start}' AND id < '{end}' RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved"
    )
    database.execute(f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')")
    for column in _OF_DAY:
        database.execute(f"CREATE INDEX {name}_{column} ON {name} ({column}, time_ms, id) WHERE {column} IS NOT NULL")


def _ended(database: Database, name: str, edge: str) -> bool:
    """Whether all days of a detached partition ended before an id; one that an operator detached may be younger."""
    if name == BEFORE:
        return not database.execute(f"SELECT 1 FROM {name} WHERE id >= '{edge}' LIMIT 1")
    try:
        day = datetime.strptime(f"{name.removeprefix('events_')}+0000", "%Y%m%d%z")
    except ValueError:
        return False  # no name of ours
    return _id(day + timedelta(days=1)) <= edge


def _drop(database: Database, name: str) -> Gone:
    """Drop a detached partition, and take what it held off the sums of sizes."""
    with database.transaction(_LOCK):
        if not _there(database, name):
            return Gone(name, 0)
        database.patient()
        held = database.execute(f"SELECT COALESCE(group_path, ''), SUM(size), COUNT(*) FROM {name} GROUP BY 1")
        database.execute(f"DROP TABLE {name}")
        database.insert(
            "UPDATE event_sizes SET bytes = CASE WHEN bytes > ? THEN bytes - ? ELSE 0 END WHERE group_path = ?",
            [(int(size), int(size), group) for group, size, _ in sorted(held)],
        )
    return Gone(name, sum(count for _, _, count in held))


def _swap(database: Database, kept: str, cut: str | None = None) -> None:
    """Put a partitioned table in the place of `events`, which becomes its first partition, or stays beside it.

    Within a transaction that has `events` to itself.
    """
    indexes = _put_aside(database, kept)
    database.execute(f"CREATE TABLE events (LIKE {kept} INCLUDING DEFAULTS) PARTITION BY RANGE (id)")
    _index(database, indexes)
    if cut is not None:
        database.execute(f"ALTER TABLE events ATTACH PARTITION {kept} FOR VALUES FROM (MINVALUE) TO ('{cut}')")
        database.execute(f"ALTER TABLE {kept} DROP CONSTRAINT {_BOUND}")
    database.execute(f"CREATE TABLE {OTHER} PARTITION OF events DEFAULT")


def _unsplit(database: Database, recent: str) -> None:
    """Put one table in the place of the partitions, and move what may still change; as `_swap`."""
    indexes = _put_aside(database, LEFT)
    database.execute(f"CREATE TABLE events (LIKE {LEFT} INCLUDING DEFAULTS)")
    database.execute(f"COMMENT ON TABLE events IS '{_WHOLE}'")
    _index(database, indexes)
    database.execute(
        f"WITH moved AS (DELETE FROM {LEFT} WHERE id >= '{recent}' RETURNING *) INSERT INTO events SELECT * FROM moved"
    )


def _put_aside(database: Database, name: str) -> list[tuple[str, bool]]:
    """Rename `events` and its indexes, and return how these are made, and which is the primary key."""
    indexes = database.execute(_INDEXES)
    database.execute(f"ALTER TABLE events RENAME TO {name}")
    for index, _, _ in indexes:
        database.execute(f"ALTER INDEX {index} RENAME TO {index}_{name.removeprefix('events_')}")
    return [(text, primary) for _, text, primary in indexes]


def _index(database: Database, indexes: list[tuple[str, bool]]) -> None:
    for text, primary in indexes:
        # a definition names the table as it was called: with its schema, and `ONLY` where it had partitions
        made = re.sub(r" ON (ONLY )?", " ON ", text, count=1)
        database.execute("ALTER TABLE events ADD PRIMARY KEY (id)" if primary else made)


def _move(database: Database, table: str, order: str) -> bool:
    """Move a batch of rows back to `events`; False if none are left. Each row is in one of them at any time."""
    with database.transaction():
        moved = database.execute(
            f"WITH moved AS (DELETE FROM {table} WHERE id IN (SELECT id FROM {table} {order} LIMIT {_BATCH})"
            " RETURNING *), kept AS (INSERT INTO events SELECT * FROM moved ON CONFLICT DO NOTHING RETURNING 1)"
            " SELECT COUNT(*) FROM moved"
        )
    return bool(moved[0][0])


def _cut(database: Database) -> str:
    """Return the id that all rows lie below, with a day to spare: midnight after next, or later where a row is."""
    now = database.now() or time.time()
    last = database.execute("SELECT MAX(id) FROM events")[0][0]
    latest = max(now, int(last[:12], 16) / 1000) if last and re.match("[0-9a-f]{12}", last) else now
    midnight = datetime.fromtimestamp(latest, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return _id(midnight + timedelta(days=2))


def _unbind(database: Database) -> None:
    if not is_split(database) and database.execute(_BOUNDS, (_BOUND,)):
        _alone(database, lambda: database.execute(f"ALTER TABLE events DROP CONSTRAINT IF EXISTS {_BOUND}"))


def _alone(database: Database, work: Callable[[], object]) -> None:
    """Do work with `events` to oneself; others are kept waiting for a second at most, and then it is tried again."""
    for left in reversed(range(_TRIES)):
        try:
            with database.transaction(_LOCK):
                database.execute(_NO_WAIT)
                database.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
                work()
        except StoreAwayError:
            if not left:
                raise
            time.sleep(1.0)
        else:
            return


def _uppers(database: Database) -> dict[str, str]:
    """Return where each partition ends; the one for everything else ends nowhere."""
    return {name: found[1] for name, bound in database.execute(_PARTS) if (found := _UPPER.search(bound))}


def _there(database: Database, name: str) -> bool:
    return database.execute("SELECT to_regclass(?) IS NOT NULL", (name,)) == [(True,)]


def _id(moment: datetime) -> str:
    """Return the id that begins a moment."""
    return f"{int(moment.timestamp() * 1000):012x}"

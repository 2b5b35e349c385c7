"""PostgreSQL as the database: one store for a fleet of proxies. Needs the extra `postgres`.

Works behind a pooler in transaction mode: nothing lives in the session. There are no startup options, no prepared
statements, no temporary tables and no locks of the session; limits are set within each transaction.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import orjson
import psycopg
from psycopg.pq import TransactionStatus

from outward.records.credentials import in_force
from outward.records.database import LEASE, StoreAwayError
from outward.records.events import days

CONNECT_TIMEOUT = 5  # seconds
_ROW_ERRORS = (psycopg.DataError, psycopg.IntegrityError)  # a refused row is the row's fault, all else the server's
# A server that hangs must not hold the writer for longer than its queue can wait.
_BEGIN = (
    b"BEGIN; SET LOCAL statement_timeout = 10000; SET LOCAL lock_timeout = 5000;"
    b" SET LOCAL idle_in_transaction_session_timeout = 30000"
)
_SIZE = (
    "SELECT pg_total_relation_size('events')"
    " + COALESCE((SELECT SUM(pg_total_relation_size(relid)) FROM pg_partition_tree('events') WHERE isleaf), 0)"
)
_PATIENCE = "SET LOCAL statement_timeout = 600000"
_CLOCK = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
_TAKE_LEASE = (
    f"INSERT INTO leases AS old (name, holder, until_ms) VALUES (?, ?, {_CLOCK} + {LEASE * 1000:.0f})"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms"
    f" WHERE old.holder = excluded.holder OR old.until_ms < {_CLOCK} RETURNING 1"
)


class PostgresDatabase:
    """One connection to a PostgreSQL server; see `Database`."""

    def __init__(self, url: str) -> None:
        self._holder = secrets.token_hex(8)
        self._leases: set[int] = set()
        try:
            self._connection = _connect(url)
        except psycopg.Error as error:
            raise StoreAwayError(f"PostgreSQL: {_brief(error)}") from error

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if any."""
        with self._within():
            cursor = self._connection.execute(_placeholders(sql), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, in one round trip."""
        with self._within(), self._connection.cursor() as cursor:
            cursor.executemany(_placeholders(sql), rows)

    def add(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert many rows, within a transaction; those whose key is there already are skipped.

        One document for all rows, typed by the table: a few times faster than statements.
        """
        names = ", ".join(columns)
        document = orjson.dumps([dict(zip(columns, row, strict=True)) for row in rows]).decode()
        self.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{table}, ?)"
            " ON CONFLICT DO NOTHING",
            (document,),
        )

    @contextmanager
    def transaction(self, lock: int | None = None) -> Iterator[None]:
        """Commit what happens inside as a whole, alone among those with the same lock."""
        with _told():
            self._connection.execute(_BEGIN)
            try:
                if lock is not None:
                    self.exclude(lock)
                yield
                self._connection.execute(b"COMMIT")
            except BaseException:
                with suppress(psycopg.Error):
                    self._connection.execute(b"ROLLBACK")
                raise

    @contextmanager
    def _within(self) -> Iterator[None]:
        """Run a statement within the transaction that is open, or in one of its own, so that it is limited."""
        if self._connection.info.transaction_status is TransactionStatus.IDLE:
            with self.transaction():
                yield
        else:
            with _told():
                yield

    def exclude(self, lock: int) -> None:
        """Within a transaction, wait until no other one holds a lock, and hold it to the end."""
        self.execute("SELECT pg_advisory_xact_lock(?)", (lock,))

    def lease(self, lock: int) -> bool:
        """Hold a lock as a row, which lasts `LEASE` seconds by the server's clock; False if another has it."""
        held = bool(self.execute(_TAKE_LEASE, (lock, self._holder)))
        (self._leases.add if held else self._leases.discard)(lock)
        return held

    def announce(self, channel: str) -> None:
        """Within a transaction, wake who listens on a channel once it is committed."""
        self.execute("SELECT pg_notify(?, '')", (channel,))

    def begin_days(self) -> None:
        """Keep events by day from the first one on."""
        days.begin(self)

    def by_day(self) -> bool:
        """Tell whether events are kept by day."""
        return days.is_split(self)

    def tend_days(self, before: float) -> int:
        """Make the days ahead, drop those that ended before a Unix time, and return how many events these held."""
        days.unbind(self)
        if not days.is_split(self):
            return 0
        days.make(self)
        return sum(gone.events for gone in days.drop(self, before))

    def size(self) -> int:
        """Return the bytes of the events with their indexes."""
        return int(self.execute(_SIZE)[0][0])

    def now(self) -> float:
        """Return the server's Unix time."""
        return float(self.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())")[0][0])

    def give_back(self) -> bool:
        """Do nothing: the server's own vacuum does."""
        return False

    def patient(self) -> None:
        """Within a transaction, let statements take ten minutes."""
        self.execute(_PATIENCE)

    def close(self) -> None:
        """Close the connection, and let go of leases; never raises."""
        with suppress(psycopg.Error, StoreAwayError):
            for lock in self._leases:
                self.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (lock, self._holder))
        with suppress(psycopg.Error):
            self._connection.close()


class PostgresListener:
    """Hears what is announced on a channel, on a connection of its own; for one thread."""

    def __init__(self, url: str, channel: str) -> None:
        self._url, self._channel = url, channel
        self._connection: psycopg.Connection | None = None

    def wait(self, seconds: float) -> bool:
        """Wait for an announcement, a number of seconds at most; False at once where nothing can be heard."""
        try:
            if self._connection is None:
                self._connection = _connect(self._url)
                self._connection.execute(f'LISTEN "{self._channel}"')
            else:  # what was announced before the first call is not heard, so that one does not wait
                list(self._connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close the connection; never raises."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = None


def _connect(url: str) -> psycopg.Connection:
    return psycopg.connect(
        in_force(url),
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT,
        prepare_threshold=None,
        application_name="outward",
        keepalives_idle=5,
        tcp_user_timeout=5000,
    )


@lru_cache(maxsize=64)
def _placeholders(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


@contextmanager
def _told() -> Iterator[None]:
    """Tell a server that is away from a row that it refuses."""
    try:
        yield
    except _ROW_ERRORS:
        raise
    except psycopg.Error as error:
        raise StoreAwayError(f"PostgreSQL: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    """Return the first line of a message; it holds no password."""
    return str(error).partition("\n")[0] or type(error).__name__

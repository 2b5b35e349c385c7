"""PostgreSQL as the database: one store for a fleet of proxies. Needs the extra `postgres`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import psycopg

from outward.records.database import StoreAwayError

CONNECT_TIMEOUT = 5  # seconds
_ROW_ERRORS = (psycopg.DataError, psycopg.IntegrityError)  # a refused row is the row's fault, all else the server's
# A server that hangs must not hold the writer for longer than its queue can wait.
_OPTIONS = "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"


class PostgresDatabase:
    """One connection to a PostgreSQL server; see `Database`."""

    def __init__(self, url: str) -> None:
        self._leases: set[int] = set()
        try:
            self._connection = _connect(url)
        except psycopg.Error as error:
            raise StoreAwayError(f"PostgreSQL: {_brief(error)}") from error

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if any."""
        with _told():
            cursor = self._connection.execute(_placeholders(sql), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, in one round trip."""
        with _told(), self._connection.cursor() as cursor:
            cursor.executemany(_placeholders(sql), rows)

    def add(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert many rows, within a transaction; those whose key is there already are skipped.

        COPY takes a sixth of the time per row that statements take here; it knows no conflicts, hence the detour.
        """
        names = ", ".join(columns)
        self.execute(f"CREATE TEMP TABLE IF NOT EXISTS new_{table} (LIKE {table}) ON COMMIT DELETE ROWS")
        copying = f"COPY new_{table} ({names}) FROM STDIN"
        with _told(), self._connection.cursor() as cursor, cursor.copy(copying) as copy:
            for row in rows:
                copy.write_row(row)
        self.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM new_{table} ON CONFLICT DO NOTHING")

    @contextmanager
    def transaction(self, lock: int | None = None) -> Iterator[None]:
        """Commit what happens inside as a whole, alone among those with the same lock."""
        with _told(), self._connection.transaction():
            if lock is not None:
                self.exclude(lock)
            yield

    def exclude(self, lock: int) -> None:
        """Within a transaction, wait until no other one holds a lock, and hold it to the end."""
        self.execute("SELECT pg_advisory_xact_lock(?)", (lock,))

    def lease(self, lock: int) -> bool:
        """Hold a lock until the connection closes; False where another connection has it."""
        if lock not in self._leases and self.execute("SELECT pg_try_advisory_lock(?)", (lock,)) == [(True,)]:
            self._leases.add(lock)
        return lock in self._leases

    def announce(self, channel: str) -> None:
        """Within a transaction, wake who listens on a channel once it is committed."""
        self.execute("SELECT pg_notify(?, '')", (channel,))

    def size(self) -> int:
        """Return the bytes of the events with their indexes."""
        return int(self.execute("SELECT pg_total_relation_size('events')")[0][0])

    def close(self) -> None:
        """Close the connection; never raises."""
        with suppress(psycopg.Error):
            self._connection.close()


class Listener:
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
        url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT,
        options=_OPTIONS,
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

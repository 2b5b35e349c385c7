"""SQLite as the database: one file, write-ahead log, safe for several processes."""

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from outward.files import try_lock
from outward.records.database import StoreAwayError

_NO_ROOM = 64 * 1024  # bytes; the shared memory beside the log takes half of them
_GIVE_BACK = 4096  # pages at once: some tens of milliseconds
BUSY_TIMEOUT = 1.0  # seconds; then the batch is spilled and tried again

# A refused row is the row's fault; every other error is the database's.
_ROW_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    OverflowError,
)

# FULL syncs the log at each commit. Commits are few (a batch each), so even a power cut loses only what a kill would.
_PRAGMAS = (
    "synchronous = FULL",
    "journal_size_limit = 67108864",
    "trusted_schema = OFF",
)


class SqliteDatabase:
    """One connection to a SQLite file; see `Database`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._leases: dict[int, int] = {}
        try:
            self._connection = self._open(read_only=read_only)
            self._inode = self._identity()
        except (OSError, sqlite3.Error) as error:
            raise _away(path, error) from error

    def _open(self, *, read_only: bool) -> sqlite3.Connection:
        if read_only:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            # Only a new file may be opened here: closing any descriptor of a database drops every lock that this
            # process holds on it (POSIX), and the next process to leave would then take the log away with our rows.
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts in a new file; an old one keeps its free pages
        _log_ahead(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _identity(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_dev, stat.st_ino

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if any."""
        try:
            return self._connection.execute(sql.replace(' COLLATE "C"', ""), parameters).fetchall()
        except _ROW_ERRORS:
            raise
        except sqlite3.Error as error:
            raise _away(self._path, error) from error

    def insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        try:
            self._connection.executemany(sql, rows)
        except _ROW_ERRORS:
            raise
        except sqlite3.Error as error:
            raise _away(self._path, error) from error

    def add(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert many rows; those whose key is there already are skipped."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self.insert(f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", rows)

    @contextmanager
    def transaction(self, lock: int | None = None) -> Iterator[None]:
        """Commit what happens inside as a whole; SQLite has one writer at a time, so every lock is this one."""
        del lock
        self._check_in_place()
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def exclude(self, lock: int) -> None:
        """Do nothing: a transaction here excludes every other one from its beginning."""

    def lease(self, lock: int) -> bool:
        """Hold a lock until the connection closes; False if another connection has it."""
        if lock not in self._leases:
            try:
                held = try_lock(self._path.with_name(f"{self._path.name}.lease-{lock:x}"))
            except OSError as error:
                raise _away(self._path, error) from error
            if held is not None:
                self._leases[lock] = held
        return lock in self._leases

    def announce(self, channel: str) -> None:
        """Do nothing: the file wakes nobody, readers look often."""

    def _check_in_place(self) -> None:
        """Refuse to write into a file that has been removed or replaced: nobody would ever read it."""
        try:
            if self._identity() == self._inode:
                return
        except OSError as error:
            raise _away(self._path, error) from error
        raise StoreAwayError(f"{self._path} has been replaced")

    def begin_days(self) -> None:
        """Do nothing: a file is pruned row by row."""

    def by_day(self) -> bool:
        """Return False: a file is pruned row by row."""
        return False

    def tend_days(self, before: float) -> int:
        """Do nothing: there are no days."""
        del before
        return 0

    def size(self) -> int:
        """Return the bytes in use, without the pages that wait for reuse."""
        pages, free, page_size = (
            self.execute(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * page_size)

    def now(self) -> None:
        """Return None: the file has no clock of its own."""

    def give_back(self) -> bool:
        """Give some free pages back to the disk, and tell whether there are more."""
        self.execute(f"PRAGMA incremental_vacuum({_GIVE_BACK})")
        return bool(self.execute("PRAGMA auto_vacuum")[0][0]) and self.execute("PRAGMA freelist_count")[0][0] > 0

    def patient(self) -> None:
        """Do nothing: only locks are waited for with impatience."""

    def close(self) -> None:
        """Close the connection; never raises."""
        while self._leases:
            os.close(self._leases.popitem()[1])
        with suppress(sqlite3.Error):
            self._connection.close()


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; SQLite does not wait for this lock itself, and several may open a new file at once.

    Raises:
        sqlite3.Error: it could not be done within `BUSY_TIMEOUT`.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _away(path: Path, error: OSError | sqlite3.Error) -> StoreAwayError:
    """Return a failure in words, with its cure where the disk is full."""
    return StoreAwayError(f"{path}: {error}{'; make room on that disk' if _full(path, error) else ''}")


def _full(path: Path, error: OSError | sqlite3.Error) -> bool:
    """Tell whether there was no room; SQLite calls that an input or output error where its log cannot grow."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code != sqlite3.SQLITE_IOERR:
        return code == sqlite3.SQLITE_FULL
    with suppress(OSError):
        return shutil.disk_usage(path.parent).free < _NO_ROOM
    return False

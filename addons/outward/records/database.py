"""Databases: the little that the records need of one, the same for SQLite and PostgreSQL.

SQL is written once, in what both understand, with `?` for parameters. Owns migrations. Knows nothing about events.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

_MIGRATIONS = Path(__file__).with_name("migrations")
LEASE = 60.0  # seconds that a lease outlives a process that is gone
MIGRATION_LOCK = 0x6F757477  # any number, the same in every process of a fleet


class StoreAwayError(Exception):
    """The database cannot be used now; the same work may succeed later."""


class Database(Protocol):
    """One connection, used by one thread at a time.

    Every method raises `StoreAwayError` when the database fails as a whole, and the driver's own error when it refuses
    the given rows.
    """

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if any."""
        ...

    def insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        ...

    def add(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert many rows, within a transaction; those whose key is there already are skipped."""
        ...

    def transaction(self, lock: int | None = None) -> AbstractContextManager[None]:
        """Commit what happens inside as a whole.

        Args:
            lock: excludes other processes' transactions with the same number (SQLite: all other writers).
        """
        ...

    def exclude(self, lock: int) -> None:
        """Within a transaction, wait until no other one holds a lock, and hold it to the end."""
        ...

    def lease(self, lock: int) -> bool:
        """Hold a lock; False if another process has it.

        It must be asked for again every few seconds, and lasts until the connection closes, or `LEASE` seconds longer.
        """
        ...

    def announce(self, channel: str) -> None:
        """Within a transaction, wake who listens on a channel once it is committed, where the database can."""
        ...

    def begin_days(self) -> None:
        """Keep events by day from the first one on, where the database can."""
        ...

    def by_day(self) -> bool:
        """Tell whether events are kept by day, so that days are dropped as a whole."""
        ...

    def tend_days(self, before: float) -> int:
        """Make the days ahead, drop those that ended before a Unix time, and return how many events these held."""
        ...

    def size(self) -> int:
        """Return the bytes that the records take on disk."""
        ...

    def now(self) -> float | None:
        """Return the database's own Unix time; None if its clock is this machine's."""
        ...

    def give_back(self) -> bool:
        """Give some of the free space back to the disk, and tell whether there is more."""
        ...

    def patient(self) -> None:
        """Within a transaction, let statements take minutes: a step of the schema may have many rows to read."""
        ...

    def close(self) -> None:
        """Close the connection; never raises."""
        ...


def open_database(url: str, state: Path, *, read_only: bool = False) -> Database:
    """Open the database that `records.url` names.

    Args:
        url: `sqlite` (a file in the state directory), `sqlite:///path`, or `postgresql://…`.
        state: the state directory.
        read_only: for readers; a missing SQLite file is then an error and nothing is created.

    Raises:
        StoreAwayError: it cannot be opened now.
        ValueError: for another kind of URL.
    """
    if (driver := driver_of(url)) is not None:
        database: Database = driver.PostgresDatabase(url)
        return database
    from outward.records.sqlite import SqliteDatabase  # noqa: PLC0415 - not needed beside PostgreSQL

    return SqliteDatabase(sqlite_path(url, state), read_only=read_only)


def driver_of(url: str) -> ModuleType | None:
    """Return the module that speaks to PostgreSQL where a URL names it; None for SQLite, which every Python brings.

    Raises:
        StoreAwayError: its driver is not installed, and no waiting helps.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        return None
    try:
        from outward.records import postgres  # noqa: PLC0415 - an extra that few install
    except ImportError as error:
        raise StoreAwayError(
            f"`records.url` names PostgreSQL, whose driver is not installed ({error}): install the extra `postgres`, "
            "in a checkout by `.venv/bin/python -m pip install --require-hashes -r requirements/postgres.txt`"
        ) from error
    return postgres


class NotificationListener(Protocol):
    """Hears what other processes announce; used by one thread."""

    def wait(self, seconds: float) -> bool:
        """Wait for an announcement, a number of seconds at most; False at once where nothing can be heard."""
        ...

    def close(self) -> None:
        """Close what is open; never raises."""
        ...


def open_listener(url: str, channel: str) -> NotificationListener | None:
    """Return who hears a channel of the database that `records.url` names; None if there are no announcements."""
    if (driver := driver_of(url)) is None:
        return None
    listener: NotificationListener = driver.PostgresListener(url, channel)
    return listener


def sqlite_path(url: str, state: Path) -> Path:
    """Return the file of a SQLite URL; paths are absolute, with three slashes or four.

    Raises:
        ValueError: when it is no SQLite URL.
    """
    if url == "sqlite":
        return state / "records.sqlite"
    if url.startswith("sqlite:///"):
        return Path("/" + url.removeprefix("sqlite:///").lstrip("/"))
    raise ValueError("records.url is sqlite, sqlite:///path or postgresql://…")


def subtree(path: str) -> tuple[str, list[str]]:
    """Return the condition that a row is of a group or of one below it, and its parameters."""
    return "(group_path = ? OR (group_path >= ? AND group_path < ?))", [path, f"{path}/", f"{path}0"]  # 0 follows /


def in_subtrees(*paths: str | None) -> tuple[list[str], list[Any]]:
    """Return the conditions that a row is of each of these groups or of one below it, and their parameters.

    There is always one condition; None is the whole tree.
    """
    found = [subtree(path) for path in paths if path is not None]
    return ["1 = 1", *(term for term, _ in found)], [value for _, values in found for value in values]


def migrations() -> list[tuple[int, str]]:
    """Return the numbered steps of the schema in order."""
    return sorted((int(path.name[:4]), path.read_text("utf-8")) for path in _MIGRATIONS.glob("*.sql"))


# Steps only add, so that an older program beside a newer one, or after a rollback, goes on. A step that it could not
# live with takes the next multiple of this as its number.
_BREAKING = 100


def migrate(database: Database, steps: Iterable[tuple[int, str]] | None = None) -> int:
    """Bring the schema up to date and return its version; safe when several processes start at once.

    Raises:
        StoreAwayError: when the schema is newer than this program, and not one that it can live with.
    """
    steps = migrations() if steps is None else list(steps)
    with database.transaction(MIGRATION_LOCK):
        database.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        done = {row[0] for row in database.execute("SELECT version FROM schema_version")}
        newest = max((number for number, _ in steps), default=0)
        if any(number not in done for number, _ in steps):
            database.patient()
        if max(done, default=0) // _BREAKING > newest // _BREAKING:
            raise StoreAwayError(
                f"the database has schema version {max(done)}, this program knows {newest}: upgrade it"
            )
        for number, text in steps:
            if number not in done:
                for statement in statements(text):
                    database.execute(statement)
                database.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))
    return newest


def statements(text: str) -> list[str]:
    """Split a migration at semicolons that end a line, without its comments."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    parts = (part.strip().removesuffix(";") for part in code.split(";\n"))
    return [part for part in parts if part]

"""Database connections for the administrator's side, apart from the recorder's: few, reused, opened when needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue

from outward.ops.web import Problem
from outward.records.database import Database, StoreAwayError

_MOST = 4


class DatabasePool:
    """A pool for the threads that answer administrators."""

    def __init__(self, connect: Callable[[], Database]) -> None:
        self._connect = connect
        self._idle: LifoQueue[Database] = LifoQueue(_MOST)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Lend a connection; one that failed is closed and not lent again.

        Raises:
            Problem: 503 when the database does not answer.
        """
        try:
            database = self._take()
        except StoreAwayError as error:
            raise _away() from error
        try:
            yield database
        except StoreAwayError as error:
            database.close()
            raise _away() from error
        except Exception:
            self._give(database)
            raise
        self._give(database)

    def close(self) -> None:
        """Close what is idle."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _take(self) -> Database:
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._connect()

    def _give(self, database: Database) -> None:
        if self._idle.full():
            database.close()
        else:
            self._idle.put_nowait(database)


def _away() -> Problem:
    return Problem(503, "the records cannot be read now", {"Retry-After": "5"})

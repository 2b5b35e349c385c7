"""A connection of its own for one kind of work: opened when needed, one transaction at a time, and quick to say no."""

import threading
import time
from collections.abc import Callable

from outward.records.database import Database, StoreAwayError

PAUSE = 1.0  # seconds between two tries of a database that is away


class Link:
    """A connection to the records' database that several threads share."""

    def __init__(self, connect: Callable[[], Database]) -> None:
        """Prepare; `connect` opens the database, its schema up to date."""
        self._connect = connect
        self._database: Database | None = None
        self._away_until = 0.0
        self._using = threading.Lock()

    def run[T](self, work: Callable[[Database], T], lock: int | None = None) -> T:
        """Do work in a transaction; a lock excludes others that hold the same.

        Raises:
            StoreAwayError: the database does not answer, or did not a moment ago.
        """
        with self._using:
            if time.monotonic() < self._away_until:
                raise StoreAwayError("the database did not answer a moment ago")
            try:
                if self._database is None:
                    self._database = self._connect()
                with self._database.transaction(lock):
                    return work(self._database)
            except BaseException as error:
                self._hang_up()
                if isinstance(error, StoreAwayError):
                    self._away_until = time.monotonic() + PAUSE
                raise

    def close(self) -> None:
        """Close the connection."""
        with self._using:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

"""Machines at vendors as rows, so that all proxies that share a database know what one of them made."""

import logging
import time
from collections.abc import Callable, Sequence

import orjson

from outward.records.database import Database, StoreAwayError
from outward.records.link import PAUSE, Link
from outward.records.worker import Worker

_log = logging.getLogger(__name__)

_KEPT = 30 * 86_400.0  # seconds; vendors forget an idle machine within hours
_MOST = 10_000  # of one group
_WAITING = 1000

type Key = tuple[str, str, str]  # group, host, id


class StoredMachines:
    """The rows. `find` waits for the database, `add` never does."""

    def __init__(self, connect: Callable[[], Database]) -> None:
        """Prepare; `connect` opens the database, its schema up to date."""
        self._link = Link(connect)
        self._unwritten: list[tuple[Key, tuple[str, ...]]] = []
        self._worker: Worker[tuple[Key, tuple[str, ...]]] = Worker(
            "vendor-machines", self._write, capacity=_WAITING, linger=0.0, on_error=_lost
        )

    def start(self) -> None:
        """Start to write what is added."""
        self._worker.start()

    def close(self, timeout: float) -> None:
        """Write what is left, within a number of seconds, and close the connection."""
        self._worker.close(timeout)
        self._link.close()

    def add(self, key: Key, network: Sequence[str]) -> None:
        """Remember a machine. Never waits, never raises; what is lost is refused later."""
        if not self._worker.offer((key, tuple(network))):
            _lost(1)

    def find(self, key: Key) -> tuple[str, ...] | None:
        """Return the network of a machine; None for one that nobody made.

        Raises:
            StoreAwayError: the database does not answer.
        """
        where = "group_path = ? AND host = ? AND ident = ?"
        rows = self._link.run(
            lambda database: database.execute(f"SELECT network FROM vendor_machines WHERE {where}", key)
        )
        return tuple(map(str, orjson.loads(rows[0][0]))) if rows else None

    def _write(self, added: list[tuple[Key, tuple[str, ...]]]) -> float | None:
        self._unwritten += added
        if len(self._unwritten) > _WAITING:
            _lost(len(self._unwritten) - _WAITING)
            del self._unwritten[:-_WAITING]
        try:
            if self._unwritten:
                self._link.run(lambda database: _insert(database, self._unwritten))
        except StoreAwayError as error:
            _log.warning("machines at vendors are not remembered yet: %s", error)
            return PAUSE
        self._unwritten.clear()
        return None


def _insert(database: Database, added: Sequence[tuple[Key, tuple[str, ...]]]) -> None:
    now = round(time.time() * 1000)
    database.insert(
        "INSERT INTO vendor_machines (group_path, host, ident, network, time_ms) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (group_path, host, ident) DO UPDATE SET network = excluded.network, time_ms = excluded.time_ms",
        [(*key, orjson.dumps(network).decode(), now) for key, network in added],
    )
    database.execute("DELETE FROM vendor_machines WHERE time_ms < ?", (now - round(_KEPT * 1000),))
    for group in {key[0] for key, _ in added}:
        oldest = "SELECT ident FROM vendor_machines WHERE group_path = ? ORDER BY time_ms DESC LIMIT 1000 OFFSET ?"
        gone = [(group, ident) for (ident,) in database.execute(oldest, (group, _MOST))]
        if gone:
            database.insert("DELETE FROM vendor_machines WHERE group_path = ? AND ident = ?", gone)


def _lost(count: int) -> None:
    _log.error("%d machines at vendors could not be remembered, and will be refused", count)

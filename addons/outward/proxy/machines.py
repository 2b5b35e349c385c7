"""Machines at vendors, known in memory and, where there is a database, to all proxies that share it."""

import logging
from typing import Protocol

from outward.records.database import StoreAwayError
from outward.search.machines import Machine, Machines
from outward.threads import Threads

_log = logging.getLogger(__name__)


class Store(Protocol):
    """Where machines are kept; see `records.machines`."""

    def find(self, key: tuple[str, str, str]) -> tuple[str, ...] | None:
        """Return a machine's network; waits, and raises `StoreAwayError`."""

    def add(self, key: tuple[str, str, str], network: tuple[str, ...]) -> None:
        """Remember a machine; never waits."""


class KnownMachines:
    """Remembers machines, and looks up those that another proxy made.

    Args:
        memory: what the governance of search asks.
        store: None where only this process remembers.
    """

    def __init__(self, memory: Machines, store: Store | None) -> None:
        self._memory, self._store = memory, store
        self._threads = Threads("vendor-machines", 1)

    def remember(self, machine: Machine, network: tuple[str, ...]) -> None:
        """Take note of a machine that was made with a network."""
        if self._memory.add(machine, network) and self._store is not None:
            self._store.add((machine.group, machine.host, machine.ident), network)

    async def find(self, machine: Machine) -> bool:
        """Tell whether a machine is known to the store, and learn it."""
        if self._store is None:
            return False
        try:
            network = await self._threads.run(self._store.find, (machine.group, machine.host, machine.ident))
        except StoreAwayError as error:
            _log.warning("a machine at %s is refused, since it cannot be looked up: %s", machine.host, error)
            return False
        return network is not None and self._memory.add(machine, network)

"""What all proxies of a fleet must know of searches: how many there were, and the machines that were made."""

from collections.abc import Callable

from outward.records.database import Database
from outward.records.state.machines import StoredMachines
from outward.records.state.search_counts import SearchCounts


class SearchMemory:
    """Both, with one lifetime.

    Attributes:
        counts: of searches by group and day.
        machines: at vendors.
    """

    def __init__(self, connect: Callable[[], Database]) -> None:
        """Prepare; `connect` opens the database, its schema up to date."""
        self.counts, self.machines = SearchCounts(connect), StoredMachines(connect)

    def start(self) -> None:
        """Start to write what is added."""
        self.counts.start()
        self.machines.start()

    def close(self, timeout: float) -> None:
        """Write what is left, each within a number of seconds."""
        self.counts.close(timeout)
        self.machines.close(timeout)

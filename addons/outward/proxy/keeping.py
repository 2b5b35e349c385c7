"""What the desk reads and writes of the records: decisions, and the requests of clients."""

from collections.abc import Callable

from outward.ops.reader import DatabasePool
from outward.records.database import Database
from outward.records.events import query
from outward.records.events.values import Record
from outward.records.state import requests
from outward.records.state.access import AccessState
from outward.records.state.requests import AccessRequest


class Keeping:
    """A `desk.Keeper` over the records."""

    def __init__(self, connect: Callable[[], Database], access: AccessState | None) -> None:
        """Prepare; nothing is opened before it is asked for.

        Args:
            connect: opens the records.
            access: keeps requests; None where nobody could answer them.
        """
        self._reader, self._access = DatabasePool(connect), access

    @property
    def asking(self) -> bool:
        """Whether requests are kept."""
        return self._access is not None

    def ask(self, asked: AccessRequest, address: str) -> AccessRequest:
        """Keep a request.

        Raises:
            CrowdedError: too many are open.
            StoreAwayError: the database does not answer.
        """
        if self._access is None:
            raise RuntimeError("requests are not kept")
        return self._access.ask(asked, address)

    def decision(self, ident: str) -> Record | None:
        """Return a recorded decision, or None.

        Raises:
            Problem: 503 where the database does not answer.
        """
        with self._reader.database() as database:
            return query.event(database, ident)

    def request(self, ident: str) -> AccessRequest | None:
        """Return a request, or None.

        Raises:
            Problem: 503 where the database does not answer.
        """
        with self._reader.database() as database:
            return requests.find(database, ident)

    def close(self) -> None:
        """Close what is open."""
        self._reader.close()

"""Access requests and grants at run time: asking, deciding, ending. Part of `State`, which reads what others change."""

import time
from collections.abc import Callable, Sequence

from outward.core.grants import Grant
from outward.records.audit import events
from outward.records.audit.values import AuditEvent
from outward.records.database import Database
from outward.records.state import runtime_settings
from outward.records.state.requests import AccessRequest

type Audited = Callable[[AuditEvent, Callable[[Database, runtime_settings.Audit], bool]], bool]
"""Runs a change with its audit event in one transaction."""


class AccessState:
    """Requests and grants of one process.

    Attributes:
        grants: those in force, as far as this process knows, by id; each ends by itself, whatever becomes of the
            database.
        asked: called with each new request, from any thread.
        changed: called with them whenever they change, from any thread.
    """

    def __init__(self, audited: Audited, now: Callable[[], float | None]) -> None:
        """Prepare.

        Args:
            audited: runs a change.
            now: returns the database's own Unix time in seconds; None if its clock is this machine's.
        """
        self.grants: dict[str, Grant] = {}
        self.changed: Callable[[tuple[Grant, ...]], None] = lambda _grants: None
        self.asked: Callable[[AccessRequest], None] = lambda _asked: None
        self._audited, self._now = audited, now

    def take(self, news: Sequence[tuple[Grant, bool]]) -> None:
        """Take grants that were made, or have ended, as the database has them."""
        if not news:
            return
        ended = {grant.id for grant, over in news if over}
        known = self.grants | {grant.id: grant for grant, _ in news}
        self.grants = {ident: grant for ident, grant in known.items() if ident not in ended}
        self.changed(tuple(self.grants.values()))

    def ask(self, asked: AccessRequest, address: str) -> AccessRequest:
        """Keep an access request and return its row, which may be an earlier one that asked the same.

        Raises:
            CrowdedError: too many are open.
            StoreAwayError: the database does not answer; the change may be made all the same.
        """
        kept: list[AccessRequest] = []

        def work(database: Database, audit: runtime_settings.Audit) -> bool:
            kept.append(runtime_settings.put_request(database, asked, audit))
            return True

        self._audited(events.request_made(asked, address), work)
        if kept[0].id == asked.id:
            self.asked(kept[0])
        return kept[0]

    def settle(self, decided: AccessRequest, grant: Grant | None, address: str | None = None) -> None:
        """Write the decision of a request, and put the grant in force that it makes.

        Raises:
            SettledError: the request has been approved meanwhile.
            StoreAwayError: the database does not answer; the change may be made all the same.
        """

        def work(database: Database, audit: runtime_settings.Audit) -> bool:
            runtime_settings.settle_request(database, decided, grant, audit)
            return True

        self._audited(events.request_decided(decided, address), work)

    def revoke(self, ident: str, author: str, address: str | None = None) -> bool:
        """End a grant before its time; False if none is in force by this id.

        Raises:
            StoreAwayError: the database does not answer; the change may be made all the same.
        """
        grant = self.grants.get(ident)
        return grant is not None and self._end(grant, author, address)

    def _end(self, grant: Grant, author: str | None, address: str | None = None) -> bool:
        event = events.grant_ended(grant, author, address)
        return self._audited(event, lambda database, audit: runtime_settings.end_grant(database, grant.id, audit))

    def tell_ends(self) -> None:
        """Audit the grants whose time has come, by the database's clock where it has one; one process of all does.

        Raises:
            StoreAwayError: the database does not answer; they have ended all the same.
        """
        if all(grant.until > time.time() * 1000 for grant in self.grants.values()):
            return
        now = (self._now() or time.time()) * 1000
        for grant in [each for each in self.grants.values() if each.until <= now]:
            self._end(grant, None)

"""Where the admin API's answers come from: policy, run-time state and records, within one token's scope."""

from collections.abc import Callable
from dataclasses import dataclass

from outward.config.settings import SecretEntry
from outward.core.policy import Group, Policy
from outward.core.toggles import Toggle
from outward.ops import ask
from outward.ops.ask import Asked
from outward.ops.principals import Token
from outward.ops.reader import DatabasePool
from outward.ops.web import Problem
from outward.records.database import StoreAwayError
from outward.records.events import query
from outward.records.events.values import Record
from outward.records.state import receipts, search_counts
from outward.records.state.live import LockedError, State
from outward.search.receipts import Receipt


@dataclass(frozen=True, slots=True)
class Sources:
    """Where answers come from.

    Attributes:
        policy: returns the policy in force.
        state: run-time state.
        reader: the records.
        now: the time, in Unix seconds.
        secrets: returns what the configuration in force says of its secrets.
    """

    policy: Callable[[], Policy]
    state: State
    reader: DatabasePool
    now: Callable[[], float]
    secrets: Callable[[], tuple[SecretEntry, ...]]

    def group(self, token: Token, path: str) -> Group:
        """Return a group within a token's scope.

        Raises:
            Problem: 403 outside the scope, else 404 where there is none.
        """
        token.demand(path)
        group = self.policy().groups.get(path)
        if group is None:
            raise Problem(404, "there is no such group in the policy in force")
        return group

    @staticmethod
    def actor(token: Token) -> str:
        """Return how a token's holder is named in the audit log."""
        return actor(token)

    def decision(self, token: Token, ident: str) -> Record:
        """Return a recorded event within a token's scope.

        Raises:
            Problem: 403 or 404.
        """
        with self.reader.database() as database:
            found = query.event(database, ask.decision_id(ident))
        if found is None:
            raise Problem(404, "there is no such decision; it may be older than the retention")
        token.demand(found["group"])
        return found

    def searches_today(self) -> dict[str, dict[str, int]] | None:
        """Return what every group searched on this UTC day, by vendor; None while the database is away."""
        try:
            with self.reader.database() as database:
                return search_counts.read(database, search_counts.day_of(self.now()))
        except Problem:
            return None

    def set_web_search(self, asked: Asked, path: str, enabled: bool) -> bool:
        """Set a group's toggle.

        Raises:
            Problem: 403, 404, 409 under a lock, 503.
        """
        self.group(asked.token, path)
        try:
            return self.state.set_web_search(path, Toggle(enabled, actor(asked.token), self.now()), asked.request.peer)
        except LockedError as error:
            raise Problem(409, str(error)) from error
        except StoreAwayError as error:
            raise Problem(
                503,
                "the records do not answer now: the change may be made or not, so look, or try again",
                {"Retry-After": "5"},
            ) from error

    def receipts(self, token: Token, conversation: str, group: str | None) -> list[Receipt]:
        """Return a conversation's receipts, one for each group within the scope, the last active group last."""
        with self.reader.database() as database:
            rows = receipts.read(database, conversation, group)
        merged: dict[str, Receipt] = {}
        for row in rows:
            if token.covers(row["group"]):
                found = Receipt.from_json(row)
                known = merged.pop(found.group, None)
                merged[found.group] = known.merged(found) if known else found
        return list(merged.values())


def actor(token: Token) -> str:
    """Return how a token's holder is named in the audit log."""
    return f"{token.name} ({token.id})" if token.name and token.name != token.id else token.id

"""Access requests and grants for administrators: listing, asking, deciding, revoking. Used by the API and by the page.

Every handler runs in a thread and sees one token's scope.
"""

from typing import TYPE_CHECKING, Any

from outward.core.grants import AskError, Grant, wish
from outward.core.policy import Policy
from outward.ops import ask
from outward.ops.ask import Asked
from outward.ops.web import Problem, Response, Route, as_json
from outward.records.database import StoreAwayError
from outward.records.events.values import new_id, rfc3339
from outward.records.state import requests
from outward.records.state.deciding import Decided, UndecidableError, decided, lasting
from outward.records.state.requests import (
    STATES,
    AccessRequest,
    RequestsQuery,
    SettledError,
    TooManyRequestsError,
    words,
)

if TYPE_CHECKING:
    from outward.ops.api import Handler
    from outward.ops.sources import Sources

_AWAY = ("the records do not answer now: the change may be made or not, so look, or try again", {"Retry-After": "5"})


class Asking:
    """Requests and grants within a token's scope."""

    def __init__(self, sources: "Sources") -> None:
        self._from = sources

    def routes(self) -> "list[Route[Handler]]":
        """Return the routes of the API."""
        root = "/api/v1"
        return [
            Route("GET", f"{root}/requests", self.requests),
            Route("POST", f"{root}/requests", self.make),
            Route("GET", f"{root}/requests/{{id}}", self.request),
            Route("PUT", f"{root}/requests/{{id}}", self.settle),
            Route("GET", f"{root}/grants", self.grants),
            Route("DELETE", f"{root}/grants/{{id}}", self.revoke),
        ]

    def requests(self, asked: Asked) -> Response:
        """List access requests, those asked last first."""
        found = asked.query("group", "state", "limit", "cursor")
        limit, after = ask.page(found)
        rows, more = self.listed(asked, found.get("group"), found.get("state"), limit, after)
        cursor = ask.write_cursor((rows[-1].last, rows[-1].id)) if more else None
        policy = self._from.policy()
        return as_json({"items": [shown(each, policy) for each in rows], "next_cursor": cursor})

    def listed(
        self, asked: Asked, group: str | None, state: str | None, limit: int, after: tuple[int, str] | None
    ) -> tuple[list[AccessRequest], bool]:
        """Return requests of the scope, and whether there are more.

        Raises:
            Problem: 400 or 403.
        """
        if group is not None:
            asked.token.demand(group)
        if state not in (None, *STATES):
            raise Problem(400, f"`state` is one of {', '.join(STATES)}")
        with self._from.reader.database() as database:
            rows = requests.listed(database, RequestsQuery(ask.scope(asked.token), group, state), limit + 1, after)
        return rows[:limit], len(rows) > limit

    def make(self, asked: Asked) -> Response:
        """Ask on behalf of a group."""
        asked.query()
        body = asked.body({"method": str}, group=str, url=str, why=str)
        kept = self.asked(asked, body["group"], body["url"], body["why"], body.get("method"))
        return as_json(shown(kept, self._from.policy()))

    def asked(self, asked: Asked, path: str, url: str, why: str, method: str | None) -> AccessRequest:
        """Keep a request of a person.

        Raises:
            Problem: 403, 404, 409 where it cannot be asked for, 429, 503.
        """
        self._from.group(asked.token, path)
        try:
            wanted = wish(self._from.policy(), path, url[: ask.MAX_URL], method)
        except AskError as error:
            raise Problem(409, str(error)) from error
        who, now, question = self._from.actor(asked.token), round(self._from.now() * 1000), wanted.question
        kept = AccessRequest(
            new_id(), path, question.host.name, question.port, question.method, question.path, question.clear,
            str(wanted.reason), 1, now, now, who, f"person {asked.token.id}", (words(why),) if why.strip() else (),
        )  # fmt: skip
        try:
            return self._from.state.access.ask(kept, asked.request.peer)
        except TooManyRequestsError as error:
            raise Problem(429, str(error), {"Retry-After": "3600"}) from error
        except StoreAwayError as error:
            raise Problem(503, *_AWAY) from error

    def request(self, asked: Asked) -> Response:
        """Show an access request."""
        asked.query()
        return as_json(shown(self.found(asked), self._from.policy()))

    def found(self, asked: Asked) -> AccessRequest:
        """Return the request that the path names.

        Raises:
            Problem: 403 or 404.
        """
        with self._from.reader.database() as database:
            kept = requests.find(database, ask.decision_id(asked.params["id"]))
        if kept is None:
            raise Problem(404, "there is no such request; it may be older than 30 days")
        asked.token.demand(kept.group)
        return kept

    def settle(self, asked: Asked) -> Response:
        """Decide an access request."""
        asked.query()
        body = asked.body({"until": str, "note": str}, decision=str)
        outcome = self.decide(asked, body["decision"], body.get("until"), body.get("note", ""))
        policy = self._from.policy()
        return as_json({**shown(outcome.request, policy), "yaml": yaml_of(outcome)})

    def decide(self, asked: Asked, decision: str, until: str | None, note: str) -> Decided:
        """Decide the request that the path names.

        Raises:
            Problem: 400, 403, 404, 409 where it is decided or cannot be, 503.
        """
        if decision not in ("approve", "deny"):
            raise Problem(400, "`decision` is approve or deny")
        kept = self.found(asked)
        self._from.group(asked.token, kept.group)
        end, who = None if until is None else ask.end(until, self._from.now()), self._from.actor(asked.token)
        try:
            outcome = decided(
                self._from.policy(), kept, approve=decision == "approve", who=who, note=note, until=end,
                now=self._from.now(),
            )  # fmt: skip
            self._from.state.access.settle(outcome.request, outcome.grant, asked.request.peer)
        except UndecidableError as error:
            raise Problem(409, str(error)) from error
        except SettledError as error:
            raise Problem(409, "it has been approved already; its grant can be revoked") from error
        except StoreAwayError as error:
            raise Problem(503, *_AWAY) from error
        return outcome

    def grants(self, asked: Asked) -> Response:
        """List the grants in force."""
        asked.query()
        return as_json({"items": [granted(each) for each in self.in_force(asked)], "next_cursor": None})

    def in_force(self, asked: Asked) -> list[Grant]:
        """Return the grants of the scope that have not ended, those that end first first."""
        now = self._from.now() * 1000
        found = (each for each in self._from.state.access.grants.values() if each.until > now)
        return sorted((each for each in found if asked.token.covers(each.group)), key=lambda each: each.until)

    def revoke(self, asked: Asked) -> Response:
        """Revoke a grant."""
        asked.query()
        self.end(asked)
        return Response(204)

    def end(self, asked: Asked) -> None:
        """End the grant that the path names.

        Raises:
            Problem: 403, 404, 503.
        """
        self._from.state.refresh()  # it may have been made a moment ago
        grant = self._from.state.access.grants.get(asked.params["id"])
        if grant is None:
            raise Problem(404, "there is no such grant in force")
        asked.token.demand(grant.group)
        try:
            self._from.state.access.revoke(grant.id, self._from.actor(asked.token), asked.request.peer)
        except StoreAwayError as error:
            raise Problem(503, *_AWAY) from error


def shown(kept: AccessRequest, policy: Policy) -> dict[str, Any]:
    """Return a request as JSON; `suggestion` is the line that makes it lasting."""
    return {
        "id": kept.id,
        "group": kept.group,
        "host": kept.host,
        "port": kept.port,
        "method": kept.method,
        "path": kept.path,
        "reason": kept.reason,
        "count": kept.count,
        "first_seen": rfc3339(kept.first / 1000),
        "last_seen": rfc3339(kept.last / 1000),
        "client": kept.client,
        "whys": list(kept.whys),
        "state": kept.state,
        "decided_by": kept.decided_by,
        "decided_at": None if kept.decided is None else rfc3339(kept.decided / 1000),
        "note": kept.note,
        "until": None if kept.until is None else rfc3339(kept.until / 1000),
        "grant": kept.grant,
        "suggestion": lasting(policy, kept),
    }


def yaml_of(outcome: Decided) -> str | None:
    """Return the piece of a policy that makes a decision lasting; None if none is needed."""
    if outcome.line is None:
        return None
    return f"groups:\n  {outcome.request.group}:\n    allow:\n      {outcome.line}\n"


def granted(grant: Grant) -> dict[str, Any]:
    """Return a grant as JSON."""
    return {
        "id": grant.id,
        "group": grant.group,
        "host": grant.host,
        "port": grant.port,
        "method": grant.method,
        "path": grant.path,
        "made": rfc3339(grant.made / 1000),
        "until": rfc3339(grant.until / 1000),
        "who": grant.who,
        "note": grant.note or None,
    }

"""The admin API: what each path under /api/v1 answers. Every handler runs in a thread and sees one token's scope.

Owns the meaning of paths and statuses; queries are in `records`, values in `views`, checks of requests in `ask`.
"""

from collections.abc import Callable
from typing import Any

from outward.core.explain import explain
from outward.core.policy import Policy
from outward.core.reasons import MEANINGS
from outward.core.suggest import cure
from outward.ops import ask, views
from outward.ops.ask import Asked, scope
from outward.ops.asking import Asking
from outward.ops.holdings import Holdings
from outward.ops.sources import Sources, actor
from outward.ops.web import Problem, Response, Route, as_json
from outward.records.audit import audit_query
from outward.records.database import StoreAwayError
from outward.records.events import query
from outward.records.events.over_time import over_time
from outward.records.events.query import Filters
from outward.records.events.rows import milliseconds
from outward.records.events.values import Record, rfc3339
from outward.records.state import receipts
from outward.records.state.runtime_settings import OptInChange

type Handler = Callable[[Asked], Response]

_DAY = 86_400.0
_OF_HOURS = {"outcome", "group", "since", "until"}
MARKDOWN = "text/markdown; charset=utf-8"


class Api:
    """The handlers, by route."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources

    def routes(self) -> list[Route[Handler]]:
        """Return the routes of the API, apart from the stream and the document."""
        root = "/api/v1"
        return [
            Route("GET", f"{root}/blocked", self.blocked),
            Route("GET", f"{root}/blocked/summary", self.summary),
            Route("GET", f"{root}/allowed", self.allowed),
            Route("GET", f"{root}/attempts", self.attempts),
            Route("GET", f"{root}/decisions/{{id}}", self.decision),
            Route("GET", f"{root}/groups", self.groups),
            Route("GET", f"{root}/groups/{{path...}}", self.group),
            Route("PUT", f"{root}/groups/{{path...}}/web-search", self.set_web_search),
            Route("GET", f"{root}/conversations", self.conversations),
            Route("PUT", f"{root}/conversations/{{id...}}/opt-in", self.opt_in),
            Route("DELETE", f"{root}/conversations/{{id...}}/opt-in", self.opt_out),
            Route("GET", f"{root}/conversations/{{id...}}/receipt", self.receipt),
            Route("GET", f"{root}/audit", self.audit),
            Route("POST", f"{root}/explain", self.explain),
            *Asking(self._from).routes(),
            *Holdings(self._from).routes(),
        ]

    def blocked(self, asked: Asked) -> Response:
        """List blocked events, the newest first."""
        found = asked.query(*ask.filter_names("limit", "cursor"))
        limit, after = ask.page(found)
        with self._from.reader.database() as database:
            rows = query.blocked(database, self._filters(asked, found), limit + 1, after)
        more = query.cursor_of(rows[limit - 1]) if len(rows) > limit else None
        return _list([told(row, self._from.policy()) for row in rows[:limit]], more)

    def summary(self, asked: Asked) -> Response:
        """List what was blocked, each group, host, port and reason once."""
        found = asked.query(*ask.filter_names("limit", "cursor", "sort"))
        limit, after = ask.page(found)
        offset = after[0] if after else 0
        with self._from.reader.database() as database:
            rows = query.summary(database, self._filters(asked, found), limit + 1, offset, sort=ask.sort(found))
            lines = query.lines_for(database, rows[:limit], self._from.policy())
        items = [
            {**_counted(row), "reason": row.reason, "suggestion": line} for row, line in zip(rows, lines, strict=False)
        ]
        return _list(items, (offset + limit, "") if len(rows) > limit else None)

    def allowed(self, asked: Asked) -> Response:
        """List what the policy allowed, each group, host and port once."""
        found = asked.query("group", "host", "search", "since", "until", "limit", "cursor", "sort")
        limit, after = ask.page(found)
        offset = after[0] if after else 0
        with self._from.reader.database() as database:
            rows = query.summary(database, ask.allowed(asked, found), limit + 1, offset, sort=ask.sort(found))
        return _list([_counted(row) for row in rows[:limit]], (offset + limit, "") if len(rows) > limit else None)

    def attempts(self, asked: Asked) -> Response:
        """Count attempts over time."""
        found = asked.query("outcome", *ask.filter_names())
        outcome = found.get("outcome", "deny")
        if outcome not in ("deny", "allow") or (outcome == "allow" and not found.keys() <= _OF_HOURS):
            raise Problem(400, "`outcome` is deny or allow; what was allowed is counted by `group` alone")
        wanted = ask.allowed(asked, found) if outcome == "allow" else self._filters(asked, found)
        since = wanted.seen_since if wanted.allowed else wanted.since
        until = wanted.seen_until if wanted.allowed else wanted.until
        now = self._from.now()
        with self._from.reader.database() as database:
            series = over_time(
                database, wanted, now - _DAY if since is None else since, now if until is None else until
            )
        items = [
            {"time": rfc3339((series.start + place * series.step) / 1000), "count": count}
            for place, count in enumerate(series.counts)
        ]
        return as_json({"seconds": series.step // 1000, "whole": series.whole, "items": items})

    def _filters(self, asked: Asked, found: dict[str, str]) -> Filters:
        return ask.filters(asked, found, views.ignored(self._from.policy()))

    def decision(self, asked: Asked) -> Response:
        """Show one decision."""
        asked.query()
        return as_json(told(self._from.decision(asked.token, asked.params["id"]), self._from.policy()))

    def groups(self, asked: Asked) -> Response:
        """List the groups of the policy in force."""
        found = asked.query("limit", "cursor")
        limit, after = ask.page(found)
        offset = after[0] if after else 0
        policy, state = self._from.policy(), self._from.state
        searches = self._from.searches_today()
        paths = sorted(path for path in policy.groups if asked.token.covers(path))
        items = [
            views.group_row(policy.groups[path], state.web_search(path), state.toggles, searches)
            for path in paths[offset : offset + limit]
        ]
        return _list(items, (offset + limit, "") if len(paths) > offset + limit else None)

    def group(self, asked: Asked) -> Response:
        """Show a group: settings, and every rule with its origin."""
        asked.query()
        group, state = self._from.group(asked.token, asked.params["path"]), self._from.state
        return as_json(
            views.group_page(group, state.web_search(group.path), state.toggles, self._from.searches_today())
        )

    def set_web_search(self, asked: Asked) -> Response:
        """Turn a group's web search on or off."""
        asked.query()
        path = asked.params["path"]
        self._from.group(asked.token, path)
        self._from.set_web_search(asked, path, asked.body(enabled=bool)["enabled"])
        group, state = self._from.group(asked.token, path), self._from.state
        return as_json({"group": path, **views.web_search(group, state.web_search(path), state.toggles)})

    def conversations(self, asked: Asked) -> Response:
        """List the conversations that searched or opted in."""
        found = asked.query("limit", "cursor")
        limit, after = ask.page(found)
        with self._from.reader.database() as database:
            rows = receipts.conversations(database, scope(asked.token), limit + 1, after)
        items = [
            {
                "conversation": row.conversation,
                "group": row.group,
                "searches": row.searches,
                "opted_in": row.opted_in,
                "time": rfc3339(row.time_ms / 1000),
            }
            for row in rows[:limit]
        ]
        last = rows[limit - 1] if len(rows) > limit else None
        return _list(items, (last.time_ms, last.conversation) if last else None)

    def opt_in(self, asked: Asked) -> Response:
        """Opt a conversation in to web search, for one group, and for one client where the body names it."""
        asked.query()
        name = ask.conversation(asked.params["id"])
        body = asked.body({"client": str, "subject": str}, group=str)
        group = self._from.group(asked.token, body["group"])
        credential = ask.credential(self._from.policy(), body.get("client"), body.get("subject"))
        self._set_opt_in(asked, name, group.path, active=True, credential=credential)
        bound = next((each.credential for each in self._from.state.opt_ins(name) if each.group == group.path), None)
        return as_json({"conversation": name, "group": group.path, "opted_in": True, "credential": bound})

    def opt_out(self, asked: Asked) -> Response:
        """Withdraw a conversation's opt-in, for one group or for all of the scope."""
        found = asked.query("group")
        name = ask.conversation(asked.params["id"])
        wanted = asked.body(group=str)["group"] if asked.request.body else found.get("group")
        if wanted is not None:
            asked.token.demand(wanted)
        self._from.state.refresh()
        for known in self._from.state.opt_ins(name):
            if wanted in (None, known.group) and asked.token.covers(known.group):
                self._set_opt_in(asked, name, known.group, active=False)
        return Response(204)

    def _set_opt_in(
        self, asked: Asked, conversation: str, group: str, *, active: bool, credential: str | None = None
    ) -> None:
        wanted = OptInChange(conversation, group, active, credential, actor(asked.token), self._from.now())
        try:
            self._from.state.set_opt_in(wanted, asked.request.peer)
        except StoreAwayError as error:
            raise Problem(
                503,
                "the records do not answer now: the change may be made or not, so look, or try again",
                {"Retry-After": "5"},
            ) from error

    def receipt(self, asked: Asked) -> Response:
        """Show what a conversation's searches did, as JSON or as Markdown."""
        name, wanted = ask.conversation(asked.params["id"]), asked.query("group").get("group")
        if wanted is not None:
            asked.token.demand(wanted)
        found = self._from.receipts(asked.token, name, wanted)
        if not found:
            raise Problem(404, "this conversation has no receipt")
        if "text/markdown" in (asked.request.header("accept") or ""):
            return Response(200, found[-1].as_markdown().encode(), MARKDOWN)
        return as_json(found[-1].as_json())

    def audit(self, asked: Asked) -> Response:
        """List audit events, the newest first."""
        found = asked.query("group", "event_type", "conversation", "since", "until", "limit", "cursor")
        limit, after = ask.page(found)
        wanted = ask.audit_filters(asked, found)
        with self._from.reader.database() as database:
            rows = audit_query.listed(database, wanted, limit + 1, after)
        last = rows[limit - 1] if len(rows) > limit else None
        return _list(rows[:limit], (milliseconds(last["created_at"]), last["id"]) if last else None)

    def explain(self, asked: Asked) -> Response:
        """Explain how the policy in force decides, whatever has happened so far."""
        asked.query()
        question = views.read_question(asked.request.json())
        self._from.group(asked.token, question.group or "")
        return as_json(views.trace(explain(self._from.policy(), question)))


def told(record: Record, policy: Policy) -> dict[str, Any]:
    """Return a record with what its reason means, and what would allow it under the policy in force."""
    shown = query.why(record)
    line = query.line_for(record, policy) if record["verdict"] == "deny" or record["would_deny"] else None
    return {
        "detail": None,
        **record,
        "title": MEANINGS[shown].title,
        "cure": cure(shown, record["host"], record["address"], record["stage"], line=line is not None),
        "suggestion": line,
    }


def _counted(row: query.Blocked) -> dict[str, Any]:
    return {
        "group": row.group,
        "host": row.host,
        "port": row.port,
        "count": row.count,
        "first_seen": row.first,
        "last_seen": row.last,
        "last_id": row.last_id,
    }


def _list(items: list[Any], cursor: query.Cursor | None) -> Response:
    return as_json({"items": items, "next_cursor": None if cursor is None else ask.write_cursor(cursor)})

"""The desk: what the proxy itself answers at `http://outward.internal/`, to the clients that it knows.

A client sees itself, what its group may reach, its own decisions, and the requests of its group; and asks for more.
Nothing here is about anybody else, and nothing that a client says is done: a person decides.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from itertools import islice
from typing import Any, Protocol

from outward.core.grants import AskError, takes_grants, wish
from outward.core.identity import Identity
from outward.core.model import Rule
from outward.core.policy import Group, Policy
from outward.core.reasons import MEANINGS
from outward.core.suggest import cure
from outward.http1.head import Head
from outward.ops import views
from outward.ops.buckets import Buckets
from outward.ops.web import JSON, OpsRequest, Problem, Response, Route, Router, as_json, as_problem
from outward.proxy.judge import Judge
from outward.proxy.own import REQUESTS, ROOT
from outward.proxy.question import event_of
from outward.records.database import StoreAwayError
from outward.records.events import query
from outward.records.events.values import Record, as_record, new_id, rfc3339
from outward.records.state.requests import AccessRequest, TooManyRequestsError, words
from outward.threads import Threads

_LISTED = 500  # hosts of an answer: some 20 KiB, which an agent can read
_HOW = f'Run `outward request URL --why TEXT`, or POST {{"url": …, "why": …}} as {JSON} to {REQUESTS}.'
_NOWHERE = "requests are not kept here: ask the one who owns the policy for the line"
_AWAY = Problem(503, "the records do not answer now", {"Retry-After": "5"})


class DeskStore(Protocol):
    """What the desk reads and writes; every method may wait, is called from threads, and may raise `Problem`."""

    @property
    def asking(self) -> bool:
        """Whether requests are kept."""

    def ask(self, asked: AccessRequest, address: str) -> AccessRequest:
        """Keep a request; see `AccessState.ask`."""

    def decision(self, ident: str) -> Record | None:
        """Return a recorded decision."""

    def request(self, ident: str) -> AccessRequest | None:
        """Return a request."""

    def close(self) -> None:
        """Close what is open."""


class Desk:
    """Answers."""

    def __init__(self, judge: Judge, keeper: DeskStore) -> None:
        self._judge, self._keeper = judge, keeper
        self._threads = Threads("desk", 2)
        self._answers, self._asks = Buckets(rate=20, burst=60), Buckets(rate=1 / 6, burst=10)
        self._router = Router(
            [
                Route("GET", "/", self._root),
                Route("GET", "/me", self._me),
                Route("GET", "/allowed", self._allowed),
                Route("GET", "/decisions/{id}", self._decision),
                Route("POST", "/requests", self._ask),
                Route("GET", "/requests/{id}", self._request),
            ]
        )

    @property
    def asking(self) -> bool:
        """Whether requests are kept."""
        return self._keeper.asking

    def close(self) -> None:
        """Answer nothing more."""
        self._threads.close()
        self._keeper.close()

    async def answer(self, head: Head, identity: Identity, body: bytes) -> bytes:
        """Return the response to a request of a known client, as HTTP/1.1.

        Args:
            head: its head; `is_ours`.
            identity: who asks.
            body: whole.
        """
        target = f"{head.path}{'?' if '?' in head.target else ''}"
        request = OpsRequest(head.method, target, tuple(head.fields), body, identity.client)
        try:
            response = await self._answer(request, identity)
        except Problem as problem:
            response = as_problem(problem)
        return _wire(response, head=head.method == "HEAD")

    async def _answer(self, request: OpsRequest, identity: Identity) -> Response:
        """Screen and route.

        Raises:
            Problem: what the client is told instead.
        """
        if request.header("origin") is not None or request.header("sec-fetch-site") not in (
            None,
            "none",
            "same-origin",
        ):
            raise Problem(403, "not from a web page")
        if request.path.startswith("//"):
            raise Problem(404, "there is nothing here")
        if "?" in request.target:
            raise Problem(400, "there are no parameters here")
        if not self._answers.take(_asker(identity)):
            raise Problem(429, "too many requests", {"Retry-After": "1"})
        handler, params = self._router.find(request.method, request.path)
        return await self._threads.run(handler, request, identity, params)

    def _policy(self, identity: Identity) -> tuple[Policy, Group]:
        policy = self._judge.policy
        group = policy.groups.get(identity.group or "")
        if group is None:
            raise Problem(403, "the group is gone")
        return policy, group

    def _root(self, _request: OpsRequest, _identity: Identity, _params: Mapping[str, str]) -> Response:
        paths = ("/me", "/allowed", "/decisions/{id}", "/requests", "/requests/{id}")
        return as_json({"answers": [f"{ROOT}{path}" for path in paths], "ask": _HOW if self.asking else _NOWHERE})

    def _me(self, _request: OpsRequest, identity: Identity, _params: Mapping[str, str]) -> Response:
        policy, group = self._policy(identity)
        return as_json(
            {
                "group": group.path,
                "client": identity.client,
                "client_name": identity.client_name,
                "conversation": identity.conversation,
                "mode": str(group.mode),
                "grants": "allowed" if takes_grants(policy, group.path) else "none",
            }
        )

    def _allowed(self, _request: OpsRequest, identity: Identity, _params: Mapping[str, str]) -> Response:
        policy, group = self._policy(identity)
        rules = [(node, rule) for node in group.chain for rule in node.allow.all]
        rules += [(group, rule) for rule in group.granted.all]
        holding = (
            rule for node, rule in rules if not policy.expired(rule) and views.allow_row(group, node, rule)["effective"]
        )
        shown = [_host(rule) for rule in islice(holding, _LISTED)]
        return as_json({"group": group.path, "allowed": shown, "more": any(True for _ in holding)})

    def _decision(self, _request: OpsRequest, identity: Identity, params: Mapping[str, str]) -> Response:
        found = self._keeper.decision(params["id"])
        if found is None or not _is_of(found, identity):
            raise Problem(404, "there is no such decision of yours; one that was just made is here within a second")
        policy, _ = self._policy(identity)
        reason = query.why(found)
        line = query.line_for(found, policy) if found["verdict"] == "deny" else None
        shown = ("id", "time", "verdict", "stage", "method", "host", "port", "count", "last_seen")
        advice = cure(reason, found["host"], None, found["stage"], line=line is not None)
        more = {"reason": str(reason), "title": MEANINGS[reason].title, "detail": advice, "suggestion": line}
        return as_json({**{name: found[name] for name in shown}, **more})

    def _request(self, _request: OpsRequest, identity: Identity, params: Mapping[str, str]) -> Response:
        found = self._keeper.request(params["id"])
        if found is None or found.group != identity.group:
            raise Problem(404, "there is no such request of your group")
        return as_json(_shown(found))

    def _ask(self, request: OpsRequest, identity: Identity, _params: Mapping[str, str]) -> Response:
        """Keep what a client asks for."""
        if not self.asking:
            raise Problem(503, _NOWHERE)
        if request.header("content-type") is None:
            raise Problem(415, f"send {JSON}")
        url, why, method = _read_body(request.json())
        policy, group = self._policy(identity)
        if not self._asks.take(_asker(identity)):
            raise Problem(429, "too many requests: some are waiting for an answer", {"Retry-After": "60"})
        try:
            wanted = wish(policy, group.path, url, method)
        except AskError as error:
            raise Problem(409, str(error)) from error
        asked = asked_for(wanted, identity, why)
        try:
            kept = self._keeper.ask(asked, identity.client)
        except TooManyRequestsError as error:
            raise Problem(429, str(error), {"Retry-After": "3600"}) from error
        except StoreAwayError as error:
            raise _AWAY from error
        told = {**_shown(kept), "suggestion": wanted.line, "next": _next(policy, kept)}
        return replace(as_json(told), status=201 if kept.id == asked.id else 200, headers={"Location": told["url"]})


def _is_of(found: Record, who: Identity) -> bool:
    """Tell whether a decision is a client's own: by who it is, if it has proven that, else by where it comes from."""
    mine = as_record(event_of(None, who))
    return all(found[name] == mine[name] for name in ("group", "client_name", "subject" if who.subject else "client"))


def asked_for(wanted: Any, identity: Identity, why: str) -> AccessRequest:
    """Return a wish as the request that is kept."""
    question, now = wanted.question, round(time.time() * 1000)
    return AccessRequest(
        id=new_id(),
        group=question.group or "",
        host=question.host.name,
        port=question.port,
        method=question.method,
        path=question.path,
        clear=question.clear,
        reason=str(wanted.reason),
        count=1,
        first=now,
        last=now,
        client=identity.client_name or identity.client,
        asker=_asker(identity),
        whys=(words(why),),
    )


def _asker(identity: Identity) -> str:
    return f"{identity.credential} {identity.client}"


def _host(rule: Rule) -> dict[str, Any]:
    return {
        "host": str(rule.pattern),
        "ports": None if rule.ports is None else sorted(rule.ports),
        "methods": None if rule.methods is None else sorted(rule.methods),
        "paths": None if rule.paths is None else [glob.text for glob in rule.paths],
    }


def _shown(kept: AccessRequest) -> dict[str, Any]:
    """Return what a client sees of a request of its group: not who asked, who decided, or what others wrote."""
    return {
        "id": kept.id,
        "url": f"{REQUESTS}/{kept.id}",
        "state": kept.state,
        "host": kept.host,
        "port": kept.port,
        "method": kept.method,
        "path": kept.path,
        "note": kept.note,
        "until": rfc3339(kept.until / 1000) if kept.until is not None and kept.grant else None,
    }


def _next(policy: Policy, kept: AccessRequest) -> str:
    if kept.state == "denied":
        return "It was refused lately; the note says why."
    if takes_grants(policy, kept.group):
        return (
            "A person decides; it is open at once when it is approved. Do not wait for it: go on, and try again later."
        )
    return "A person decides; it is open when the line is in the policy. Do not wait for it: go on without it."


def _read_body(body: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return `url`, `why` and `method`.

    Raises:
        Problem: 400.
    """
    url, why, method = body.get("url"), body.get("why"), body.get("method")
    if set(body) - {"url", "why", "method"} or not isinstance(url, str) or not isinstance(why, str) or not why.strip():
        raise Problem(400, 'send {"url": text, "why": text}, and "method" where one is meant')
    if method is not None and not isinstance(method, str):
        raise Problem(400, "`method` is text")
    if len(url) > 4096:
        raise Problem(400, "`url` is too long")
    return url, why, method


def _wire(response: Response, *, head: bool) -> bytes:
    body = response.body if isinstance(response.body, bytes) else b""
    fields = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **response.headers,
    }
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head else body)

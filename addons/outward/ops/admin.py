"""The administrator's side as one application: screens, signs in, routes, and turns errors into answers.

Handlers of the API and of the page run in threads, so that no query holds up traffic; streams run on the loop.
"""

import json
import mimetypes
from collections.abc import Callable
from functools import cached_property
from importlib import resources

from outward.config.settings import SecretEntry
from outward.core.policy import Policy, within
from outward.ops import ask, export, views
from outward.ops.access import Access
from outward.ops.api import Api, Handler
from outward.ops.ask import Asked
from outward.ops.chainwatch import ChainWatch
from outward.ops.entrance import BEGIN, CALLBACK, Entrance
from outward.ops.openapi import document
from outward.ops.pages import Pages, wants_html
from outward.ops.places import Places
from outward.ops.reader import DatabasePool
from outward.ops.sources import Sources
from outward.ops.stream import Stream, Watcher
from outward.ops.web import OpsRequest, Problem, Response, Route, Router, as_problem, redirect
from outward.ops.who import SignIn
from outward.records.audit import verify
from outward.records.database import Database
from outward.records.events import query
from outward.records.events.values import Record
from outward.records.state.live import State
from outward.threads import Threads

WATCHERS, EXPORTS, ANSWERS = (64, 16), (8, 2), (64, 32)  # places in all, and for each token
_STATIC = "/static/"
_OF_VIEWERS = (
    "/api/v1/explain",
    "/api/v1/requests",
    "/requests",
    "/role",
)  # they change nothing: to ask is not to decide


class Admin:
    """Answers what health does not."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        state: State,
        connect: Callable[[], Database],
        check_chain: Callable[[Database, verify.ChainReport | None], verify.ChainReport],
        access: Access,
        stream: Stream,
        door: Callable[[], SignIn | None],
        now: Callable[[], float],
        secrets: Callable[[], tuple[SecretEntry, ...]],
    ) -> None:
        """Prepare; nothing is opened before it is asked for.

        Args:
            policy: returns the policy in force.
            state: run-time state.
            connect: opens the records.
            check_chain: verifies the audit chain, going on from a report.
            access: tokens and sessions.
            stream: events as they happen.
            door: returns what signs people in at a provider, if there is one.
            now: the time, in Unix seconds.
            secrets: returns what the configuration in force says of its secrets.
        """
        self._access, self._stream = access, stream
        self._reader = DatabasePool(connect)
        self._sources = Sources(policy, state, self._reader, now, secrets)
        self._watchers, self._exports = Places("streams", *WATCHERS), Places("exports", *EXPORTS)
        self._answers = Places("answers", *ANSWERS)
        self._queries, self._pages_of_exports = Threads("admin", 4), Threads("export", 2)
        self._entrance = Entrance(access, state, door, lambda way, problem=None: self._pages.sign_in(way, problem))
        self._check_chain = check_chain
        self._chains = ChainWatch(self._verified)

    async def __call__(self, request: OpsRequest) -> Response:
        """Answer one request."""
        try:
            return await self._answer(request)
        except Problem as problem:
            if not wants_html(request):
                return as_problem(problem)
            if problem.status == 401:
                return redirect("/login")
            return await self._queries.run(self._pages.problem, problem)

    def close(self) -> None:
        """Close what is open."""
        self._queries.close()
        self._entrance.close()
        self._pages_of_exports.close()
        self._reader.close()

    async def _answer(self, request: OpsRequest) -> Response:
        self._access.screen(request)
        if request.path.startswith(_STATIC):
            return _static(request)
        if request.path in ("/login", "/logout"):
            return await self._queries.run(self._sign_in, request)
        if request.path in (BEGIN, CALLBACK):
            return await self._entrance.answer(request)
        api = request.path.startswith("/api/")
        safe = request.method in ("GET", "HEAD")
        # A cookie alone changes nothing through the API: forms with their proof do that, and bearers of tokens.
        token = self._access.token(request, cookie=safe or not api)
        special = {"/api/v1/events/stream": self._watch, "/export.csv": self._export, "/export.jsonl": self._export}
        if request.path in special:
            if not safe:
                raise Problem(405, "this method has no meaning here", {"Allow": "GET"})
            return await special[request.path](Asked(request, token))
        handler, params = self._router.find(request.method, request.path)
        if not safe and request.path not in _OF_VIEWERS:
            token.demand_change()
        give_back = self._answers.take(token)
        try:
            response = await self._queries.run(handler, Asked(request, token, params))
        except BaseException:
            give_back()
            raise
        response.done = give_back  # a long answer is in memory until its reader has taken it
        return response

    @cached_property
    def _pages(self) -> Pages:
        return Pages(self._sources, self._access, self._chains.report)

    @cached_property
    def _router(self) -> Router[Handler]:
        return Router(
            [*Api(self._sources).routes(), Route("GET", "/api/v1/openapi.json", _document), *self._pages.routes()]
        )

    def _verified(self, after: verify.ChainReport | None) -> verify.ChainReport:
        with self._reader.database() as database:
            return self._check_chain(database, after)

    def _sign_in(self, request: OpsRequest) -> Response:
        """Sign in by a token, and out."""
        if request.method in ("GET", "HEAD"):
            return self._pages.sign_in(self._entrance.way(request)) if request.path == "/login" else redirect("/login")
        if request.method != "POST":
            raise Problem(405, "this method has no meaning here", {"Allow": "GET, POST"})
        form = request.form()
        if request.path == "/logout":
            self._access.check_form(request, form)
            self._entrance.leave(request)
            return redirect("/login", self._access.cookie(request, "", 0))
        try:
            return redirect("/", self._access.sign_in(request, form.get("token", "").strip()))
        except Problem as problem:
            return self._pages.sign_in(self._entrance.way(request), problem)

    async def _watch(self, asked: Asked) -> Response:
        """Stream events as server-sent events."""
        found = asked.query("verdict", "group")
        verdict, group = found.get("verdict"), found.get("group")
        if verdict not in (None, "allow", "deny"):
            raise Problem(400, "`verdict` is allow or deny")
        if group is not None:
            asked.token.demand(group)

        def wanted(record: Record) -> bool:
            path = record["group"]
            return within(path or "", group) and asked.token.covers(path) and verdict in (None, record["verdict"])

        give_back = self._watchers.take(asked.token)
        watcher = Watcher(wanted, self._may_go_on(asked))
        leave = self._stream.join(watcher)

        def done() -> None:
            leave()
            give_back()

        return Response(200, watcher.events(), "text/event-stream", {"X-Accel-Buffering": "no"}, done=done)

    def _may_go_on(self, asked: Asked) -> Callable[[], bool]:
        """Return what tells whether the token of a long answer is still in force."""
        return lambda: self._access.holds(asked.request, asked.token)

    async def _export(self, asked: Asked) -> Response:
        """Stream the blocked log as a file."""
        found = asked.query(*ask.filter_names("period"), form=True)
        period = found.pop("period", "all")
        since = {} if period == "all" else {"since": period}
        wanted = ask.filters(asked, found | since, views.ignored(self._sources.policy()))

        kind = asked.request.path.rpartition(".")[2]
        render, content_type = (
            (export.as_csv, "text/csv; charset=utf-8") if kind == "csv" else (export.as_lines, "application/jsonl")
        )

        def page(rows: int, last: Record | None, head: bool) -> tuple[Record | None, bytes]:
            with self._reader.database() as database:
                found = query.blocked(database, wanted, rows, query.cursor_of(last) if last else None)
            return found[-1] if found else None, render(found, head=head)

        give_back = self._exports.take(asked.token)
        body = export.stream(page, self._pages_of_exports, self._may_go_on(asked))
        headers = {"Content-Disposition": f'attachment; filename="blocked.{kind}"'}
        return Response(200, body, content_type, headers, done=give_back)


def _document(asked: Asked) -> Response:
    asked.query()
    return Response(200, json.dumps(document(), indent=2).encode())


def _static(request: OpsRequest) -> Response:
    """Serve one of our own few files; a name with a separator is none of them."""
    name = request.path.removeprefix(_STATIC)
    folder = resources.files("outward.ops").joinpath("static")
    if request.method not in ("GET", "HEAD") or name not in {entry.name for entry in folder.iterdir()}:
        raise Problem(404, "there is nothing here")
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {"Cache-Control": "private, max-age=300", "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(200, folder.joinpath(name).read_bytes(), content_type, headers)

"""Administrators' tokens, by the API and by the page: listing, making, revoking. For admins, within their scope.

Sign-ins of people stand in the same list for those who may see everything, and are ended in the same way.
"""

import re
import secrets
from collections.abc import Callable
from typing import Any

from outward.ops import ask
from outward.ops.access import Access
from outward.ops.api import Handler
from outward.ops.ask import Asked
from outward.ops.principals import ALL, ROLES, digest, new_secret
from outward.ops.sources import Sources
from outward.ops.web import Problem, Response, Route, as_json, redirect
from outward.records.database import StoreAwayError
from outward.records.events.values import rfc3339
from outward.records.state import runtime_settings
from outward.records.state.runtime_settings import StoredToken

LONGEST = 366 * 86_400.0  # seconds that a token made here may count
_NAME = re.compile(r"[A-Za-z0-9_ .,:@/+-]{1,64}")
_ROWS = 100
_AWAY = "the records do not answer now: the change may be made or not, so look, or try again"


class Tokens:
    """The handlers, by route.

    Args:
        page: renders a template for whoever asks.
    """

    def __init__(self, sources: Sources, access: Access, page: Callable[..., Response]) -> None:
        self._from, self._access, self._page = sources, access, page

    def routes(self) -> list[Route[Handler]]:
        """Return the routes."""
        root = "/api/v1/tokens"
        return [
            Route("GET", root, self.listed),
            Route("POST", root, self.make),
            Route("DELETE", f"{root}/{{id}}", self.revoke),
            Route("GET", "/tokens", self.show),
            Route("POST", "/tokens", self.make_by_form),
            Route("POST", "/tokens/{id}", self.revoke_by_form),
        ]

    def listed(self, asked: Asked) -> Response:
        """List tokens and sign-ins of the scope, the newest first."""
        limit, after = ask.page(asked.query("limit", "cursor"))
        rows, cursor = self._rows(asked, limit, after)
        return as_json({"items": rows, "next_cursor": cursor})

    def make(self, asked: Asked) -> Response:
        """Make a token; its secret is in this answer and nowhere else."""
        asked.query()
        body = asked.body(scope=str, role=str, name=str, expires=str)
        kept, secret = self._made(asked, **body)
        return as_json({**self._shown(kept), "token": secret})

    def revoke(self, asked: Asked) -> Response:
        """Take a token back, or end a sign-in."""
        asked.query()
        self._revoked(asked)
        return Response(204)

    def show(self, asked: Asked) -> Response:
        """Show the page."""
        found = asked.query("cursor")
        return self._shown_page(asked, ask.read_cursor(found["cursor"]) if "cursor" in found else None)

    def make_by_form(self, asked: Asked) -> Response:
        """Make a token, and show its secret once."""
        form = asked.request.form()
        self._access.check_form(asked.request, form)
        wanted = {name: form.get(name, "").strip() for name in ("scope", "role", "name", "expires")}
        kept, secret = self._made(asked, **wanted)
        return self._shown_page(asked, None, made={**self._shown(kept), "token": secret})

    def revoke_by_form(self, asked: Asked) -> Response:
        """Take a token back, from a form."""
        self._access.check_form(asked.request, asked.request.form())
        self._revoked(asked)
        return redirect("/tokens")

    def _shown_page(self, asked: Asked, after: tuple[int, str] | None, made: dict[str, Any] | None = None) -> Response:
        rows, cursor = self._rows(asked, _ROWS, after)
        scopes = sorted(path for path in self._from.policy().groups if asked.token.covers(path))
        return self._page(
            "tokens.html",
            asked,
            section="tokens",
            rows=rows,
            made=made,
            roles=ROLES,
            scopes=[*([ALL] if asked.token.scope == ALL else []), *scopes],
            next_cursor=cursor,
            query="",
        )

    def _rows(self, asked: Asked, limit: int, after: tuple[int, str] | None) -> tuple[list[dict[str, Any]], str | None]:
        asked.token.demand_admin()
        with self._from.reader.database() as database:
            rows = runtime_settings.listed_tokens(database, ask.scope(asked.token), self._from.now(), limit + 1, after)
        last = rows[limit - 1] if len(rows) > limit else None
        cursor = ask.write_cursor((round(last.created * 1000), last.id)) if last else None
        return [self._shown(row) for row in rows[:limit]], cursor

    def _made(self, asked: Asked, scope: str, role: str, name: str, expires: str) -> tuple[StoredToken, str]:
        asked.token.demand_admin()
        if scope != ALL:
            self._from.group(asked.token, scope)
        elif asked.token.scope != ALL:
            raise Problem(403, "this is for another group than yours")
        if role not in ROLES:
            raise Problem(400, f"`role` is one of {', '.join(ROLES)}")
        if not _NAME.fullmatch(name):
            raise Problem(400, "`name` says what it is for, in up to 64 letters, digits, spaces and .,:@/+-")
        now = self._from.now()
        end = ask.end(expires, now, "expires")
        if not now < end <= now + LONGEST:
            raise Problem(400, "`expires` lies ahead, within a year")
        if not asked.token.session:  # a token outlives its maker by nothing; a person signs in for hours
            end = min(end, asked.token.expires or end)
        secret, author = new_secret(), self._from.actor(asked.token)
        kept = StoredToken(
            secrets.token_hex(6), digest(secret), scope, name, now, end, revoked=False, role=role, author=author
        )
        try:
            self._from.state.add_token(kept, author)
        except StoreAwayError as error:
            raise Problem(503, _AWAY, {"Retry-After": "5"}) from error
        return kept, secret

    def _revoked(self, asked: Asked) -> None:
        """Take back what lies within the scope; what does not is not there."""
        asked.token.demand_admin()
        ident, state = asked.params["id"], self._from.state
        try:
            state.refresh()
            kept = next((each for each in state.tokens.values() if each.id == ident), None)
            everything = asked.token.scope == ALL
            mine = kept is not None and (everything or (kept.held is None and asked.token.covers(kept.scope)))
            if not mine or not state.revoke_token(ident, self._from.actor(asked.token)):
                raise Problem(404, "there is no such token in force")
        except StoreAwayError as error:
            raise Problem(503, _AWAY, {"Retry-After": "5"}) from error

    def _shown(self, kept: StoredToken) -> dict[str, Any]:
        ended = kept.expires is not None and kept.expires <= self._from.now()
        return {
            "id": kept.id,
            "kind": "token" if kept.held is None else "session",
            "scope": kept.scope,
            "role": kept.role,
            "name": kept.name,
            "author": kept.author,
            "created": rfc3339(kept.created),
            "expires": None if kept.expires is None else rfc3339(kept.expires),
            "last_used": None if kept.used is None else rfc3339(kept.used),
            "state": "revoked" if kept.revoked else "expired" if ended else "valid",
        }

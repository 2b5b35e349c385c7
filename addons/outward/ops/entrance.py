"""Signing in at the provider of identities, as the browser sees it: there, back, in and out.

A sign-in is kept as tokens are, so that every proxy knows it and its end at once. The cookie holds a secret, and which
of the person's roles is in force; the records hold its digest.
"""

import secrets
import time
from collections.abc import Callable
from typing import Protocol

from outward.config.admin import is_safe
from outward.ops.access import PERSON, Access
from outward.ops.principals import ALL, digest
from outward.ops.web import OpsRequest, Problem, Response, redirect
from outward.ops.who import SignIn, Who
from outward.records.database import StoreAwayError
from outward.records.state.live import State
from outward.records.state.runtime_settings import StoredToken
from outward.threads import Threads

BEGIN = "/login/provider"
CALLBACK = "/login/callback"
SIGN_IN = "outward_sign_in"  # the cookie of a sign-in that has begun
_PATIENCE = 600  # seconds that a person has at the provider
_MOST = 8  # sign-ins that are worked on


class SignInPage(Protocol):
    """Shows the sign-in page."""

    def __call__(self, way: str | None, problem: Problem | None = None) -> Response:
        """Return it; `way` is where to sign in at the provider."""


class Entrance:
    """Leads people to the provider and takes them back."""

    def __init__(self, access: Access, state: State, door: Callable[[], SignIn | None], page: SignInPage) -> None:
        """Prepare.

        Args:
            access: knows the cookies.
            state: keeps sign-ins.
            door: returns what asks the provider, if there is one.
            page: shows the sign-in page.
        """
        self._access, self._state, self._door, self._page = access, state, door, page
        self._threads = Threads("sign-in", 2)  # a provider that hangs holds up nothing else
        self._busy = 0

    def close(self) -> None:
        """Start nothing more."""
        self._threads.close()

    def way(self, request: OpsRequest) -> str | None:
        """Return where a person may sign in at the provider; None if there is none."""
        if self._door() is None:
            return None
        return BEGIN if self._home(request) else f"{self._main()}{BEGIN}"

    async def answer(self, request: OpsRequest) -> Response:
        """Answer one of the two paths."""
        if request.method != "GET":
            raise Problem(405, "this method has no meaning here", {"Allow": "GET"})
        self._access.attempt(request)
        if self._busy >= _MOST:
            raise Problem(503, "too many people sign in now: try again", {"Retry-After": "5"})
        self._busy += 1
        try:
            return await self._threads.run(self._begin if request.path == BEGIN else self._end, request)
        finally:
            self._busy -= 1

    def leave(self, request: OpsRequest) -> None:
        """End a person's sign-in, in every proxy."""
        token = self._access.session(request)
        if token is not None and token.session:
            try:
                self._state.revoke_token(token.id, f"{token.name} ({token.id})")
            except StoreAwayError as error:
                raise _away() from error

    def _begin(self, request: OpsRequest) -> Response:
        door, home = self._door(), self._home(request)
        if door is None:
            raise Problem(404, "there is nothing here")
        if home is None:
            return redirect(f"{self._main()}{BEGIN}")
        secret = secrets.token_urlsafe(32)
        try:
            there = door.begin(home, secret)
        except Problem as problem:
            return self._page(self.way(request), problem)
        return redirect(there, self._begun(request, secret, _PATIENCE))

    def _end(self, request: OpsRequest) -> Response:
        door, home = self._door(), self._home(request)
        if door is None or home is None:
            raise Problem(404, "there is nothing here")
        over = self._begun(request, "", 0)
        try:
            who = door.end(request, home, self._access.read_cookie(request, SIGN_IN))
            cookie = self._let_in(request, who)
        except Problem as problem:
            answer = self._page(self.way(request), problem)
            answer.cookies += (over,)
            return answer
        return redirect("/", over, cookie)

    def _let_in(self, request: OpsRequest, who: Who) -> str:
        """Keep a person's sign-in, and return the session's cookie."""
        oidc = self._access.oidc
        if oidc is None:
            raise Problem(404, "there is nothing here")
        secret, now = f"{PERSON}{secrets.token_urlsafe(32)}", time.time()
        held = tuple(name for name in who.held if name in oidc.roles)  # a reload may have come between
        first = oidc.roles[held[0]] if held else None
        person = StoredToken(
            secrets.token_hex(6),
            digest(secret),
            (first.group if first else "") or ALL,
            who.name,
            now,
            now + oidc.session,
            revoked=False,
            role=first.role if first else "viewer",
            issuer=who.issuer,
            subject=who.subject,
            held=held,
        )
        try:
            self._state.sign_in(person, request.peer)
        except StoreAwayError as error:
            raise _away() from error
        if not held:
            whom = oidc.contact or "whoever runs this proxy"
            raise Problem(403, f"You are {who.name}, and have no role here.{who.why} Ask {whom} to give you one.")
        # Lax: the browser is on its way here from another site, and a strict cookie would not come along.
        return self._access.cookie(request, secret, int(oidc.session), same_site="Lax")

    def _begun(self, request: OpsRequest, secret: str, seconds: int) -> str:
        return self._access.cookie(request, secret, seconds, name=SIGN_IN, same_site="Lax")

    def _home(self, request: OpsRequest) -> str | None:
        """Return the listed address that a request was sent to, if a session may be begun there."""
        origin = self._access.origins.of(request)
        return origin if origin is not None and is_safe(origin) else None

    def _main(self) -> str:
        return next(url for url in self._access.origins.urls if is_safe(url))


def _away() -> Problem:
    return Problem(503, "The records do not answer now, so nobody can be signed in or out.", {"Retry-After": "5"})

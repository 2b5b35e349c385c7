"""Who may use the administrator's side: tokens, scopes, sessions, and requests that must not be served at all.

A token is always needed, loopback or not: agents share the loopback of a pod. Only digests of tokens are kept. A
browser's session is a signed cookie that names its token, so that it ends when its token does.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from outward.config.settings import Oidc
from outward.ops.buckets import Buckets
from outward.ops.origins import Origins
from outward.ops.principals import ALL, SAFE, Token, digest
from outward.ops.web import OpsRequest, Problem

COOKIE = "outward_session"
_GUARD = "__Host-"
PERSON = "owp_"  # what the secret of a person's sign-in begins with
SESSION = 8 * 3600  # seconds
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="outward"'}


class Access:
    """Answers who sends a request, or refuses it.

    Attributes:
        origins: the addresses that the page is reached at; replaced by a reload.
        oidc: sign-in at a provider, if there is one; replaced by a reload.
        used: told the id of each stored token that a request was let in with.
    """

    def __init__(
        self,
        fixed: Iterable[Token],
        stored: Callable[[], Mapping[str, Token]],
        origins: Origins | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stored = stored
        self.origins = origins or Origins()
        self.oidc: Oidc | None = None
        self.used: Callable[[str, float], None] = lambda _ident, _now: None
        self._clock = clock
        self._spare = secrets.token_hex()
        self.use(fixed)
        self._requests = Buckets(rate=100, burst=500)
        self._failures = Buckets(rate=1, burst=60)
        self._sign_ins = Buckets(rate=2, burst=60)

    def use(self, fixed: Iterable[Token]) -> None:
        """Take the environment's tokens from now on. A session ends with the token that signs it, and with its own."""
        self._fixed = {token.sha256: token for token in fixed}
        seeds = tuple(self._fixed) or (self._spare,)
        self._keys = tuple(hashlib.sha256(f"outward session {seed}".encode()).digest() for seed in seeds)

    def screen(self, request: OpsRequest) -> None:
        """Refuse what came through a proxy, or from another site's page.

        Raises:
            Problem: 400, 403 or 421.
        """
        if not request.target.startswith("/") or request.target.startswith("//"):
            raise Problem(400, "this is no proxy")
        via = (request.header("via") or "").lower()
        if request.header("proxy-authorization") or request.header("proxy-connection") or "outward" in via:
            raise Problem(403, "not through a proxy")
        host = request.header("host") or ""
        origin = request.header("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Problem(403, "not from another site's page")
        if request.header("sec-fetch-site") in ("cross-site", "same-site") and request.method not in SAFE:
            raise Problem(403, "not from another site's page")
        self.origins.screen(request)

    def holds(self, request: OpsRequest, token: Token) -> bool:
        """Tell whether the token that a request was let in with is still in force; for answers that take long."""
        scheme, _, secret = (request.header("authorization") or "").partition(" ")
        found = self._by_digest(digest(secret.strip())) if scheme else self.session(request)
        return found is not None and (found.id, found.scope) == (token.id, token.scope)

    def token(self, request: OpsRequest, *, cookie: bool = False) -> Token:
        """Return the token that a request carries.

        Args:
            request: the request.
            cookie: whether a browser's session counts too.

        Raises:
            Problem: 401 without a valid token, 429 when there are too many requests.
        """
        scheme, _, secret = (request.header("authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and secret.strip():
            token = self._by_digest(digest(secret.strip()))
            if token is None and not self._failures.take(request.peer):
                raise Problem(429, "too many wrong tokens", {"Retry-After": "60"})
        else:
            token = self.session(request) if cookie and not scheme else None
        if token is None:
            raise Problem(401, "send a valid token: `Authorization: Bearer …`", _CHALLENGE)
        if not self._requests.take(token.id):
            raise Problem(429, "too many requests", {"Retry-After": "1"})
        if token.sha256 not in self._fixed:
            self.used(token.id, self._clock())
        return token

    def _by_digest(self, sha256: str) -> Token | None:
        """Find a token that is in force; comparing digests of random secrets leaks nothing of use."""
        token = self._fixed.get(sha256) or self._stored().get(sha256)
        return None if token is None or token.session else self._in_force(token)

    def _in_force(self, token: Token) -> Token | None:
        ended = token.revoked or (token.expires is not None and self._clock() >= token.expires)
        return None if ended else token

    def _signed_in(self, value: str) -> Token | None:
        """Find a person's sign-in by its cookie, as the configuration of now values the roles that the person has."""
        secret, _, chosen = value.partition("~")
        kept = self._stored().get(digest(secret))
        if kept is None or not kept.session or self.oidc is None or kept.issuer != self.oidc.issuer:
            return None
        hats = tuple(name for name in self.oidc.roles if name in kept.hats)
        if not hats:
            return None
        hat = next((name for name in hats if chosen == str(self.oidc.place(name))), hats[0])
        role = self.oidc.roles[hat]
        return self._in_force(replace(kept, role=role.role, scope=role.group or ALL, hats=hats, hat=hat))

    def wear(self, request: OpsRequest, person: Token, hat: str) -> str:
        """Return the Set-Cookie value that puts another of a person's roles in force."""
        secret = self.read_cookie(request).partition("~")[0]
        place = self.oidc.place(hat) if self.oidc else 0
        left = int((person.expires or 0.0) - self._clock())
        return self.cookie(request, f"{secret}~{place}", left, same_site="Lax")

    def attempt(self, request: OpsRequest) -> None:
        """Count a sign-in at the provider, which costs it and us a few requests.

        Raises:
            Problem: 429 after too many.
        """
        if not self._sign_ins.take(request.peer):
            raise Problem(429, "too many sign-ins from here: wait a moment", {"Retry-After": "10"})

    def sign_in(self, request: OpsRequest, secret: str) -> str:
        """Return the Set-Cookie value of a new session.

        Raises:
            Problem: 401 for a wrong token, 429 after too many.
        """
        token = self._by_digest(digest(secret))
        if token is None:
            if not self._failures.take(request.peer):
                raise Problem(429, "too many wrong tokens", {"Retry-After": "60"})
            raise Problem(401, "this token is not valid")
        until = int(self._clock()) + SESSION
        key = self._keys[0]
        value = f"{_mac(key, f'token {token.sha256}')[:32]}.{until}.{secrets.token_hex(8)}"
        return self.cookie(request, f"{value}.{_mac(key, value)}", SESSION)

    def cookie(
        self, request: OpsRequest, value: str, seconds: int, *, name: str = COOKIE, same_site: str = "Strict"
    ) -> str:
        """Return the Set-Cookie value of one of our cookies; for no seconds, its end.

        Over TLS it has the prefix by which browsers keep neighbours and plain HTTP from setting or reading it
        (RFC 6265bis 4.1.3.2).
        """
        guard, mark = (_GUARD, "; Secure") if self.origins.secure(request) else ("", "")
        return f"{guard}{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={seconds}{mark}"

    def session(self, request: OpsRequest) -> Token | None:
        """Return the token of a browser's session, or None."""
        cookie = self.read_cookie(request)
        if cookie.startswith(PERSON):
            return self._signed_in(cookie)
        value, _, mac = cookie.rpartition(".")
        key = self._key_of(value, mac)
        if key is None:
            return None
        name, until, _ = value.split(".")
        if self._clock() >= int(until):
            return None
        known = (*self._fixed, *(each for each, kept in self._stored().items() if not kept.session))
        return next((self._by_digest(each) for each in known if _mac(key, f"token {each}")[:32] == name), None)

    def _key_of(self, text: str, mac: str) -> bytes | None:
        """Return the key that signed a text, or None: the first one signs, all are believed."""
        if not mac.isascii():
            return None
        return next((key for key in self._keys if hmac.compare_digest(mac, _mac(key, text))), None)

    def csrf(self, request: OpsRequest) -> str:
        """Return the proof that a form was served within this session."""
        cookie = self.read_cookie(request)
        return _person_csrf(cookie) if cookie.startswith(PERSON) else _mac(self._keys[0], f"form {cookie}")

    def check_form(self, request: OpsRequest, form: Mapping[str, str]) -> None:
        """Refuse a form that this session was not served.

        Raises:
            Problem: 403.
        """
        proof, cookie = form.get("csrf", ""), self.read_cookie(request)
        if cookie.startswith(PERSON):
            good = hmac.compare_digest(proof.encode(), _person_csrf(cookie).encode())
        else:
            good = self._key_of(f"form {cookie}", proof) is not None
        if not good:
            raise Problem(403, "the form is out of date: go back and load the page again")

    def read_cookie(self, request: OpsRequest, name: str = COOKIE) -> str:
        """Return the value of one of our cookies; over TLS that of the guarded one alone."""
        wanted = f"{_GUARD}{name}" if self.origins.secure(request) else name
        for pair in (request.header("cookie") or "").split(";"):
            found, _, value = pair.strip().partition("=")
            if found == wanted:
                return value
        return ""


def _person_csrf(cookie: str) -> str:
    return _mac(cookie.partition("~")[0].encode(), "form")


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("utf-8", "backslashreplace"), hashlib.sha256).hexdigest()

"""Who may use the administrator's side: tokens, scopes, sessions, and requests that must not be served at all.

A token is always needed, loopback or not: agents share the loopback of a pod. Only digests of tokens are kept. A
browser's session is a signed cookie that names its token, so that it ends when its token does.
"""

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from outward.config.settings import Oidc
from outward.core.policy import within
from outward.files import read_regular
from outward.ops.origins import Origins
from outward.ops.web import OpsRequest, Problem

COOKIE = "outward_session"
_GUARD = "__Host-"
PERSON = "owp_"  # what the secret of a person's sign-in begins with
SESSION = 8 * 3600  # seconds
ALL = "all"  # the scope of a token that may see and change everything
CHANGING = ("operator", "admin")
ROLES = ("viewer", *CHANGING)
_SAFE = ("GET", "HEAD")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="outward"'}


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept.

    Attributes:
        id: names it in lists, sessions and audit events.
        sha256: lower-case hex digest of the secret.
        scope: path of the group whose subtree it is for, or ALL.
        name: what its maker called it.
        expires: Unix time in seconds, or None.
        revoked: whether it has been taken back.
        role: `viewer` sees; `operator` sets toggles and opt-ins, and decides requests; `admin` may do all.
        session: whether it is a person's sign-in, which counts from a browser's cookie alone.
        hats: of a sign-in: the names of the roles that the person has, of which one is in force at a time.
        hat: the one in force.
        issuer: of a sign-in: the provider.
    """

    id: str
    sha256: str = field(repr=False)
    scope: str = ALL
    name: str = ""
    expires: float | None = None
    revoked: bool = False
    role: str = "admin"
    session: bool = False
    hats: tuple[str, ...] = ()
    hat: str = ""
    issuer: str | None = None

    def demand_change(self) -> None:
        """Refuse who may only see.

        Raises:
            Problem: 403.
        """
        if self.role not in CHANGING:
            raise Problem(403, f"you are here as {self.role}, which changes nothing")

    def demand_admin(self) -> None:
        """Refuse who may not make and revoke tokens.

        Raises:
            Problem: 403.
        """
        if self.role != "admin":
            raise Problem(403, f"this is for admins, and you are here as {self.role}")

    def covers(self, group: str | None) -> bool:
        """Tell whether a group lies within the scope; what belongs to no group is for ALL only."""
        if self.scope == ALL:
            return True
        return group is not None and within(group, self.scope)

    def demand(self, group: str | None) -> None:
        """Refuse what lies outside the scope.

        Raises:
            Problem: 403, the same whether or not the thing exists.
        """
        if not self.covers(group):
            raise Problem(403, "this is for another group than yours")


def digest(secret: str) -> str:
    """Return the lower-case hex SHA-256 of a secret; secrets are random, so no slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def new_secret() -> str:
    """Return a fresh token with 256 random bits; its prefix lets scanners find leaked ones."""
    return f"owt_{secrets.token_urlsafe(32)}"


SHORTEST = 16  # characters of an administrator's token


class TokenError(ValueError):
    """An administrator's token cannot be used; the message is for the operator and does not show it."""


def token_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of administrators' tokens, one a line, or None."""
    named = environ.get("OUTWARD_ADMIN_TOKEN_FILE")
    return Path(named) if named else None


def from_environment(environ: Mapping[str, str] = os.environ) -> tuple[Token, ...]:
    """Return the tokens of `OUTWARD_ADMIN_TOKEN` and `OUTWARD_ADMIN_TOKEN_FILE`, of scope ALL.

    The file holds one or several, each in its line: the old and the new one while one takes over from the other.

    Raises:
        TokenError: one is too short, or the file holds none.
        OSError: when the file cannot be read.
    """
    found = [environ["OUTWARD_ADMIN_TOKEN"].strip()] if environ.get("OUTWARD_ADMIN_TOKEN", "").strip() else []
    file = token_file(environ)
    if file is not None:
        listed = read_regular(file).decode().split()
        if not listed:
            raise TokenError("the file of OUTWARD_ADMIN_TOKEN_FILE holds no token")
        found += listed
    if any(len(secret) < SHORTEST for secret in found):
        raise TokenError(f"an admin token has at least {SHORTEST} characters: make one with `openssl rand -hex 32`")
    return tuple(Token("environment", digest(secret), name="environment") for secret in found)


class Buckets:
    """Token buckets by key, for any thread; the oldest keys are forgotten, so memory is bounded."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> bool:
        """Take one; False when the bucket is empty."""
        with self._lock:
            now = self._clock()
            level, at = self._levels.pop(key, (self._burst, now))
            level = min(self._burst, level + (now - at) * self._rate)
            taken = level >= 1
            self._levels[key] = (level - 1 if taken else level, now)
            if len(self._levels) > 10_000:
                self._levels.popitem(last=False)
            return taken


class Access:
    """Answers who sends a request, or refuses it.

    Attributes:
        origins: the addresses that the page is reached at; replaced by a reload.
        oidc: sign-in at a provider, where there is one; replaced by a reload.
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
        if request.header("sec-fetch-site") in ("cross-site", "same-site") and request.method not in _SAFE:
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

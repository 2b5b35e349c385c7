"""Who may use the ops port: tokens, their scopes and roles, and those that the environment names."""

import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from outward.core.policy import within
from outward.files import read_regular
from outward.ops.web import Problem

ALL = "all"  # the scope of a token that may see and change everything
CHANGING = ("operator", "admin")
ROLES = ("viewer", *CHANGING)
SAFE = ("GET", "HEAD")


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

"""Signing in at a provider: sending a person there, and taking back who it is.

Everything that ties the two halves together follows from one random secret in a cookie of the browser that began: the
state, the nonce and the verifier of PKCE. Nothing is kept here, so any proxy may take the second half.
"""

import hashlib
import hmac
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

from outward.config.settings import Oidc
from outward.ops.web import OpsRequest, Problem
from outward.ops.who import Who
from outward.signin.idtoken import UnverifiedError
from outward.signin.provider import Provider, ProviderError, SignInRefusedError
from outward.signin.roles import called, held, left_out

log = logging.getLogger(__name__)

CALLBACK = "/login/callback"
_AGAIN = "sign in again"
_AWAY = "The provider of identities does not answer as it should: try again in a moment, or sign in with a token."


class Door:
    """Answers both halves of a sign-in; for threads."""

    def __init__(self, oidc: Oidc, provider: Provider, now: Callable[[], float] = time.time) -> None:
        """Take the provider to ask, and the clock of its tokens in Unix seconds."""
        self._oidc, self._provider, self._now = oidc, provider, now

    def begin(self, origin: str, secret: str) -> str:
        """Return where to send a person.

        Args:
            origin: address that the page is reached at.
            secret: random; the browser that begins keeps it.

        Raises:
            Problem: 503, the provider does not answer.
        """
        challenge = hashlib.sha256(_derived(secret, "verifier").encode()).digest()
        try:
            return self._provider.page(
                response_type="code",
                client_id=self._oidc.client_id,
                redirect_uri=f"{origin}{CALLBACK}",
                scope=" ".join(("openid", *self._oidc.scopes)),
                state=_derived(secret, "state"),
                nonce=_derived(secret, "nonce"),
                code_challenge=_text(challenge),
                code_challenge_method="S256",
            )
        except ProviderError as error:
            raise _away(error) from error

    def end(self, request: OpsRequest, origin: str, secret: str) -> Who:
        """Return who has signed in.

        Args:
            request: that the provider sent the browser back with.
            origin: address that the page is reached at.
            secret: the one that this browser began with, empty for none.

        Raises:
            Problem: 400, this is no answer to what this browser began; 403, the provider lets nobody in, or the person
                has no role here; 503, the provider does not answer.
        """
        said = request.query()
        if not secret or not hmac.compare_digest(said.get("state", "").encode(), _derived(secret, "state").encode()):
            raise Problem(400, f"This sign-in was begun in another browser, or too long ago: {_AGAIN}.")
        try:
            self._check_sender(said)
            claims = self._provider.claims(
                said["code"],
                redirect=f"{origin}{CALLBACK}",
                verifier=_derived(secret, "verifier"),
                nonce=_derived(secret, "nonce"),
                now=self._now(),
            )
        except ProviderError as error:
            raise _away(error) from error
        except SignInRefusedError as error:
            raise Problem(
                400, f"The provider does not take this sign-in a second time, or so late: {_AGAIN}."
            ) from error
        except UnverifiedError as error:
            log.warning("an ID token was refused: %s", error)
            raise Problem(403, f"The provider's answer is not to be believed: {error}.") from error
        return self._who(claims)

    def _check_sender(self, said: Mapping[str, str]) -> None:
        """Refuse an answer of another provider (RFC 9207), or one that is none."""
        if said.get("iss", self._oidc.issuer) != self._oidc.issuer or (
            "iss" not in said and self._provider.names_itself
        ):
            raise Problem(400, f"Another provider answered: {_AGAIN}.")
        if "error" in said:
            raise Problem(403, f"The provider let nobody in: {said['error'][:60]}.")
        if not said.get("code"):
            raise Problem(400, f"The provider's answer holds no code: {_AGAIN}.")

    def _who(self, claims: Mapping[str, Any]) -> Who:
        name, roles = called(claims), held(claims, self._oidc.role_claim, self._oidc.roles)
        why = ""
        if left_out(claims, self._oidc.role_claim):
            why = " The provider left your groups out because they are too many: let it send roles of this application."
        return Who(self._oidc.issuer, str(claims["sub"]), name, roles, why)


def _away(error: ProviderError) -> Problem:
    log.warning("nobody can sign in by the provider: %s", error)
    return Problem(503, _AWAY, {"Retry-After": "10"})


def _derived(secret: str, what: str) -> str:
    return _text(hmac.new(secret.encode(), what.encode(), hashlib.sha256).digest())


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()

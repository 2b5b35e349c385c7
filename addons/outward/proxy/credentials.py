"""Offline verification of JWTs that clients send as proxy credentials (RFC 7519, RFC 8725).

Owns signature, issuer, audience and time; never fetches anything and never waits. Only asymmetric signatures count:
`none` and HMAC are refused before a key is looked at. What is not verified has no claims, and is then no credential.
"""

import hashlib
import json
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from joserfc import jws
from joserfc.errors import InvalidKeyIdError, JoseError

from outward.core.claims import Claims
from outward.core.identity import read_secret, trusts
from outward.core.model import ClientEntry, Credential
from outward.core.policy import Policy
from outward.proxy.keysets import KeySets

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
SKEW = 30.0  # seconds that two clocks may differ; RFC 7519 4.1.4 allows some minutes
MAX_TOKEN = 16 * 1024  # characters: twice the 8 KiB that Apache and nginx take of a field
_REMEMBERED = 1024  # verified tokens, 16 MiB at the very most
_REMEMBER = 60.0  # seconds; bounds how long a key that its issuer has withdrawn still counts


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: Claims
    until: float
    keys: object = field(repr=False)


class JwtVerifier:
    """Turns the JWT in a Proxy-Authorization field into verified claims."""

    def __init__(self, keysets: KeySets | None = None, clock: Callable[[], float] = time.time) -> None:
        self.keysets = keysets or KeySets()
        self._clock = clock
        self._known: OrderedDict[bytes, _Verified] = OrderedDict()

    @property
    def problem(self) -> str | None:
        """Which key sets could not be read, and why, or None."""
        return self.keysets.problem

    def use(self, policy: Policy) -> None:
        """Prepare for a policy: its key sets are read in the background."""
        self.keysets.want(entry.jwks for entry in policy.clients if entry.jwks)
        self._known.clear()

    def claims(self, policy: Policy, authorization: str | None) -> Claims | None:
        """Return the verified claims of a JWT in proxy credentials (Bearer, or the Basic password), or None."""
        if authorization is None or not any(entry.kind is Credential.JWT for entry in policy.clients):
            return None
        secret = read_secret(authorization)
        if secret is None or secret.token.count(".") != 2 or len(secret.token) > MAX_TOKEN:
            return None
        if not secret.token.isascii():
            return None
        digest = hashlib.sha256(secret.token.encode()).digest()
        known = self._known.get(digest)
        if known and self._clock() < known.until and self.keysets.get(known.claims.jwks) is known.keys:
            return known.claims
        self._known.pop(digest, None)
        return self._verify(policy, secret.token, digest)

    def _verify(self, policy: Policy, token: str, digest: bytes) -> Claims | None:
        unverified = _peek(token)
        if unverified is None or not self._timely(unverified):
            return None
        for entry in policy.clients:
            if trusts(entry, unverified):
                claims = self._signed(entry, token)
                if claims is not None and claims.values == unverified:
                    self._remember(digest, claims)
                    return claims
        return None

    def _signed(self, entry: ClientEntry, token: str) -> Claims | None:
        """Check the signature with an entry's keys; an unknown key id asks for fresh ones."""
        keys = self.keysets.get(entry.jwks or "")
        if entry.jwks is None or keys is None:
            return None
        try:
            signed = jws.deserialize_compact(token, keys, algorithms=ALGORITHMS)
            values = json.loads(signed.payload)
        except InvalidKeyIdError:
            self.keysets.refresh(entry.jwks)
            return None
        except (JoseError, ValueError, TypeError, RecursionError):
            return None
        return Claims(values, entry.jwks) if isinstance(values, dict) else None

    def _timely(self, claims: Mapping[str, object]) -> bool:
        """Tell whether a token is within its times; a token without `exp` would be one for ever and is refused."""
        now = self._clock()
        expires = moment(claims.get("exp"))
        if expires is None or now >= expires + SKEW:
            return False
        starts = [moment(claims[name]) for name in ("nbf", "iat") if name in claims]
        return all(moment is not None and moment <= now + SKEW for moment in starts)

    def _remember(self, digest: bytes, claims: Claims) -> None:
        expires = moment(claims.values.get("exp")) or 0.0
        until = min(expires + SKEW, self._clock() + _REMEMBER)
        self._known[digest] = _Verified(claims, until, self.keysets.get(claims.jwks))
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def moment(value: object) -> float | None:
    """Read a NumericDate (RFC 7519 2); None for anything else."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if usable else None  # type: ignore[arg-type] # narrowed by `usable`


def _peek(token: str) -> Mapping[str, object] | None:
    """Read the claims before they are verified: only to choose whose keys to ask and to skip what has expired."""
    payload = token.split(".")[1]
    try:
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None

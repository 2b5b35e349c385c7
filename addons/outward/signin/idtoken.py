"""ID tokens: whether one is what the provider says of the person who signs in here and now.

OpenID Connect Core 1.0, 3.1.3.7. Values in, claims out; fetches nothing.
"""

import hmac
import json
from collections.abc import Mapping
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from outward.proxy.credentials import ALGORITHMS, SKEW, moment

FRESH = 600.0  # seconds within which a token must have been issued: it is asked for while a person waits
LARGEST = 128_000  # characters of a token
LONGEST = 255  # characters of `sub`


class UnverifiedError(Exception):
    """The token is not to be believed; the message says why, and holds nothing of it."""


class UnsignedError(UnverifiedError):
    """No key at hand signed it: fresher keys may."""


def verified(token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, now: float) -> Mapping[str, Any]:
    """Return the claims of an ID token.

    Args:
        token: in compact form.
        keys: public keys of the provider; no key of HMAC is among them.
        issuer: who must have issued it.
        client_id: whom it must be for.
        nonce: that this sign-in was begun with.
        now: Unix time in seconds.

    Raises:
        UnverifiedError: it is not to be believed.
    """
    claims = _signed(token, keys)
    _check_parties(claims, issuer, client_id)
    _check_times(claims, now)
    found = claims.get("nonce")
    if not isinstance(found, str) or not hmac.compare_digest(found.encode("utf-8", "surrogatepass"), nonce.encode()):
        raise UnverifiedError("it belongs to another sign-in (`nonce`)")
    return claims


def _signed(token: str, keys: KeySet) -> Mapping[str, Any]:
    if len(token) > LARGEST:
        raise UnverifiedError("it is too large: let the provider send the roles of this application alone")
    try:
        signed = jws.deserialize_compact(token, keys, algorithms=ALGORITHMS)
        claims = json.loads(signed.payload)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnsignedError("none of the provider's keys has signed it, by an algorithm that counts") from error
    if not isinstance(claims, dict):
        raise UnverifiedError("it holds no claims")
    return claims


def _check_parties(claims: Mapping[str, Any], issuer: str, client_id: str) -> None:
    if claims.get("iss") != issuer:
        raise UnverifiedError("another issuer made it (`iss`)")
    audience = claims.get("aud")
    meant = [audience] if isinstance(audience, str) else audience
    if not isinstance(meant, list) or client_id not in meant:
        raise UnverifiedError("it is for somebody else (`aud`)")
    party = claims.get("azp")
    if (party is None and len(meant) > 1) or (party is not None and party != client_id):
        raise UnverifiedError("it was made for somebody else (`azp`)")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST or not _is_plain(subject):
        raise UnverifiedError("it names nobody (`sub`)")


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires, issued = moment(claims.get("exp")), moment(claims.get("iat"))
    if expires is None or now >= expires + SKEW:
        raise UnverifiedError("it has expired (`exp`), or the clocks differ")
    if issued is None or not now - FRESH - SKEW <= issued <= now + SKEW:
        raise UnverifiedError("it was not issued just now (`iat`), or the clocks differ")
    start = moment(claims.get("nbf", 0))
    if start is None or start > now + SKEW:
        raise UnverifiedError("it does not count yet (`nbf`), or the clocks differ")

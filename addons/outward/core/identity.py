"""Who a client is: from what it presents to a group. Pure; verification of signatures happens before.

Precedence: proxy credentials (token, then JWT), client certificate, source network, `anyone`. Whatever is presented and
wrong is refused, never skipped.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from outward.core.addresses import Address
from outward.core.model import ClientEntry, Credential, OptIn
from outward.core.policy import Policy, within
from outward.core.reasons import Reason

type Scalar = str | int | float | bool

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # in neither part of Basic credentials (RFC 7617 2)


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of a JWT (RFC 7519) whose signature and times have been verified.

    Attributes:
        values: the claim set.
        jwks: the key set that verified it, as the `clients` entry names it: another entry's keys do not count.
    """

    values: Mapping[str, object] = field(repr=False)
    jwks: str


@dataclass(frozen=True, slots=True)
class Presented:
    """What a client shows.

    Attributes:
        peer: the address that it connects from.
        authorization: value of its Proxy-Authorization field, or None.
        claims: of the JWT within `authorization`, when it has been verified.
        certificate_names: SPIFFE URIs and DNS names of its verified client certificate.
    """

    peer: Address
    authorization: str | None = field(default=None, repr=False)
    claims: Claims | None = None
    certificate_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of a client.

    Attributes:
        group: path of its group; None when it was refused.
        conversation: as named by the Basic username, or None.
        client: a label for the log: where it connects from, never a secret.
        credential: a stable label of what identified it, never a secret; opt-ins are bound to it.
        refusal: why it was refused, or None.
        challenge: whether credentials would help (a 407 instead of a 403).
        opt_in: the client entry's own opt-in setting, or None.
        client_name: the client entry's name, or None.
        subject: who it is to its issuer: the `sub` of its JWT, or the name in its certificate; None where nobody says.
        claims: those of its JWT that are recorded, with their names.
    """

    group: str | None = None
    conversation: str | None = None
    client: str = ""
    credential: str = ""
    refusal: Reason | None = None
    challenge: bool = False
    opt_in: OptIn | None = None
    client_name: str | None = None
    subject: str | None = None
    claims: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """Proxy credentials as read from their field; an empty token names the conversation only."""

    conversation: str | None
    token: str = field(repr=False)


def identify(policy: Policy, presented: Presented) -> Identity:
    """Return the identity of a client under a policy; an unknown client has a refusal and no group."""
    client = str(presented.peer)
    challenge = any(entry.kind in (Credential.TOKEN, Credential.JWT) for entry in policy.clients)
    secret = read_secret(presented.authorization) if presented.authorization is not None else Secret(None, "")
    if not challenge:  # nothing here takes credentials: they are ignored, but for the conversation that they name
        secret = Secret(secret.conversation if secret else None, "")
    if secret is None:
        return Identity(client=client, refusal=Reason.BAD_CREDENTIALS, challenge=challenge)
    if not secret.token:
        found = _by_connection(policy, presented)
    elif presented.claims is not None:
        found = _by_claims(policy, presented.claims)
    else:
        found = _by_token(policy, secret.token)
    if found is None:
        refusal = Reason.BAD_CREDENTIALS if secret.token else Reason.UNKNOWN_CLIENT
        return Identity(client=client, refusal=refusal, challenge=challenge)
    entry, group, credential = found
    if group is None or group not in policy.groups:
        return Identity(client=client, credential=credential, refusal=Reason.UNKNOWN_CLIENT)
    return Identity(
        group=group,
        conversation=secret.conversation,
        client=client,
        credential=credential,
        opt_in=entry.opt_in,
        client_name=entry.name,
    )


_Found = tuple[ClientEntry, str | None, str]


def _by_token(policy: Policy, token: str) -> _Found | None:
    """Find the entry of a token by its digest.

    Comparing need not take constant time: what a client could learn of a digest by the time that it takes tells nothing
    of the token, and no digest can be chosen without one.
    """
    found = policy.tokens.get(hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest())
    return (found, found.group, credential_of(found)) if found else None


def credential_of(entry: ClientEntry, subject: object = None) -> str:
    """Return the stable label of what an entry identifies by, as opt-ins are bound to it; never a secret.

    Args:
        entry: of `clients`.
        subject: the `sub` of a JWT, which is one client of many; other entries have none.

    Example:
        >>> credential_of(entry)  # doctest: +SKIP
        'certificate:spiffe://example.org/ns/agents/sa/bot'
    """
    match entry.kind:
        case Credential.TOKEN:
            # Half of the digest of the digest: stable, and of no use to one who has read log and configuration.
            return f"token:{hashlib.sha256((entry.token_sha256 or '').encode()).hexdigest()[:16]}"
        case Credential.JWT:
            return f"jwt:{entry.issuer}:{subject}"
        case Credential.CERTIFICATE:
            return f"certificate:{entry.certificate}"
        case Credential.SOURCE:
            return f"source:{entry.source}"
    return "anyone"


def _by_claims(policy: Policy, claims: Claims) -> _Found | None:
    """Find the first entry with the token's issuer, audience and keys that maps it to a group."""
    subject = claims.values.get("sub")
    fitting = [entry for entry in policy.clients if trusts(entry, claims.values) and entry.jwks == claims.jwks]
    for entry in fitting:
        group = _claimed_group(policy, entry, claims.values)
        if group is not None:
            return entry, group, credential_of(entry, subject)
    return (fitting[0], None, credential_of(fitting[0], subject)) if fitting else None


def trusts(entry: ClientEntry, claims: Mapping[str, object]) -> bool:
    """Tell whether an entry is about tokens of this issuer and audience (RFC 7519 4.1.1, 4.1.3)."""
    if entry.kind is not Credential.JWT or not entry.issuer or not entry.audience:
        return False
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    return claims.get("iss") == entry.issuer and entry.audience in audiences


def _claimed_group(policy: Policy, entry: ClientEntry, claims: Mapping[str, object]) -> str | None:
    """Return the group that a token's claim names, or its nearest ancestor that has a policy."""
    if entry.group_claim is None:
        return entry.group
    value = claims.get(entry.group_claim)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    path = entry.group_map.get(str(value)) if entry.group_map else str(value)
    while path and path not in policy.groups:
        path = path.rpartition("/")[0]
    return path if path and within(path, entry.group) else None


def _by_connection(policy: Policy, presented: Presented) -> _Found | None:
    """Find the entry of a client without a secret: its certificate, then where it comes from, then `anyone`."""
    peer, names = presented.peer, presented.certificate_names
    for name in names:
        for entry in policy.clients:
            if entry.certificate == name:
                return entry, entry.group, credential_of(entry)
    networks = [entry for entry in policy.clients if entry.source is not None and _comes_from(peer, entry)]
    if networks:
        entry = max(networks, key=lambda each: each.source.prefixlen if each.source else 0)
        return entry, entry.group, credential_of(entry)
    for entry in policy.clients:
        if entry.kind is Credential.ANYONE:
            return entry, entry.group, credential_of(entry)
    return None


def _comes_from(peer: Address, entry: ClientEntry) -> bool:
    mapped = getattr(peer, "ipv4_mapped", None)
    address = peer if mapped is None else mapped
    return entry.source is not None and address.version == entry.source.version and address in entry.source


def read_secret(authorization: str) -> Secret | None:
    """Read Basic (RFC 7617) or Bearer (RFC 6750) credentials; None when malformed."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip(" ")
    if scheme.isascii() and scheme.lower() == "bearer" and value:
        return Secret(None, value)
    if not scheme.isascii() or scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    if not colon or _CONTROL.search(user + password):
        return None
    return Secret(user or None, password)

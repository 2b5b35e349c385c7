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
from outward.core.claims import Claims, Scalar, claimed_group, recorded, subject_of
from outward.core.model import ClientEntry, Credential, OptIn
from outward.core.policy import Policy
from outward.core.reasons import Reason

_PROOFS = (Credential.TOKEN, Credential.JWT, Credential.CERTIFICATE)
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]+")  # of a SPIFFE ID's path (SPIFFE-ID 2.2)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # in neither part of Basic credentials (RFC 7617 2)


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
        subject: who it is to its issuer: the `sub` of its JWT, or the name in its certificate; None if nobody says.
        claims: those of its JWT that are recorded, with their names.
        proven: it has shown what no other client has, a token or a certificate, rather than come from somewhere.
        why: why a token that is good is refused all the same, in words; empty otherwise.
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
    proven: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """What identified a client.

    Attributes:
        group: path of its group; None if its token names none.
        why: what the token lacks.
    """

    entry: ClientEntry
    group: str | None
    subject: str | None = None
    claims: Claims | None = None
    why: str = ""

    @property
    def credential(self) -> str:
        """The stable label."""
        return credential_of(self.entry, self.subject if self.claims is None else self.claims.values.get("sub"))


@dataclass(frozen=True, slots=True)
class Secret:
    """Proxy credentials as read from their field; an empty token names the conversation only."""

    conversation: str | None
    token: str = field(repr=False)


def identify(policy: Policy, presented: Presented) -> Identity:
    """Return the identity of a client under a policy; an unknown client has a refusal and no group.

    Example:
        >>> entry = ClientEntry(Credential.SOURCE, Place("p.yaml", 1), "dev", source=ip_network("10.0.0.0/8"))
        >>> identify(policy(clients=[entry]), Presented(ip_address("10.0.0.7"))).group
        'dev'
    """
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
    known = found.group is not None and found.group in policy.groups
    return Identity(
        group=found.group if known else None,
        conversation=secret.conversation if known else None,
        client=client,
        credential=found.credential,
        refusal=None if known else Reason.UNKNOWN_CLIENT,
        opt_in=found.entry.opt_in,
        client_name=found.entry.name,
        subject=found.subject,
        claims=() if found.claims is None else recorded(found.entry, found.claims.values),
        proven=known and found.entry.kind in _PROOFS,
        why=found.why,
    )


def _by_token(policy: Policy, token: str) -> _Found | None:
    """Find the entry of a token by its digest.

    Comparing need not take constant time: what a client could learn of a digest by the time that it takes tells nothing
    of the token, and no digest can be chosen without one.
    """
    found = policy.tokens.get(hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest())
    return _Found(found, found.group) if found else None


def credential_of(entry: ClientEntry, subject: object = None) -> str:
    """Return the stable label of what an entry identifies by, as opt-ins are bound to it; never a secret.

    Args:
        entry: of `clients`.
        subject: the `sub` of a JWT, or the name in a certificate, where the entry is for many; other entries have none.

    Example:
        >>> credential_of(ClientEntry(Credential.CERTIFICATE, Place("p.yaml", 1), certificate="spiffe://x.example/bot"))
        'certificate:spiffe://x.example/bot'
    """
    match entry.kind:
        case Credential.TOKEN:
            # Half of the digest of the digest: stable, and of no use to one who has read log and configuration.
            return f"token:{hashlib.sha256((entry.token_sha256 or '').encode()).hexdigest()[:16]}"
        case Credential.JWT:
            return f"jwt:{entry.issuer}:{subject}"
        case Credential.CERTIFICATE:
            return f"certificate:{subject or entry.certificate}"
        case Credential.SOURCE:
            return f"source:{entry.source}"
    return "anyone"


def _by_claims(policy: Policy, claims: Claims) -> _Found | None:
    """Find the first entry with the token's issuer, audience and keys that maps it to a group."""
    subject = subject_of(claims.values)
    first: _Found | None = None
    for entry in policy.clients:
        if trusts(entry, claims.values) and entry.jwks == claims.jwks:
            group, why = claimed_group(policy, entry, claims.values)
            found = _Found(entry, group, subject, claims, why)
            if group is not None:
                return found
            first = first or found
    return first


def trusts(entry: ClientEntry, claims: Mapping[str, object]) -> bool:
    """Tell whether an entry is about tokens of this issuer and audience (RFC 7519 4.1.1, 4.1.3).

    Example:
        >>> entry = ClientEntry(Credential.JWT, Place("p.yaml", 1), issuer="https://idp.example", audience="outward")
        >>> trusts(entry, {"iss": "https://idp.example", "aud": ["outward", "other"]})
        True
    """
    if entry.kind is not Credential.JWT or not entry.issuer or not entry.audience:
        return False
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    return claims.get("iss") == entry.issuer and entry.audience in audiences


def _by_connection(policy: Policy, presented: Presented) -> _Found | None:
    """Find the entry of a client without a secret: its certificate, then where it comes from, then `anyone`."""
    peer = presented.peer
    if presented.certificate_names and (found := _by_name(policy, presented.certificate_names)):
        return found
    networks = [entry for entry in policy.clients if entry.source is not None and _comes_from(peer, entry)]
    if networks:
        entry = max(networks, key=lambda each: each.source.prefixlen if each.source else 0)
        return _Found(entry, entry.group)
    for entry in policy.clients:
        if entry.kind is Credential.ANYONE:
            return _Found(entry, entry.group)
    return None


def _by_name(policy: Policy, names: tuple[str, ...]) -> _Found | None:
    """Find the entry of a certificate's name: one that is written out, else a pattern; its first name counts first."""
    for named in (_is_named, _is_like):
        for name in names:
            for entry in policy.clients:
                if entry.certificate is not None and named(entry.certificate, name):
                    return _Found(entry, entry.group, name)
    return None


def _is_named(written: str, name: str) -> bool:
    return written == name and not is_pattern(written)


def _is_like(written: str, name: str) -> bool:
    """Tell whether a name has one segment of a SPIFFE ID where a pattern has its star, and is the same before it."""
    return is_pattern(written) and name.startswith(written[:-1]) and bool(_SEGMENT.fullmatch(name[len(written) - 1 :]))


def is_pattern(certificate: str) -> bool:
    """Tell whether a certificate's name in the policy stands for many: a SPIFFE ID that ends in `/*`.

    Example:
        >>> is_pattern("spiffe://example.org/ns/agents/sa/*")
        True
    """
    return certificate.startswith("spiffe://") and certificate.endswith("/*") and "*" not in certificate[:-1]


def _comes_from(peer: Address, entry: ClientEntry) -> bool:
    mapped = getattr(peer, "ipv4_mapped", None)
    address = peer if mapped is None else mapped
    return entry.source is not None and address.version == entry.source.version and address in entry.source


def read_secret(authorization: str) -> Secret | None:
    """Read Basic (RFC 7617) or Bearer (RFC 6750) credentials; None when malformed.

    Example:
        >>> read_secret("Basic dXNlcjpwYXNz")
        Secret(conversation='user')
    """
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

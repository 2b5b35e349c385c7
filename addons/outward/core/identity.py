"""Who a client is: from what it presents to a group. Pure; verification of signatures happens before.

Precedence: proxy credentials, client certificate, source network, `anyone`. Whatever is presented and wrong is refused,
never skipped.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from outward.core.addresses import Address
from outward.core.model import ClientEntry, Credential, OptIn
from outward.core.policy import Policy
from outward.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Presented:
    """What a client shows.

    Attributes:
        peer: the address that it connects from.
        authorization: value of its Proxy-Authorization field, or None.
        claims: the claims of a Bearer JWT whose signature, issuer, audience and time have been verified, or None.
        certificate_names: SPIFFE URIs and DNS names of its verified client certificate.
    """

    peer: Address
    authorization: str | None = None
    claims: Mapping[str, object] | None = None
    certificate_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of a client.

    Attributes:
        group: path of its group; None when it was refused.
        conversation: as named by the Basic username, or None.
        client: a label for the log: how it was identified, never a secret.
        refusal: why it was refused, or None.
        challenge: whether credentials would help (a 407 instead of a 403).
        opt_in: the client entry's own opt-in setting, or None.
    """

    group: str | None = None
    conversation: str | None = None
    client: str = ""
    refusal: Reason | None = None
    challenge: bool = False
    opt_in: OptIn | None = None


@dataclass(frozen=True, slots=True)
class _Secret:
    conversation: str | None
    token: str = field(repr=False)


def identify(policy: Policy, presented: Presented) -> Identity:
    """Return the identity of a client under a policy; an unknown client has a refusal and no group."""
    challenge = any(entry.kind in (Credential.TOKEN, Credential.JWT) for entry in policy.clients)
    secret = _secret(presented.authorization) if presented.authorization is not None else None
    if presented.authorization is not None and secret is None:
        return Identity(refusal=Reason.BAD_CREDENTIALS, challenge=challenge)
    conversation = secret.conversation if secret else None
    if secret is not None and secret.token:
        entry, group = _by_secret(policy, secret.token)
        if entry is None or group is None:
            return Identity(refusal=Reason.BAD_CREDENTIALS, challenge=challenge)
        return _known(entry, group, conversation, str(presented.peer))
    for entry in policy.clients:
        if entry.kind is Credential.CERTIFICATE and entry.certificate in presented.certificate_names:
            return _known(entry, entry.group, conversation, str(presented.peer))
    for entry in policy.clients:
        network = entry.source
        if network is not None and presented.peer.version == network.version and presented.peer in network:
            return _known(entry, entry.group, conversation, str(presented.peer))
    for entry in policy.clients:
        if entry.kind is Credential.ANYONE:
            return _known(entry, entry.group, conversation, str(presented.peer))
    return Identity(refusal=Reason.UNKNOWN_CLIENT, challenge=challenge)


def _known(entry: ClientEntry, group: str | None, conversation: str | None, client: str) -> Identity:
    return Identity(group=group, conversation=conversation, client=client, opt_in=entry.opt_in)


def _by_secret(policy: Policy, token: str) -> tuple[ClientEntry | None, str | None]:
    """Find the entry of a token; every entry is compared, in constant time, whatever was found before."""
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    found: ClientEntry | None = None
    for entry in policy.clients:
        if entry.token_sha256 is not None and hmac.compare_digest(digest, entry.token_sha256) and found is None:
            found = entry
    return found, found.group if found else None


def _secret(authorization: str) -> _Secret | None:
    """Read Basic (RFC 7617) or Bearer (RFC 6750) credentials; None when malformed."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip(" ")
    if scheme.isascii() and scheme.lower() == "bearer" and value:
        return _Secret(None, value)
    if not scheme.isascii() or scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return _Secret(user or None, password) if colon else None

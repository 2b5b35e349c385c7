"""Which of the configured roles a person has, by the claims of the provider. Values in, names out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SHOWN = 100  # characters of a name


def held(claims: Mapping[str, Any], path: Sequence[str], roles: Iterable[str]) -> tuple[str, ...]:
    """Return those of the configured roles that a claim names, in the configuration's order.

    A claim is a text, or a list of which the texts count; anything else names nothing.

    >>> held({"realm_access": {"roles": ["platform", 7]}}, ["realm_access", "roles"], ["audit", "platform"])
    ('platform',)
    """
    value: Any = claims
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    named = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    found = {each for each in named if isinstance(each, str)}
    return tuple(role for role in roles if role in found)


def left_out(claims: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Tell whether the provider left a claim out because it is too long (OpenID Connect Core 1.0, 5.6.2)."""
    elsewhere = claims.get("_claim_names")
    return isinstance(elsewhere, Mapping) and path[0] in elsewhere


def called(claims: Mapping[str, Any]) -> str:
    """Return how a person is called in lists and in the audit log: by address, by name, or by `sub`."""
    address = claims.get("email") if claims.get("email_verified", True) is True else None
    for value in (address, claims.get("preferred_username"), claims.get("sub")):
        if isinstance(value, str) and value.isprintable() and value.strip():
            return value.strip()[:SHOWN]
    return "unnamed"

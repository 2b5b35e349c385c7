"""Claims of verified tokens (RFC 7519): found by path, mapped to a group, cut down to what is recorded. Pure.

A claim is its issuer's word. It chooses among the groups that the policy has, and never makes a path of its own.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from outward.core.model import ClientEntry
from outward.core.policy import Policy, within

type Scalar = str | int | float | bool

PLACEHOLDER = "{claim}"
MAX_NUMBER = 2**53  # beyond it, readers of JSON disagree about a number (RFC 8259 6)
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,255}")


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of a JWT whose signature and times have been verified.

    Attributes:
        values: the claim set.
        jwks: the key set that verified it, as the `clients` entry names it: another entry's keys do not count.
    """

    values: Mapping[str, object] = field(repr=False)
    jwks: str


def claim(values: Mapping[str, object], path: tuple[str, ...]) -> object:
    """Return the value at a path of keys, one for each level; None if there is none.

    Example:
        >>> claim({"kubernetes.io": {"namespace": "agents"}}, ("kubernetes.io", "namespace"))
        'agents'
    """
    found: object = values
    for key in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def subject_of(values: Mapping[str, object]) -> str | None:
    """Return who a token is about (RFC 7519 4.1.2); None if it does not say so in a text.

    Example:
        >>> subject_of({"sub": "agent-7"}), subject_of({"sub": 7})
        ('agent-7', None)
    """
    subject = values.get("sub")
    return subject if isinstance(subject, str) and subject else None


def claimed_group(policy: Policy, entry: ClientEntry, values: Mapping[str, object]) -> tuple[str | None, str]:
    """Return the group that an entry gives a token, or None; and why there is none, in words.

    With a template such as `k8s/{claim}`, the claim is one segment, and the group is that one and no other; so it is
    with a map. Otherwise the claim is a path, and its nearest ancestor that the policy has counts, inside the own group
    of an entry with one. What is given away to confined files has no such ancestor: where they do not write a group,
    nobody is in one above it instead, which may allow more.

    Example:
        >>> entry = ClientEntry(Credential.JWT, Place("p.yaml", 1), group_claim=("team",))
        >>> claimed_group(policy(), entry, {"team": "dev/nightly"})
        ('dev', '')
    """
    if entry.group_claim is None:
        return entry.group, ""
    named = " / ".join(entry.group_claim)
    value = claim(values, entry.group_claim)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None, f"the token has no claim `{named}` that is a text or a whole number"
    if entry.template is not None:
        return _filled(policy, entry.template, named, str(value))
    path = entry.group_map.get(str(value), "") if entry.group_map else _nearest(policy, str(value))
    if path in policy.groups and within(path, entry.group):
        return path, ""
    return None, f"the claim `{named}` of the token names no group of this policy that it may name"


def _nearest(policy: Policy, path: str) -> str:
    while path and path not in policy.groups and not policy.given_away(path):
        path = path.rpartition("/")[0]
    return path


def _filled(policy: Policy, template: str, named: str, value: str) -> tuple[str | None, str]:
    """Fill in a template. A value without a slash cannot leave its segment, and only groups that exist are returned."""
    if not _SEGMENT.fullmatch(value):
        return None, f"the claim `{named}` of the token is not one name of letters, digits, `_`, `.` and `-`"
    path = template.replace(PLACEHOLDER, value)
    return (path, "") if path in policy.groups else (None, f"no group is named `{path}`, as the token's claim has it")


def recorded(entry: ClientEntry, values: Mapping[str, object]) -> tuple[tuple[str, Scalar], ...]:
    """Return the claims that an entry has recorded, by their names (keys of a path joined by a dot).

    Texts, numbers and truth values only; everything else is left out, and so is a number that JSON does not carry.

    Example:
        >>> entry = ClientEntry(Credential.JWT, Place("p.yaml", 1), record_claims=(("k8s", "pod"), ("roles",)))
        >>> recorded(entry, {"k8s": {"pod": "agent-7"}, "roles": ["a", "b"]})
        (('k8s.pod', 'agent-7'),)
    """
    found = ((".".join(path), _scalar(claim(values, path))) for path in entry.record_claims)
    return tuple((name, value) for name, value in found if value is not None)


def _scalar(value: object) -> Scalar | None:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_NUMBER else None
    return value if isinstance(value, float) and math.isfinite(value) else None

"""Narrowing: from policy, deny rules and the caller's own filter to the domain list that a vendor is sent.

Owns the promise that what is sent never covers more than the policy's scope and the caller asked for. Vendors read an
entry as "this name and everything below"; an empty list is never sent, because vendors read it as no filter at all.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from outward.config.suffixes import is_public_suffix, registrable
from outward.core.names import MalformedHostError, canonical_host
from outward.core.paths import OddPathError, normal_path
from outward.search.scope import Scope, covers, suffixes


@dataclass(frozen=True, slots=True)
class FilterCapabilities:
    """What a vendor's filter can say.

    Attributes:
        limit: most entries; None if the vendor documents none.
        blocks: whether there is a field for blocked domains.
        paths: whether an entry may have a path prefix.
        registrable: whether entries must be registrable domains.
    """

    limit: int | None = None
    blocks: bool = False
    paths: bool = False
    registrable: bool = False


class Inexpressible(StrEnum):
    """Why an entry is not sent."""

    MALFORMED = "malformed"
    PUBLIC_SUFFIX = "public_suffix"
    NOT_ALLOWED = "not_allowed"
    SUBDOMAINS_NOT_ALLOWED = "subdomains_not_allowed"
    TOUCHES_DENY = "touches_deny"
    PATH_NOT_SUPPORTED = "path_not_supported"
    NOT_REGISTRABLE = "not_registrable"
    CALLER_BLOCKS = "caller_blocks"
    VENDOR_REFUSES = "vendor_refuses"


@dataclass(frozen=True, slots=True)
class Dropped:
    """An entry that is not sent, why, and the policy line that would make it sayable."""

    entry: str
    why: Inexpressible
    line: str | None = None


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What to send.

    Attributes:
        allowed: the allow list, sorted; empty means that none can be sent.
        blocked: the block list, sorted; only where the policy allows every public host.
        unrestricted: no allow list is needed: the policy allows every public host.
        sayable: whether the policy can be said at all; False means that the tool is unfilterable.
        truncated: how many entries the vendor's limit cost.
        dropped: the caller's entries that were not sent.
    """

    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    unrestricted: bool = False
    sayable: bool = True
    truncated: int = 0
    dropped: tuple[Dropped, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether no source is left to search."""
        return self.sayable and not self.allowed and not self.unrestricted


@dataclass(frozen=True, slots=True, order=True)
class _Entry:
    host: str
    path: str = ""

    def __str__(self) -> str:
        return self.host + self.path

    def within(self, other: "_Entry") -> bool:
        """Tell whether another entry already stands for everything that this one stands for."""
        if not covers(other.host, self.host):
            return False
        return not other.path or (other.host == self.host and self.path.startswith(other.path))


class BlockListError(ValueError):
    """An entry of the caller's block list cannot be understood, so that subtracting it is impossible."""


def narrow(
    scope: Scope,
    language: FilterCapabilities,
    allow: Sequence[object] | None = None,
    block: Sequence[object] = (),
    avoid: Container[str] = (),
) -> Narrowed:
    """Intersect a group's scope with the caller's own filter, in a vendor's language.

    Args:
        scope: what the group may search.
        language: what the vendor's filter can say.
        allow: the caller's allow list as it stands in the request; None if there is none.
        block: the caller's block list as it stands in the request.
        avoid: names that the vendor itself refuses.

    Raises:
        BlockListError: when an entry of `block` does not parse.
    """
    minus = tuple(_blocked_host(text) for text in block)
    if allow is None and scope.unrestricted:
        return _by_blocking(scope, language, minus)
    dropped: list[Dropped] = []
    asked = None if allow is None else tuple(_asked(scope, language, allow, dropped))
    bearing = _Bearing(minus)
    names = frozenset() if asked is None else frozenset(entry.host for entry in asked if not entry.path)
    first = [] if asked is None else [entry for entry in asked if _keeps(entry, bearing, avoid, dropped)]
    first = [entry for entry in first if _sendable(scope, language, entry, dropped)]
    pool = (_Entry(name) for name in scope.candidates if asked is None or _below_any(name, names))
    rest = [e for e in pool if _keeps(e, bearing, avoid, None) and _sendable(scope, language, e, None)]
    ordered = _maximal(first, rest)
    kept = ordered if language.limit is None else ordered[: language.limit]
    return Narrowed(
        allowed=tuple(sorted(str(entry) for entry in kept)),
        truncated=len(ordered) - len(kept),
        dropped=tuple(dropped),
    )


def _by_blocking(scope: Scope, language: FilterCapabilities, minus: tuple[str, ...]) -> Narrowed:
    """Say "everything but": the only way where every public host is allowed and the caller names no list."""
    if scope.denied.lists:
        return Narrowed(sayable=False)  # more names than any filter takes
    wanted = {*minus, *scope.denied.bases}
    least = sorted(name for name in wanted if not any(a in wanted for a in suffixes(name) if a != name))
    too_long = language.limit is not None and len(least) > language.limit
    if least and (not language.blocks or too_long):
        return Narrowed(sayable=False)
    return Narrowed(blocked=tuple(least), unrestricted=True)


def parse_entry(text: object) -> tuple[str, str]:
    """Split an entry of a vendor's filter into canonical host and normal path prefix (empty without one).

    Raises:
        ValueError: for a scheme, a port, an address, a single label, a wildcard, a query, or an odd path.
    """
    if not isinstance(text, str):
        raise TypeError("not a string")
    authority, slash, rest = text.strip().partition("/")
    try:
        host = canonical_host(authority)
        path = normal_path("/" + rest) if slash else ""
    except (MalformedHostError, OddPathError) as error:
        raise ValueError("not a domain") from error
    if host.address is not None or "." not in host.name or "?" in path:
        raise ValueError("not a domain")
    return host.name, "" if path == "/" else path


def _blocked_host(text: object) -> str:
    """Read an entry of the caller's block list; one with a path widens to its host."""
    try:
        return parse_entry(text)[0]
    except (TypeError, ValueError) as error:
        raise BlockListError(str(text)[:100]) from error


def _asked(
    scope: Scope, language: FilterCapabilities, allow: Iterable[object], dropped: list[Dropped]
) -> Iterator[_Entry]:
    """Yield the caller's entries that parse and that the vendor's language has."""
    for text in allow:
        try:
            host, path = parse_entry(text)
        except (TypeError, ValueError):
            dropped.append(Dropped(str(text)[:255], Inexpressible.MALFORMED))
            continue
        if path and not language.paths:
            dropped.append(Dropped(host + path, Inexpressible.PATH_NOT_SUPPORTED))
        elif not scope.unrestricted and is_public_suffix(host):
            dropped.append(Dropped(host, Inexpressible.PUBLIC_SUFFIX))
        else:
            yield _Entry(host, path)


class _Bearing:
    """The caller's block list, asked at the cost of an entry's labels: the caller chooses the length of both lists."""

    def __init__(self, blocked: Iterable[str]) -> None:
        self._blocked = frozenset(blocked)
        self._above = frozenset(above for name in self._blocked for above in suffixes(name))

    def on(self, host: str) -> bool:
        """Tell whether a blocked name covers a host, or lies below it."""
        return host in self._above or any(above in self._blocked for above in suffixes(host))


def _keeps(entry: _Entry, bearing: _Bearing, avoid: Container[str], dropped: list[Dropped] | None) -> bool:
    """Tell whether neither the caller's block list nor the vendor's refusals bear on an entry."""
    why: Inexpressible | None = None
    if bearing.on(entry.host):
        why = Inexpressible.CALLER_BLOCKS
    elif any(above in avoid for above in suffixes(entry.host)):
        why = Inexpressible.VENDOR_REFUSES
    if why is not None and dropped is not None:
        dropped.append(Dropped(str(entry), why))
    return why is None


def _sendable(scope: Scope, language: FilterCapabilities, entry: _Entry, dropped: list[Dropped] | None) -> bool:
    found = unsaid(scope, language, entry.host)
    if found is not None and dropped is not None:
        dropped.append(Dropped(str(entry), found.why, found.line))
    return found is None


def unsaid(scope: Scope, language: FilterCapabilities, name: str) -> Dropped | None:
    """Return why a name cannot be sent as a suffix, or None if it can."""
    if scope.denied.touches(name):
        return Dropped(name, Inexpressible.TOUCHES_DENY)
    if not scope.unrestricted and is_public_suffix(name):
        return Dropped(name, Inexpressible.PUBLIC_SUFFIX)
    if not scope.top(name):
        return Dropped(name, Inexpressible.NOT_ALLOWED, f"- {name}")
    if not scope.sound(name):
        return Dropped(name, Inexpressible.SUBDOMAINS_NOT_ALLOWED, f'- "*.{name}"')
    if language.registrable and registrable(name) != name:
        return Dropped(name, Inexpressible.NOT_REGISTRABLE, f"- {registrable(name) or name}")
    return None


def _below_any(name: str, asked: Container[str]) -> bool:
    """Tell whether a name lies strictly below one of the caller's names; below a path nothing lies."""
    return any(above in asked for above in suffixes(name) if above != name)


def _maximal(first: Iterable[_Entry], rest: Iterable[_Entry]) -> list[_Entry]:
    """Drop what another entry stands for; the caller's come first, so that a limit costs the others."""
    ordered = list(dict.fromkeys((*sorted(first), *sorted(rest))))
    plain = {entry.host for entry in ordered if not entry.path}
    within = set[_Entry]()
    wider: _Entry | None = None
    for entry in sorted(entry for entry in ordered if entry.path):  # what is within another sorts right behind it
        if wider is not None and entry.within(wider):
            within.add(entry)
        else:
            wider = entry

    def redundant(entry: _Entry) -> bool:
        above = set(suffixes(entry.host)) - (set() if entry.path else {entry.host})
        return bool(above & plain) or entry in within

    return [entry for entry in ordered if not redundant(entry)]

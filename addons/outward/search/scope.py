"""The scope of a group's searches: what its policy allows, forbids and can say in a vendor's suffix language.

Compiled once for a policy and group, and keeps what vendors taught about it. A *suffix* `d` stands for d and every name
below it, which is how vendors read their domain filters; our own patterns are exact. Never reads a request.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import urlsplit

from outward.core.decide import decide
from outward.core.hostlist import HostList
from outward.core.model import Filter, LaneChoice, Pattern, PatternKind, Question, Rule, WebSearch
from outward.core.names import MalformedHostError, is_local_name, parse_authority
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules, listed
from outward.search.learned import Learned

_SEARCH_PORT = 443
_WEB_PORTS = frozenset({80, _SEARCH_PORT})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPELT_OUT = 1_000  # a longer list of names is asked, and none of its names goes into a filter


def suffixes(name: str) -> Iterator[str]:
    """Yield a name and every name above it, the longest first."""
    yield name
    _, dot, rest = name.partition(".")
    while dot:
        yield rest
        _, dot, rest = rest.partition(".")


def covers(suffix: str, name: str) -> bool:
    """Tell whether a vendor's entry stands for a name: the name itself or one above it."""
    return name == suffix or name.endswith("." + suffix)


def expressible(rule: Rule) -> bool:
    """Tell whether an allow rule permits a plain GET of the whole host over port 443."""
    return (
        rule.paths is None
        and (rule.methods is None or "GET" in rule.methods)
        and (rule.ports is None or _SEARCH_PORT in rule.ports)
    )


def unseen(rule: Rule) -> bool:
    """Tell whether an allow rule permits whatever goes to its hosts over port 443, so that nobody must look at it."""
    return expressible(rule) and not rule.needs_sight


def _bears(rule: Rule) -> bool:
    """Tell whether a deny rule bears on the web."""
    return rule.ports is None or bool(rule.ports & _WEB_PORTS)


def _patterns(rule: Rule) -> Iterator[Pattern]:
    """Yield a rule's pattern, or those of a short list of names."""
    names = rule.pattern.names
    if names is None:
        yield rule.pattern
    elif names.length <= _SPELT_OUT:
        yield from map(listed, names.entries())


def _long(rule: Rule) -> Iterator[HostList]:
    names = rule.pattern.names
    if names is not None and names.length > _SPELT_OUT:
        yield names


@dataclass(frozen=True, slots=True)
class Names:
    """The expressible part of one allow list or ceiling."""

    exact: frozenset[str]
    below: frozenset[str]
    any: bool
    lists: tuple[HostList, ...] = ()

    @staticmethod
    def of(rules: Iterable[Rule], policy: Policy, fits: Callable[[Rule], bool]) -> "Names":
        """Collect the names of the rules that fit and hold today."""
        exact, below, everything = set[str](), set[str](), False
        counting = [rule for rule in rules if fits(rule) and not policy.expired(rule)]
        for pattern in (pattern for rule in counting for pattern in _patterns(rule)):
            kind, value = pattern.kind, pattern.value
            if kind in (PatternKind.EXACT, PatternKind.SUFFIX):
                exact.add(value)
            if kind in (PatternKind.BELOW, PatternKind.SUFFIX):
                below.add(value)
            elif kind is PatternKind.ANY:
                everything = True
        lists = tuple(names for rule in counting for names in _long(rule))
        return Names(frozenset(exact), frozenset(below), everything, lists)

    def top(self, name: str) -> bool:
        """Tell whether the name itself is in the list."""
        if name in self.exact or (self.any and not is_local_name(name)):
            return True
        below = any(above in self.below for above in suffixes(name) if above != name)
        return below or any(names.matching(name) for names in self.lists)

    def under(self, name: str) -> bool:
        """Tell whether every name below the name is in the list."""
        if (self.any and not is_local_name(name)) or any(above in self.below for above in suffixes(name)):
            return True
        return any(names.matching(f"*.{name}") for names in self.lists)


@dataclass(frozen=True, slots=True)
class Denied:
    """The deny rules as suffixes: one with paths or methods counts as denying its host."""

    bases: tuple[str, ...]
    below: frozenset[str]
    touched: frozenset[str]
    everything: bool
    lists: tuple[HostList, ...] = ()

    @staticmethod
    def of(rules: Iterable[Rule]) -> "Denied":
        """Collect the deny rules that bear on a search."""
        bases, below, everything = set[str](), set[str](), False
        bearing = [rule for rule in rules if _bears(rule)]
        for pattern in (pattern for rule in bearing for pattern in _patterns(rule)):
            kind, value = pattern.kind, pattern.value
            everything = everything or kind is PatternKind.ANY
            if kind in (PatternKind.EXACT, PatternKind.BELOW, PatternKind.SUFFIX):
                bases.add(value)
            if kind in (PatternKind.BELOW, PatternKind.SUFFIX):
                below.add(value)
        touched = frozenset(above for base in bases for above in suffixes(base))
        lists = tuple(names for rule in bearing for names in _long(rule))
        return Denied(tuple(sorted(bases)), frozenset(below), touched, everything, lists)

    def touches(self, name: str) -> bool:
        """Tell whether a deny rule matches the name, something below it, or covers it from above."""
        if self.everything or name in self.touched or any(above in self.below for above in suffixes(name)):
            return True
        return any(names.touches(name) for names in self.lists)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the exact policy says of one URL."""

    permitted: bool
    reason: Reason


class Scope:
    """What one group may search, under one policy generation and one value of its search settings.

    Attributes:
        mode: `strict` or `covering`.
        denied: the deny rules of the whole chain.
        unrestricted: whether every public host is allowed, deny rules aside.
    """

    def __init__(self, policy: Policy, group: Group, settings: WebSearch) -> None:
        self.mode = settings.filter
        self._stated, self._vendor_of = settings.sources is not None, policy.vendor_of
        self._group = group if settings.sources is None else _with_sources(group, settings.sources)
        self._search_policy = replace(policy, groups={group.path: self._group}, clients=())
        self._connect_policy = replace(policy, groups={group.path: group}, clients=())
        self.rules = tuple(rule for node in self._group.chain for rule in node.allow.all)
        # What a machine at a vendor does is as unseen as what goes through a tunnel.
        self._unseen_policy = replace(policy, groups={group.path: replace(group, lane=LaneChoice.TUNNEL)}, clients=())
        self._layers = tuple(_layers(self._group, policy, expressible))
        self._connects = tuple(_layers(group, policy, unseen))
        self._learned: dict[str, Learned] = {}  # by the few governed hosts
        self.denied = Denied.of(rule for node in self._group.chain for rule in node.deny.all)
        self.unrestricted = not self.denied.everything and any(
            allow.any and all(ceiling.any for ceiling in ceilings) for allow, ceilings in self._layers
        )

    def learned(self, host: str) -> Learned:
        """Return what a governed host's answers have taught within this scope."""
        return self._learned.setdefault(host, Learned())

    def top(self, name: str) -> bool:
        """Tell whether the name itself may be searched, deny rules aside."""
        return any(
            allow.top(name) and all(ceiling.top(name) for ceiling in ceilings) for allow, ceilings in self._layers
        )

    def under(self, name: str) -> bool:
        """Tell whether every name below the name may be searched, deny rules aside."""
        return any(
            allow.under(name) and all(ceiling.under(name) for ceiling in ceilings) for allow, ceilings in self._layers
        )

    def sound(self, name: str) -> bool:
        """Tell whether a suffix may be sent: `covering` forgives what lies below an allowed host."""
        if self.denied.touches(name) or not self.top(name):
            return False
        return self.mode is Filter.COVERING or self.under(name)

    def searched(self, name: str) -> bool:
        """Tell whether a name is there to be searched: of vendors' own hosts, only one that a list of sources names."""
        return self._stated or self._vendor_of(name) is None

    @cached_property
    def candidates(self) -> tuple[str, ...]:
        """Every name that a list of the chain spells out and that may be sent, sorted."""
        names = {
            name
            for allow, ceilings in self._layers
            for part in (allow, *ceilings)
            for name in (*part.exact, *part.below)
        }
        return tuple(sorted(name for name in names if self.searched(name) and self.sound(name)))

    def source(self, url: str) -> Sight:
        """Judge a search result, citation or fetched page by the exact policy: host, port, path, deny."""
        return self._judge(self._search_policy, url)

    def reach(self, url: str, method: str = "GET") -> Sight:
        """Judge a URL that the vendor would fetch or call, like a request of the client's own."""
        return self._judge(self._connect_policy, url, method)

    @cached_property
    def machines(self) -> tuple[str, ...]:
        """What a machine at a vendor may reach because the group may: hosts, and `*.h` for all below h; sorted."""
        exact = {name for allow, _ in self._connects for name in allow.exact}
        below = {name for allow, _ in self._connects for name in allow.below}
        kept = {name for name in exact if self.opens(name)}
        return tuple(sorted(kept | {f"*.{name}" for name in below if self.below(name)}))

    def opens(self, name: str) -> bool:
        """Tell whether the group may send a host whatever it likes, and no deny rule names it, even in part."""
        try:
            host, port = parse_authority(name, _SEARCH_PORT)
        except MalformedHostError:
            return False
        if any(_bears(rule) for node in self._group.chain for rule in node.deny.for_host(host)):
            return False
        decision = decide(self._unseen_policy, Question(self._group.path, host, port))
        return decision.reason is Reason.RULE and port == _SEARCH_PORT and not decision.inject

    def below(self, name: str) -> bool:
        """Tell whether the group may send every name below the name whatever it likes."""
        return not self.denied.touches(name) and any(
            allow.under(name) and all(ceiling.under(name) for ceiling in ceilings) for allow, ceilings in self._connects
        )

    def _judge(self, policy: Policy, url: str, method: str = "GET") -> Sight:
        if _CONTROL.search(url):  # some readers drop them, some stop there: two hosts in one address
            return Sight(False, Reason.MALFORMED_HOST)
        try:
            parts = urlsplit(url)
            default = {"http": 80, "https": 443}.get(parts.scheme.lower())
            if default is None:
                return Sight(False, Reason.NO_RULE)
            host, port = parse_authority(parts.netloc, default)
        except (MalformedHostError, ValueError):
            return Sight(False, Reason.MALFORMED_HOST)
        decision = decide(policy, Question(self._group.path, host, port, method, parts.path or "/"))
        # Report mode never softens search governance: only a rule that matched permits.
        return Sight(decision.reason is Reason.RULE, decision.reason)


def _layers(group: Group, policy: Policy, fits: Callable[[Rule], bool]) -> Iterator[tuple[Names, tuple[Names, ...]]]:
    """Yield the allow list of each node of the chain with the ceilings that bound it."""
    chain = tuple(group.chain)
    ceilings = tuple(None if node.ceiling is None else Names.of(node.ceiling.all, policy, fits) for node in chain)
    for index, node in enumerate(chain):
        if node.allow.all:
            bounds = tuple(each for each in ceilings[index + 1 :] if each is not None)
            yield Names.of(node.allow.all, policy, fits), bounds


def _with_sources(group: Group, sources: tuple[Rule, ...]) -> Group:
    """Return a group whose allowlist is the sources list, under the same denies and the setter's ceilings."""
    setter = group
    while setter.parent is not None and setter.parent.web_search.sources == sources:
        setter = setter.parent
    above: Group | None = None
    for node in reversed(tuple(setter.chain)[1:]):
        above = Group(node.path, ceiling=node.ceiling, parent=above)
    denies = Rules(rule for node in group.chain for rule in node.deny.all)
    return Group(group.path, allow=Rules(sources), deny=denies, parent=above)


class Scopes:
    """The scopes of the policy in force; another policy gets a table of its own.

    A body may be judged in a thread while a reload puts another policy in force. Whoever began under the old one goes
    on with its table, and what is written there is never read under the new one.
    """

    def __init__(self) -> None:
        self._table = _Table(Policy())

    def of(self, policy: Policy, group: Group, settings: WebSearch) -> Scope:
        """Return the scope of a group, compiled at most once for a policy and settings."""
        table = self._table
        if table.policy is not policy:
            table = self._table = _Table(policy)
        known = table.scopes.get(group.path)
        if known is None or known[0] != settings:
            known = table.scopes[group.path] = (settings, Scope(policy, group, settings))
        return known[1]


@dataclass(frozen=True, slots=True)
class _Table:
    """The scopes of one policy, by group."""

    policy: Policy
    scopes: dict[str, tuple[WebSearch, Scope]] = field(default_factory=dict)

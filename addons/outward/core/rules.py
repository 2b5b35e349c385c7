"""Lists of rules, indexed by host. Owns which rules speak of a host, and in which order."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from outward.core.addresses import Address
from outward.core.hostlist import HostList, Listed
from outward.core.model import Pattern, PatternKind, Place, Rule
from outward.core.names import Host


class Rules:
    """An index of rules by host: look-up costs the number of labels, however long the list.

    Attributes:
        all: the rules in the order of the file.
        networks: whether any of them names addresses.
        needs_inspection: whether any of them judges more than host and port.

    Example:
        >>> rules = Rules([rule("*.a.example"), rule("x.a.example")])
        >>> [str(each.pattern) for each in rules.for_host(Host("x.a.example"))]
        ['x.a.example', '*.a.example']
        >>> rules.hold(Host("x.a.example"), 443), rules.hold(Host("x.a.example"), 22)
        (True, False)
    """

    __slots__ = ("_any", "_below", "_exact", "_lists", "_networks", "all", "needs_inspection", "networks")

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.all = tuple(rules)
        self.needs_inspection = any(rule.needs_sight for rule in self.all)
        self._exact: dict[str, tuple[Rule, ...]] = {}
        self._below: dict[str, tuple[Rule, ...]] = {}
        self._any: tuple[Rule, ...] = ()
        self._lists: tuple[tuple[Rule, HostList], ...] = ()
        self._networks: dict[tuple[int, int], dict[int, tuple[Rule, ...]]] = {}
        for rule in self.all:
            self._add(rule)
        self._networks = dict(sorted(self._networks.items(), reverse=True))  # longer prefixes are more specific
        self.networks = bool(self._networks)

    def _add(self, rule: Rule) -> None:
        pattern = rule.pattern
        if pattern.kind in (PatternKind.EXACT, PatternKind.SUFFIX):
            self._exact[pattern.value] = (*self._exact.get(pattern.value, ()), rule)
        if pattern.kind in (PatternKind.BELOW, PatternKind.SUFFIX):
            self._below[pattern.value] = (*self._below.get(pattern.value, ()), rule)
        elif pattern.kind is PatternKind.ANY:
            self._any = (*self._any, rule)
        elif pattern.names is not None:
            self._lists = (*self._lists, (rule, pattern.names))
        elif pattern.network is not None:  # nothing else is left; an empty pattern matches nothing
            network = pattern.network
            same = self._networks.setdefault((network.version, network.prefixlen), {})
            start = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            same[start] = (*same.get(start, ()), rule)

    def for_host(self, host: Host) -> Iterator[Rule]:
        """Yield the rules whose pattern matches a host, the most specific first; of a list, a rule for each entry."""
        if host.address is not None:
            yield from self._for_address(host.address)
            return
        yield from self._exact.get(host.name, ())
        if self._below:
            _, dot, base = host.name.partition(".")
            while dot:
                yield from self._below.get(base, ())
                _, dot, base = base.partition(".")
        for rule, names in self._lists:
            for entry in names.matching(host.name):
                yield replace(rule, pattern=listed(entry), place=Place(names.file, entry.line))
        yield from self._any

    def hold(self, host: Host, port: int) -> bool:
        """Tell whether any rule matches a host and a port, whatever else it says."""
        return any(rule.ports is None or port in rule.ports for rule in self.for_host(host))

    def _for_address(self, address: Address) -> Iterator[Rule]:
        for (version, prefix), starts in self._networks.items():
            if version == address.version:
                yield from starts.get(int(address) >> (address.max_prefixlen - prefix), ())


def listed(entry: Listed) -> Pattern:
    """Return the pattern that an entry of a list is.

    Example:
        >>> str(listed(Listed("*.", "a.example", line=1)))
        '*.a.example'
    """
    kinds = {"": PatternKind.EXACT, "*.": PatternKind.BELOW, ".": PatternKind.SUFFIX}
    return Pattern(kinds[entry.form], entry.name)

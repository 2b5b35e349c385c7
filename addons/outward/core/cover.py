"""Whether one rule covers another: what it matches is matched by the other too. For smells; `decide` never asks."""

from collections.abc import Iterator

from outward.core.model import Pattern, PatternKind, Rule
from outward.core.names import Host, is_local_name
from outward.core.rules import Rules, listed


def covering(rules: Rules, pattern: Pattern) -> Iterator[Rule]:
    """Yield the rules whose pattern covers a pattern; costs what a look-up costs.

    Example:
        >>> [str(each.pattern) for each in covering(Rules([rule("*.a.example")]), rule("x.a.example").pattern)]
        ['*.a.example']
    """
    if not rules.all:
        return
    # A star is no label of any name, so that only wildcards answer for a wildcard.
    name = {PatternKind.BELOW: f"*.{pattern.value}", PatternKind.ANY: "*"}.get(pattern.kind, pattern.value)
    address = None if pattern.network is None else pattern.network.network_address
    yield from (rule for rule in rules.for_host(Host(name, address)) if pattern_covers(rule.pattern, pattern))


def pattern_covers(wide: Pattern, narrow: Pattern) -> bool:
    """Tell whether every host that `narrow` matches is matched by `wide`; a list is covered by itself alone.

    Example:
        >>> pattern_covers(rule("*.a.example").pattern, rule("a.example").pattern)
        False
    """
    if wide.names is not None:
        return wide is narrow or any(
            pattern_covers(listed(entry), narrow) for entry in wide.names.matching(narrow.value)
        )
    if narrow.names is not None:
        return False
    if wide.kind is PatternKind.NETWORK or narrow.kind is PatternKind.NETWORK:
        inner, outer = narrow.network, wide.network
        return (
            inner is not None and outer is not None and inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # the versions are equal
        )
    if wide.kind is PatternKind.ANY:
        return narrow.kind is PatternKind.ANY or not is_local_name(narrow.value)
    if narrow.kind is PatternKind.ANY:
        return False
    if wide.kind in (PatternKind.BELOW, PatternKind.SUFFIX):
        same = narrow.value == wide.value and (wide.kind is PatternKind.SUFFIX or narrow.kind is PatternKind.BELOW)
        return same or narrow.value.endswith(f".{wide.value}")
    return narrow.kind is PatternKind.EXACT and narrow.value == wide.value


def rule_covers(wide: Rule, narrow: Rule) -> bool:
    """Tell whether every request that `narrow` matches is matched by `wide`, given that its pattern covers.

    Example:
        >>> rule_covers(rule("a.example"), rule("a.example", methods={"GET"}))
        True
    """
    return (
        (wide.ports is None or (narrow.ports is not None and narrow.ports <= wide.ports))
        and (wide.methods is None or (narrow.methods is not None and narrow.methods <= wide.methods))
        and (wide.paths is None or (narrow.paths is not None and set(narrow.paths) <= set(wide.paths)))
        and (narrow.tls or not wide.tls)
        and (narrow.encoded_slash is wide.encoded_slash or narrow.paths is None)
        and set(narrow.addresses) <= set(wide.addresses)
        and narrow.inject == wide.inject
        and (wide.until is None or (narrow.until is not None and narrow.until <= wide.until))
    )


def overlaps(one: Rule, other: Rule) -> bool:
    """Tell whether some host and port may be matched by both rules; a list may meet anything.

    Example:
        >>> overlaps(rule("*.a.example"), rule("x.a.example", ports={22}))
        False
    """
    ports = one.ports is None or other.ports is None or bool(one.ports & other.ports)
    if one.pattern.names is not None or other.pattern.names is not None:
        return ports
    return ports and (pattern_covers(one.pattern, other.pattern) or pattern_covers(other.pattern, one.pattern))

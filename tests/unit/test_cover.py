"""Which patterns and rules cover which: told from what they match."""

from itertools import product

import pytest

from harness.policies import rule
from outward.core.cover import covering, overlaps, pattern_covers, rule_covers
from outward.core.model import Pattern, PatternKind
from outward.core.paths import PathGlob
from outward.core.rules import Rules

# Each pattern, and those of the table that it covers apart from itself.
COVERS = {
    "*": {"*.a.example", "*.b.a.example", "a.example", "b.a.example", "nota.example"},
    "*.a.example": {"b.a.example", "*.b.a.example"},
    "*.b.a.example": set(),
    "a.example": set(),
    "b.a.example": set(),
    "nota.example": set(),
    "localhost": set(),
    "0.0.0.0/0": {"10.0.0.0/8", "10.1.0.0/16"},
    "10.0.0.0/8": {"10.1.0.0/16"},
    "10.1.0.0/16": set(),
    "::/0": {"2001:db8::/32"},
    "2001:db8::/32": set(),
}
PATHS = (PathGlob("/a"), PathGlob("/b"))


@pytest.mark.parametrize(("wide", "narrow"), list(product(COVERS, COVERS)))
def test_a_pattern_covers_what_matches_nothing_else(wide: str, narrow: str) -> None:
    expected = narrow == wide or narrow in COVERS[wide]
    assert pattern_covers(rule(wide).pattern, rule(narrow).pattern) is expected


@pytest.mark.parametrize("narrow", COVERS)
def test_what_covers_a_pattern_is_found_by_look_up(narrow: str) -> None:
    every = Rules([rule(text) for text in COVERS])
    found = {str(each.pattern) for each in covering(every, rule(narrow).pattern)}
    assert found == {wide for wide in COVERS if narrow == wide or narrow in COVERS[wide]}


def test_an_empty_network_covers_nothing_and_lies_in_nothing() -> None:
    empty = Pattern(PatternKind.NETWORK)
    for text in ("*", "a.example", "10.0.0.0/8"):
        assert not pattern_covers(rule(text).pattern, empty)
        assert not pattern_covers(empty, rule(text).pattern)
    assert not pattern_covers(empty, empty)
    assert list(covering(Rules([rule("10.0.0.0/8")]), empty)) == []


@pytest.mark.parametrize(
    ("field", "wide", "narrow"),
    [
        ("ports", frozenset({80, 443}), frozenset({443})),
        ("methods", frozenset({"GET", "HEAD"}), frozenset({"GET"})),
        ("paths", PATHS, PATHS[:1]),
    ],
)
def test_a_rule_covers_another_with_fewer_ports_methods_or_paths(field: str, wide: object, narrow: object) -> None:
    few, many, all_ = (rule("a.example", **{field: each}) for each in (narrow, wide, None))
    for covers, covered in ((all_, all_), (all_, many), (many, few), (many, many), (few, few)):
        assert rule_covers(covers, covered)
    for covers, covered in ((many, all_), (few, many), (few, all_)):
        assert not rule_covers(covers, covered)


def test_a_rule_for_tls_does_not_cover_one_for_anything() -> None:
    tls, anything = rule("a.example"), rule("a.example", tls=False)
    assert rule_covers(tls, tls)
    assert rule_covers(anything, anything)
    assert rule_covers(anything, tls)
    assert not rule_covers(tls, anything)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("*.a.example", None), ("b.a.example", {443}), True),
        (("b.a.example", {443}), ("*.a.example", None), True),
        (("*.a.example", {80, 443}), ("b.a.example", {443, 8443}), True),
        (("*.a.example", {80}), ("b.a.example", {443}), False),
        (("*.a.example", None), ("a.example", None), False),
        (("a.example", {80}), ("b.example", {80}), False),
    ],
)
def test_rules_overlap_where_a_host_and_a_port_are_in_both(one, other, expected) -> None:
    first, second = (rule(text, ports=ports and frozenset(ports)) for text, ports in (one, other))
    assert overlaps(first, second) is expected

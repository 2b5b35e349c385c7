"""What a group has from its ancestors: settings field by field, locks, ceilings, ancestors that nobody wrote."""

import pytest

from outward.config.load import Loaded, load_text
from outward.core.decide import decide
from outward.core.model import Filter, OptIn, Question
from outward.core.names import canonical_host


def loaded(groups: str) -> Loaded:
    found = load_text(f"version: 1\ngroups:\n{groups}\nclients: [{{group: a/b/c, anyone: true}}]\n", env={}, machine={})
    assert found.policy is not None, found.findings
    return found


@pytest.mark.parametrize(
    ("key", "unsaid", "default", "other"),
    [
        ("mode", "enforce", "enforce", "report"),
        ("lane", "auto", "auto", "tunnel"),
        ("denial", None, "connect", "inside"),
        ("ech", "pass", "pass", "refuse"),
    ],
)
def test_each_setting_is_inherited_by_itself(key: str, unsaid: str | None, default: str, other: str):
    groups = loaded(
        f"  a: {{}}\n  a/b: {{{key}: {other}}}\n  a/b/c: {{}}\n  a/b/d: {{{key}: {default}}}\n"
    ).policy.groups
    assert {path: getattr(group, key) for path, group in groups.items()} == {
        "a": unsaid, "a/b": other, "a/b/c": other, "a/b/d": default,
    }  # fmt: skip


def test_a_group_that_only_tunnels_refuses_hidden_names_unless_it_says_otherwise():
    groups = loaded("  a: {lane: tunnel}\n  a/b: {}\n  a/b/c: {lane: tunnel, ech: pass}").policy.groups
    assert [groups[path].ech for path in ("a", "a/b", "a/b/c")] == ["refuse", "refuse", "pass"]


@pytest.mark.parametrize(
    ("top", "middle", "leaf", "found"),
    [
        ("{}", "{}", "{}", None),
        ("{grants: allowed}", "{}", "{}", "allowed"),
        ("{}", "{}", "{grants: allowed}", "allowed"),
        ("{grants: none}", "{}", "{grants: allowed}", "none"),
        ("{grants: allowed}", "{grants: none}", "{grants: allowed}", "none"),
        ("{grants: allowed}", "{}", "{grants: none}", "none"),
    ],
)
def test_an_ancestor_that_takes_no_grants_holds_below(top: str, middle: str, leaf: str, found: str | None):
    assert loaded(f"  a: {top}\n  a/b: {middle}\n  a/b/c: {leaf}").policy.groups["a/b/c"].grants == found


def test_ancestors_that_nobody_wrote_are_there_and_empty():
    policy = loaded("  a/b/c: {allow: [c.example]}").policy
    assert set(policy.groups) == {"a", "a/b", "a/b/c"}
    assert [group.path for group in policy.groups["a/b/c"].chain] == ["a/b/c", "a/b", "a"]


def test_the_order_of_the_file_does_not_matter():
    one = loaded("  a: {mode: report}\n  a/b/c: {}").policy
    other = loaded("  a/b/c: {}\n  a: {mode: report}").policy
    assert one.groups["a/b/c"].mode == other.groups["a/b/c"].mode == "report"


# group's own web_search, from the top: a, a/b, a/b/c; then enabled, decided_by and locked_by of a/b/c
SEARCH = [
    ("{}", "{}", "{}", False, None, None),
    ("{enabled: true}", "{}", "{}", True, "a", None),
    ("{enabled: true}", "{enabled: false}", "{}", False, "a/b", None),
    ("{enabled: false}", "{}", "{enabled: true}", True, "a/b/c", None),
    ("{enabled: false, locked: true}", "{}", "{enabled: true}", False, "a", "a"),
    ("{enabled: true, locked: true}", "{enabled: false}", "{enabled: false}", True, "a", "a"),
    ("{enabled: true}", "{locked: true}", "{enabled: false}", True, "a", "a/b"),
    ("{locked: true}", "{}", "{enabled: true}", False, None, "a"),
    ("{enabled: true, locked: false}", "{enabled: false}", "{}", False, "a/b", None),
    ("{enabled: true, locked: true}", "{locked: false}", "{enabled: false}", True, "a", "a"),
]


@pytest.mark.parametrize(("a", "b", "c", "enabled", "decided_by", "locked_by"), SEARCH)
def test_the_nearest_toggle_wins_unless_an_ancestor_locks_it(
    a: str, b: str, c: str, enabled: bool, decided_by: str | None, locked_by: str | None
):
    found = loaded(f"  a: {{web_search: {a}}}\n  a/b: {{web_search: {b}}}\n  a/b/c: {{web_search: {c}}}\n")
    search = found.policy.groups["a/b/c"].web_search
    assert (search.enabled, search.decided_by, search.locked_by) == (enabled, decided_by, locked_by)


def test_what_a_lock_overrides_is_told():
    found = loaded("  a: {web_search: {locked: true}}\n  a/b/c: {web_search: {enabled: true}}\n")
    assert [(each.ident, each.message) for each in found.findings] == [
        ("W112", "`web_search` of `a/b/c` has no effect: `a` locks it")
    ]


def test_fields_of_web_search_are_inherited_one_by_one():
    found = loaded(
        "  a: {web_search: {enabled: true, opt_in: assumed, max_searches: 2, sources: [s.example]}}\n"
        "  a/b: {web_search: {filter: strict, max_searches: unlimited}}\n"
        "  a/b/c: {web_search: {sources: []}}\n"
    )
    search = found.policy.groups["a/b/c"].web_search
    assert (search.enabled, search.opt_in, search.filter) == (True, OptIn.ASSUMED, Filter.STRICT)
    assert search.max_searches is None
    assert search.sources == ()
    assert [str(rule.pattern) for rule in found.policy.groups["a/b"].web_search.sources or ()] == ["s.example"]


@pytest.mark.parametrize("written", ["", "sources: inherit", "sources: null"])
def test_sources_that_inherit_are_the_allowlist(written: str):
    found = loaded(f"  a/b/c: {{web_search: {{enabled: true, {written}}}}}")
    assert found.policy.groups["a/b/c"].web_search.sources is None


# ceilings of a and a/b, host of an allow rule in a/b/c, whether it is allowed
CEILINGS = [
    (None, None, "x.example", True),
    ('["*.corp.example"]', None, "x.example", False),
    ('["*.corp.example"]', None, "x.corp.example", True),
    ("[]", None, "x.corp.example", False),
    ('["*.corp.example"]', "[]", "x.corp.example", False),
    ('["*.corp.example"]', '["*.x.corp.example"]', "y.x.corp.example", True),
    ('["*.corp.example"]', '["*.x.corp.example"]', "y.corp.example", False),
    ('["*.x.example"]', '["*.corp.example"]', "y.corp.example", False),
]


@pytest.mark.parametrize(("a", "b", "host", "expected"), CEILINGS)
def test_a_descendants_rule_counts_only_inside_every_ceiling(a: str | None, b: str | None, host: str, expected: bool):
    tops = [f"ceiling: {each}" if each else "" for each in (a, b)]
    found = loaded(f"  a: {{{tops[0]}}}\n  a/b: {{{tops[1]}}}\n  a/b/c: {{allow: [{host}]}}\n")
    assert decide(found.policy, Question("a/b/c", canonical_host(host), 443)).allowed is expected


def test_a_ceiling_does_not_bind_the_group_that_sets_it():
    found = loaded("  a: {ceiling: [], allow: [x.example]}\n  a/b/c: {}\n")
    assert decide(found.policy, Question("a/b/c", canonical_host("x.example"), 443)).allowed


def test_the_limits_of_a_day_are_those_of_every_ancestor():
    found = loaded(
        "  a: {web_search: {per_day: 100}}\n  a/b: {web_search: {enabled: true}}\n"
        "  a/b/c: {web_search: {per_day: 7}}\n  a/d: {web_search: {per_day: 0}}\n"
    )
    groups = found.policy.groups
    assert groups["a/b/c"].web_search.per_day == (("a", 100), ("a/b/c", 7))
    assert groups["a/b"].web_search.per_day == (("a", 100),)
    assert groups["a/d"].web_search.per_day == (("a", 100), ("a/d", 0))
    assert [finding.ident for finding in found.findings if finding.ident == "W133"] == []


def test_a_limit_that_is_never_reached_is_told():
    found = loaded("  a: {web_search: {per_day: 5}}\n  a/b: {}\n  a/b/c: {web_search: {per_day: 6}}\n")
    (finding,) = found.findings
    assert (finding.ident, finding.place.line) == ("W133", 5)
    assert "`a` allows 5 to all below it" in finding.message


def test_below_a_lock_no_limit_is_added():
    found = loaded("  a: {web_search: {locked: true, per_day: 5}}\n  a/b/c: {web_search: {per_day: 1}}\n")
    assert found.policy.groups["a/b/c"].web_search.per_day == (("a", 5),)
    assert [finding.ident for finding in found.findings] == ["W112"]

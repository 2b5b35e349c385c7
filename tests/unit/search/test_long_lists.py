"""What long lists of names mean for hosted search: they bound it, and what no filter can say is not said."""

import pytest

from outward.core.hostlist import HostList
from outward.core.model import Pattern, PatternKind, Place, Rule, WebSearch
from outward.core.policy import Group, Policy
from outward.core.rules import Rules
from outward.search.narrowing import FilterCapabilities, narrow
from outward.search.scope import Scope

HERE = Place("outward.yaml", 3)
EVERYTHING = Rule(Pattern(PatternKind.ANY), HERE)


def listed(*lines: str, more: int) -> Rule:
    """A list of these lines and so many others."""
    lines = (*lines, *(f"host-{n}.other.test" for n in range(more)))
    names = HostList("names.txt", len(lines), sum(line.count(".") for line in lines))
    names.add("".join(f"{line}\n" for line in lines).encode())
    return Rule(Pattern(PatternKind.LIST, names=names), HERE, frozenset({443}))


def exact(*names: str) -> tuple[Rule, ...]:
    return tuple(Rule(Pattern(PatternKind.EXACT, name), HERE) for name in names)


def scope(group: Group) -> Scope:
    return Scope(Policy(groups={group.path: group}), group, WebSearch(enabled=True))


LENGTHS = pytest.mark.parametrize("more", [0, 2_000])


@LENGTHS
def test_a_denied_list_keeps_names_out_of_filters_and_results(more: int) -> None:
    rules = exact("a.test", "b.test", "c.test", "x.d.test")
    denied = listed("a.test", "sub.b.test", "*.d.test", more=more)
    found = scope(Group("g", allow=Rules(rules), deny=Rules([denied])))
    assert found.candidates == ("c.test",)
    assert not found.source("https://a.test/").permitted
    assert found.source("https://c.test/").permitted


@LENGTHS
def test_an_allowed_list_and_a_ceiling_bound_what_may_be_searched(more: int) -> None:
    names = listed("a.test", "*.b.test", ".c.test", more=more)
    allowing = scope(Group("g", allow=Rules([names])))
    assert [allowing.top(name) for name in ("a.test", "b.test", "x.b.test", "c.test", "z.test")] == [
        *(True, False, True, True, False)
    ]
    assert [allowing.under(name) for name in ("a.test", "b.test", "c.test")] == [False, True, True]
    assert ("a.test" in allowing.candidates) is (more == 0)
    parent = Group("g", ceiling=Rules([names]))
    below = scope(Group("g/h", allow=Rules(exact("a.test", "z.test")), parent=parent))
    assert below.candidates == ("a.test",)


@LENGTHS
def test_everything_but_a_list_is_sayable_only_if_the_list_is_short(more: int) -> None:
    group = Group("g", allow=Rules([EVERYTHING]), deny=Rules([listed("a.test", more=more)]))
    said = narrow(scope(group), FilterCapabilities(blocks=True))
    assert (said.sayable, said.blocked) == ((True, ("a.test",)) if more == 0 else (False, ()))

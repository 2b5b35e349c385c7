"""Long lists of names: what matches, where it stands, and what the rest of the core makes of a rule that is one."""

import random

from outward.core.cover import covering, overlaps, pattern_covers
from outward.core.decide import decide
from outward.core.explain import explain
from outward.core.hostlist import HostList, Listed
from outward.core.lint import lint
from outward.core.model import Pattern, PatternKind, Place, Question, Rule
from outward.core.names import Host, canonical_host
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.review import unused
from outward.core.rules import Rules

HERE = Place("outward.yaml", 3)


def listed(*lines: str, piece: int = 2) -> HostList:
    """A list of these lines, added a few at a time."""
    names = HostList("names.txt", len(lines), sum(line.count(".") for line in lines))
    for start in range(0, len(lines), piece):
        names.add("".join(f"{line}\n" for line in lines[start : start + piece]).encode())
    return names


def rule(names: HostList) -> Rule:
    return Rule(Pattern(PatternKind.LIST, names=names), HERE, None)


def policy(**lists: Rules) -> Policy:
    return Policy(groups={"g": Group("g", **lists)})


def test_each_form_matches_what_it_says_and_names_its_line():
    names = listed("", "a.test", "*.b.test", ".c.test", "", "x.a.test")
    assert names.length == 4
    assert names.matching("a.test") == [Listed("", "a.test", 2)]
    assert names.matching("y.a.test") == []
    assert names.matching("b.test") == []
    assert names.matching("x.y.b.test") == [Listed("*.", "b.test", 3)]
    assert names.matching("c.test") == names.matching("x.c.test") == [Listed(".", "c.test", 4)]
    assert names.matching("test") == names.matching("xa.test") == names.matching("") == []
    assert names.matching("x.a.test") == [Listed("", "x.a.test", 6)]


def test_of_several_entries_the_most_specific_comes_first_and_a_repeated_one_counts_once():
    names = listed("*.test", "a.test", ".a.test", "a.test", "*.a.test")
    assert names.length == 4
    assert [(each.form, each.line) for each in names.matching("a.test")] == [("", 2), (".", 3), ("*.", 1)]
    assert [(each.form, each.line) for each in names.matching("x.a.test")] == [(".", 3), ("*.", 5), ("*.", 1)]
    assert [(each.form, each.name, each.line) for each in names.entries()][:2] == [("*.", "test", 1), ("", "a.test", 2)]


def test_it_knows_what_lies_below_a_name():
    names = listed("a.b.c.test", "*.d.test", "z.b.c.test")
    assert all(map(names.touches, ("test", "c.test", "b.c.test", "a.b.c.test", "d.test", "x.d.test")))
    assert not any(map(names.touches, ("x.a.b.c.test", "e.test", "b.test", "est")))


def test_it_agrees_with_rules_of_their_own():
    """Whatever the names: a list answers as the same entries do one by one."""
    chance = random.Random(7)
    labels = ["a", "b", "c", "ab"]
    for _ in range(60):
        texts = {".".join(chance.choices(labels, k=chance.randint(1, 4))) for _ in range(30)}
        forms = {"": PatternKind.EXACT, "*.": PatternKind.BELOW, ".": PatternKind.SUFFIX}
        entries = [(chance.choice(list(forms)), text) for text in texts]
        names = listed(*(form + text for form, text in entries), piece=chance.randint(1, 9))
        single = Rules(Rule(Pattern(forms[form], text), HERE) for form, text in entries)
        whole = Rules([rule(names)])
        for _ in range(80):
            host = canonical_host(".".join(chance.choices(labels, k=chance.randint(1, 6))))
            assert {each.pattern for each in whole.for_host(host)} == {each.pattern for each in single.for_host(host)}
            below = any(text == host.name or text.endswith(f".{host.name}") for _, text in entries)
            assert names.touches(host.name) == (below or any(True for _ in single.for_host(host)))


def test_a_denial_names_the_line_of_the_list_and_so_does_its_explanation():
    asked = Question("g", canonical_host("bad.test"), 443)
    held = policy(allow=Rules([Rule(Pattern(PatternKind.ANY), HERE)]), deny=Rules([rule(listed("x.test", "bad.test"))]))
    decision = decide(held, asked)
    assert decision.reason is Reason.DENIED_BY_RULE
    assert (str(decision.rule.place), str(decision.rule.pattern)) == ("names.txt:2", "bad.test")
    (step,) = explain(held, asked).steps
    assert (step.kind, step.decided, str(step.rule.place)) == ("deny", True, "names.txt:2")
    allowing = policy(allow=Rules([rule(listed("bad.test"))]))
    assert [(step.decided, str(step.rule.place)) for step in explain(allowing, asked).steps] == [(True, "names.txt:1")]
    assert decide(held, Question("g", canonical_host("good.test"), 443)).allowed
    assert not any(True for _ in held.groups["g"].deny.for_host(Host("1.2.3.4", canonical_host("1.2.3.4").address)))


def test_a_list_covers_what_it_names_and_is_covered_by_itself_alone():
    whole = Pattern(PatternKind.LIST, names=listed("a.test", ".b.test"))
    assert str(whole) == "names.txt (2 names)"
    assert pattern_covers(whole, whole)
    assert pattern_covers(whole, Pattern(PatternKind.EXACT, "a.test"))
    assert pattern_covers(whole, Pattern(PatternKind.BELOW, "b.test"))
    assert not pattern_covers(whole, Pattern(PatternKind.BELOW, "a.test"))
    assert not pattern_covers(Pattern(PatternKind.ANY), whole)
    assert overlaps(Rule(whole, HERE), Rule(Pattern(PatternKind.EXACT, "z.test"), HERE))
    assert overlaps(Rule(Pattern(PatternKind.EXACT, "z.test"), HERE), Rule(whole, HERE))
    assert not overlaps(Rule(whole, HERE, frozenset({1})), Rule(whole, HERE, frozenset({2})))
    assert [str(each.place) for each in covering(Rules([rule(whole.names)]), Pattern(PatternKind.EXACT, "a.test"))] == [
        "names.txt:1"
    ]


def test_smells_name_the_line_of_a_list_and_none_is_made_up_about_a_list():
    names = listed("a.test", "*.b.test")
    mine = Rules([Rule(Pattern(PatternKind.EXACT, "a.test"), HERE), rule(names)])
    parent = Group("g", deny=Rules([rule(listed("a.test"))]), ceiling=Rules([rule(names)]))
    below = Group("g/h", allow=mine, parent=parent)
    smells = list(lint(Policy(groups={"g": parent, "g/h": below}), {}))
    assert [(smell.ident, "names.txt:1" in smell.message) for smell in smells] == [("W104", True)]
    assert list(unused(Policy(groups={"g": Group("g", allow=Rules([rule(names)]))}), {}, "Monday")) == []

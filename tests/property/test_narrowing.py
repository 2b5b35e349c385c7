"""Narrowing never sends more than the policy, the deny rules, the ceilings and the caller allow, and loses nothing sound.

The judge of these laws is `decide`, which knows nothing of narrowing: what a vendor would search is asked of it host by
host, hosts included that no rule has ever spelled out.
"""

from dataclasses import replace
from random import Random

import pytest

from outward.core.decide import decide
from outward.core.model import Filter, Pattern, PatternKind, Place, Question, Rule, Verdict, WebSearch
from outward.core.names import Host
from outward.core.paths import PathGlob
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules
from outward.search.narrowing import FilterCapabilities, Narrowed, narrow
from outward.search.scope import Scope, covers

SEEDS, CASES = 8, 2_500  # 20,000 cases in all
BASES = ("x.example", "y.example", "z.test")
NAMES = tuple(prefix + base for base in BASES for prefix in ("", "a.", "b.", "a.a.", "b.a.", "c.b.a."))
UNSEEN = tuple(prefix + name for name in NAMES for prefix in ("unseen.", "q.unseen."))
PROBES = (*NAMES, *UNSEEN)
PLACE = Place("policy.yaml", 1)


def _rule(random: Random, *, deny: bool = False, plain: bool = False) -> Rule:
    kind = random.choices((PatternKind.EXACT, PatternKind.BELOW, PatternKind.ANY), (5, 4, 0.15))[0]
    pattern = Pattern(kind, "" if kind is PatternKind.ANY else random.choice(NAMES))
    odd = 1.0 if plain else random.random()
    if odd < 0.06:
        return Rule(pattern, PLACE, methods=frozenset({"POST"}))
    if odd < 0.12:
        return Rule(pattern, PLACE, paths=(PathGlob("/p/**"),))
    if odd < 0.18:
        return Rule(pattern, PLACE, ports=frozenset({8443}))
    return Rule(pattern, PLACE, ports=None) if deny else Rule(pattern, PLACE)


def _rules(random: Random, most: int, **facts: bool) -> Rules:
    return Rules(_rule(random, **facts) for _ in range(random.randint(0, most)))


def _group(random: Random, *, plain: bool) -> Group:
    group: Group | None = None
    path = ""
    settings = WebSearch(
        enabled=True,
        filter=random.choice(tuple(Filter)),
        sources=tuple(_rules(random, 5, plain=plain).all) if random.random() < 0.2 else None,
    )
    for name in ("acme", "platform", "payments")[: random.randint(1, 3)]:
        path = f"{path}/{name}".lstrip("/")
        group = Group(
            path,
            allow=_rules(random, 5, plain=plain),
            deny=_rules(random, 2, deny=True, plain=plain) if random.random() < 0.6 else Rules(),
            ceiling=_rules(random, 5, plain=plain) if random.random() < 0.25 else None,
            parent=group,
        )
    assert group is not None
    return replace(group, web_search=settings)


def _list(random: Random, most: int) -> list[object]:
    odd: tuple[object, ...] = ("https://x.example", "x.example:8080", "*.x.example", "x", "127.0.0.1", "example", 7, "")
    return [
        random.choice(NAMES) if random.random() < 0.85 else random.choice(odd) for _ in range(random.randint(1, most))
    ]


class Case:
    """One random policy, caller and vendor, and what would be sent."""

    def __init__(self, random: Random, *, plain: bool = False) -> None:
        self.group = _group(random, plain=plain)
        self.settings = self.group.web_search
        policy = Policy(groups={self.group.path: self.group})
        self.allow = _list(random, 4) if random.random() < 0.5 else None
        self.block = [name for name in _list(random, 2) if name in NAMES] if random.random() < 0.3 else []
        self.language = FilterCapabilities(
            limit=random.choice((None, None, 1, 3)), blocks=random.random() < 0.7, registrable=random.random() < 0.1
        )
        self.scope = Scope(policy, self.group, self.settings)
        self.sent: Narrowed = narrow(self.scope, self.language, self.allow, self.block)
        self._policy = Policy(groups={self.group.path: self._judged()})

    def _judged(self) -> Group:
        """The group as it would have to be written for `sources` to be its allowlist."""
        if self.settings.sources is None:
            return self.group
        bare: Group | None = None
        for node in reversed(tuple(self.group.chain)[1:]):
            bare = Group(node.path, deny=node.deny, ceiling=node.ceiling, parent=bare)
        return Group(self.group.path, Rules(self.settings.sources), self.group.deny, parent=bare)

    def verdict(self, host: str) -> tuple[bool, Reason]:
        """What `decide` says of a plain GET of a host."""
        decision = decide(self._policy, Question(self.group.path, Host(host), 443, "GET", "/"))
        return decision.verdict is Verdict.ALLOW, decision.reason

    def searched(self) -> list[str]:
        """The probes that the vendor may search."""
        if self.sent.unrestricted:
            return [host for host in PROBES if not any(covers(entry, host) for entry in self.sent.blocked)]
        return [host for host in PROBES if any(covers(entry, host) for entry in self.sent.allowed)]


def _check_soundness(case: Case) -> None:
    asked = None if case.allow is None else [str(entry) for entry in case.allow]
    for host in case.searched():
        allowed, reason = case.verdict(host)
        assert reason is not Reason.DENIED_BY_RULE, host
        if case.settings.filter is Filter.STRICT or case.sent.unrestricted:
            assert allowed, (host, reason)
        assert asked is None or any(covers(entry, host) for entry in asked), host
        assert not any(covers(str(entry), host) for entry in case.block), host
    for entry in case.sent.allowed:
        assert case.verdict(entry)[0], entry
        assert entry == entry.lower()
    assert list(case.sent.allowed) == sorted(set(case.sent.allowed))
    assert case.language.limit is None or len(case.sent.allowed) <= case.language.limit
    assert not (case.sent.allowed and case.sent.blocked)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_sent_that_policy_deny_ceiling_or_caller_forbid(seed: int) -> None:
    """Whatever a vendor may search: no deny rule matches it, the caller covers it; and, under strict, policy allows it."""
    random, sent = Random(seed), 0
    for _ in range(CASES):
        case = Case(random)
        _check_soundness(case)
        sent += bool(case.sent.allowed or case.sent.unrestricted)
    assert sent > CASES // 10, "the cases are not worth much when nearly none sends anything"


@pytest.mark.parametrize("seed", range(3))
def test_every_sound_wish_of_the_caller_survives(seed: int) -> None:
    """A requested name whose whole subtree is allowed, denied nowhere and not blocked by the caller is sent."""
    random, wishes = Random(1000 + seed), 0
    for _ in range(CASES):
        case = Case(random, plain=True)
        if case.allow is None or case.language.limit or case.language.registrable:
            continue
        for name in {entry for entry in case.allow if entry in NAMES}:
            subtree = [host for host in PROBES if covers(str(name), host)]
            judged = subtree if case.settings.filter is Filter.STRICT else [str(name)]
            denied = any(case.verdict(host)[1] is Reason.DENIED_BY_RULE for host in subtree)
            blocked = any(covers(str(b), str(name)) or covers(str(name), str(b)) for b in case.block)
            if not denied and not blocked and all(case.verdict(host)[0] for host in judged):
                wishes += 1
                assert any(covers(entry, str(name)) for entry in case.sent.allowed), (name, case.sent)
    assert wishes > 50


def test_the_table_of_examples() -> None:
    """The examples that people will try first."""
    table: list[tuple[list[str], list[str], list[object] | None, list[str]]] = [
        (["example.com"], [], None, []),
        (["*.example.com"], [], None, []),
        (["*.example.com"], [], ["docs.example.com"], ["docs.example.com"]),
        (["example.com", "*.example.com"], [], None, ["example.com"]),
        (["example.com", "*.example.com"], ["evil.example.com"], None, []),
        (["example.com", "*.example.com"], ["evil.example.com"], ["docs.example.com"], ["docs.example.com"]),
        (["example.com", "*.example.com", "crates.io", "*.gcr.io"], [], None, ["example.com"]),
        (
            ["*.gcr.io", "crates.io"],
            [],
            ["eu.gcr.io", "gcr.io", "crates.io", "https://evil.com", "gcr.io/x"],
            ["eu.gcr.io"],
        ),
    ]
    for allow, deny, asked, expected in table:
        group = Group("acme", allow=_written(allow), deny=_written(deny), web_search=WebSearch(filter=Filter.STRICT))
        scope = Scope(Policy(groups={"acme": group}), group, group.web_search)
        assert list(narrow(scope, FilterCapabilities(), asked).allowed) == expected, (allow, deny, asked)


def _written(patterns: list[str]) -> Rules:
    return Rules(
        Rule(Pattern(PatternKind.BELOW, text[2:]) if text.startswith("*.") else Pattern(PatternKind.EXACT, text), PLACE)
        for text in patterns
    )

"""The smallest change of groups' lists that would have allowed what was blocked. Pure; people say whether one should.

An entry names exact hosts, and the methods and paths that were asked for where they were seen. What is united allows
nothing that its parts did not. One group's traffic changes that group's list alone; strangers change none.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from outward.core.confusable import looks_like
from outward.core.decide import decide
from outward.core.entries import one_path, written
from outward.core.evidence import Demand, Evidence
from outward.core.exits import READS
from outward.core.model import DEFAULT_PORTS, Mode, Question, Rule
from outward.core.names import Host
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules
from outward.core.suggest import cure, entry_for
from outward.core.unite import united, with_limit

MAX_PATHS = 20  # that one entry names: what a reviewer reads in a line or two
_LIMITS = ("paths", "methods", "ports")


@dataclass(frozen=True, slots=True)
class Proposal:
    """One entry of a group's `allow`.

    Attributes:
        text: the entry in YAML, for a list in brackets or of lines.
        rules: what it means.
        hosts: for which it was asked.
        instead: the rule whose place it takes: the same, but that its `key` has `values` more.
        whole: that it stands for lines: a set, or a wildcard.
        adds: how many names it allows that nobody asked for; None if there is no number.
    """

    group: str
    text: str
    rules: tuple[Rule, ...]
    hosts: frozenset[Host]
    evidence: Evidence
    instead: Rule | None = None
    key: str = ""
    values: tuple[str, ...] = ()
    whole: bool = False
    adds: int | None = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What no entry is proposed for.

    Attributes:
        why: in words.
        text: the entry that would allow it, None if none would.
        named: whether naming the host brings it in.
    """

    group: str
    host: Host
    why: str
    evidence: Evidence
    text: str | None = None
    named: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the policy.

    Attributes:
        sets: rules of named sets, by name with `@`, that may stand for lines.
        exits: hosts through which anybody can send or fetch, by the set's name with `@`.
        writable: hosts that anybody with an account can write to, by the set's name with `@`.
        telemetry: hosts that programs report to beside their work, by the set's name with `@`.
        governed: hosts that have a vendor.
        registrable: registrable domain of a name, None for a public suffix.
        amendable: whether a key of a rule can be given more values where the rule is written.
    """

    sets: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    exits: Mapping[str, Rules] = field(default_factory=dict)
    writable: Mapping[str, Rules] = field(default_factory=dict)
    telemetry: Mapping[str, Rules] = field(default_factory=dict)
    governed: Collection[str] = ()
    registrable: Callable[[str], str | None] = lambda _name: None
    amendable: Callable[[Rule, str], bool] = lambda _rule, _key: False


@dataclass(slots=True)
class Proposed:
    """What comes of it.

    Attributes:
        demands: by group and host, what the proposals answer.
        settled: how many requests the policy allows by now.
        strangers: how many came from clients without a group.
        gone: how many came from groups that the policy does not have.
    """

    proposals: list[Proposal] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    demands: dict[tuple[str, Host], tuple[Demand, ...]] = field(default_factory=dict)
    settled: int = 0
    strangers: int = 0
    gone: int = 0


def propose(policy: Policy, demands: Iterable[Demand], known: Known, include: Collection[str] = ()) -> Proposed:
    """Return the entries that would have allowed what was blocked.

    Args:
        policy: in force; report mode counts as if it were enforced.
        demands: what was blocked, or would have been.
        known: what is known beside the policy.
        include: canonical names of hosts to propose although they are left out otherwise.

    Example:
        >>> asked = question_of("https://a.example/x", "dev", "POST")
        >>> propose(policy(), [Demand(asked, Evidence(count=3))], Known()).proposals[0].text
        '{host: "a.example", ports: [443], methods: [POST], paths: ["/x"]}'
    """
    found = Proposed()
    asked: dict[tuple[str, Host], dict[Question, Evidence]] = defaultdict(dict)
    for each in demands:
        question, count = each.question, each.evidence.count
        if question.group is None:
            found.strangers += count
        elif question.group not in policy.groups:
            found.gone += count
        else:
            of_host = asked[question.group, question.host]
            of_host[question] = of_host.get(question, Evidence()) + each.evidence
    for (path, host), questions in asked.items():
        _Host(enforced(policy, path), policy.groups[path], host, known, include, found).take(questions)
    found.proposals.sort(key=lambda each: (each.group, -each.evidence.count, each.text))
    found.left_out.sort(key=lambda each: (each.group, -each.evidence.count, each.host.name))
    return found


def enforced(policy: Policy, path: str) -> Policy:
    """Return a policy with one group, whose rules are enforced.

    Raises:
        KeyError: the policy has no such group.

    Example:
        >>> str(enforced(policy(mode=Mode.REPORT), "dev").groups["dev"].mode)
        'enforce'
    """
    return replace(policy, groups={path: replace(policy.groups[path], mode=Mode.ENFORCE)})


def with_rules(policy: Policy, path: str, rules: Iterable[Rule]) -> Policy:
    """Return a policy of `enforced` whose group allows by other rules of its own.

    Raises:
        KeyError: the policy has no such group.

    Example:
        >>> decide(with_rules(policy(), "dev", [rule("a.example")]), question_of("https://a.example", "dev")).allowed
        True
    """
    return replace(policy, groups={path: replace(policy.groups[path], allow=Rules(rules))})


@dataclass(slots=True)
class _Host:
    """Proposes for one host of one group."""

    policy: Policy
    group: Group
    host: Host
    known: Known
    include: Collection[str]
    found: Proposed
    left: dict[tuple[str, str | None], LeftOut] = field(default_factory=dict)
    amended: list[Rule] = field(default_factory=list)

    def take(self, questions: Mapping[Question, Evidence]) -> None:
        """Add what is proposed, and what is left out."""
        open_ = {}
        for question, evidence in questions.items():
            if decide(self.policy, question).allowed:
                self.found.settled += evidence.count
            else:
                open_[question] = evidence
        entries = united(self._needs(open_))
        doubts = doubt(self.host, [rule for rule, _ in entries], self.known)
        for rule, evidence in entries:
            paths = len(rule.paths or ())
            if doubts and self.host.name not in self.include:
                self._leave(evidence, doubts, written(rule), named=True)
            elif paths > MAX_PATHS:
                self._leave(evidence, f"{paths} paths were asked for: write a pattern that covers them")
            else:
                self.found.proposals.append(self._proposal(rule, evidence))
                self.found.demands[self.group.path, self.host] = tuple(Demand(*each) for each in open_.items())
        self.found.left_out += self.left.values()

    def _leave(self, evidence: Evidence, why: str, text: str | None = None, *, named: bool = False) -> None:
        known = self.left.get((why, text))
        both = evidence if known is None else known.evidence + evidence
        self.left[why, text] = LeftOut(self.group.path, self.host, why, both, text, named)

    def _needs(self, questions: Mapping[Question, Evidence]) -> Iterator[tuple[Rule, Evidence]]:
        """Yield the rule that each question misses; a host that was only seen through is opened no further."""
        seen = all(question.method is not None for question in questions)
        many = len({question.path for question in questions}) > MAX_PATHS
        for question, evidence in questions.items():
            reason = decide(self.policy, question).reason
            entry = entry_for(self.policy, question, reason)
            if entry is None or entry.comment:
                why = "it speaks something else than TLS" if entry else cure(reason, self.host.name, line=False)
                self._leave(evidence, why, None if entry is None else f"{written(entry.rule)}{entry.comment}")
            elif seen and (reason is Reason.NO_RULE or entry.rule.needs_sight):
                yield self._narrowed(entry.rule, question, many=many), evidence
            else:
                yield entry.rule, evidence

    def _narrowed(self, rule: Rule, question: Question, *, many: bool) -> Rule:
        """Return the rule for one request: of one path, unless there are many or a rule cannot name it."""
        methods = frozenset({question.method or ""})
        alone = replace(rule, ports=frozenset({question.port}), methods=methods)
        exact = alone if many else replace(alone, paths=one_path(question.path) or rule.paths)
        rules = [*self.group.allow.for_host(self.host), exact]
        return exact if decide(with_rules(self.policy, self.group.path, rules), question).allowed else alone

    def _proposal(self, rule: Rule, evidence: Evidence) -> Proposal:
        path, hosts = self.group.path, frozenset({self.host})
        for old in self.group.allow.for_host(self.host):
            key = _differing(old, rule)
            if key is None or old in self.amended or self.policy.expired(old) or not self.known.amendable(old, key):
                continue  # two values more of two keys would be four requests more
            self.amended.append(old)
            mine, more = getattr(old, key), getattr(rule, key)
            whole = with_limit(old, key, frozenset({*mine, *more}) if key != "paths" else (*mine, *more))
            values = tuple(str(getattr(each, "text", each)) for each in more if each not in mine)
            return Proposal(path, written(whole), (whole,), hosts, evidence, old, key, tuple(sorted(values)))
        return Proposal(path, written(rule), (rule,), hosts, evidence)


def doubt(host: Host, rules: Collection[Rule], known: Known) -> str:
    """Return why a person should look before a host is allowed; empty if nothing speaks against it.

    Args:
        host: of the rules.
        rules: what would be added for it.
        known: what is known of hosts.

    Example:
        >>> known = Known(telemetry={"@telemetry": Rules([rule("stats.example")])})
        >>> doubt(Host("stats.example"), [rule("stats.example")], known)
        'programs report there beside their work (`@telemetry`)'
    """
    suspicion = looks_like(host.name)
    if suspicion is not None:
        return f"its name {suspicion}"
    for name, exits in known.exits.items():
        if any(True for _ in exits.for_host(host)):
            return f"anybody can send or fetch through it (`{name}`)"
    for name, hosts in known.telemetry.items():
        if any(True for _ in hosts.for_host(host)):
            return f"programs report there beside their work (`{name}`)"
    if all(rule.methods is not None and rule.methods <= READS for rule in rules):
        return ""
    for name, hosts in known.writable.items():
        if any(True for _ in hosts.for_host(host)):
            return f"anybody with an account can write there (`{name}`){_reading(host, known)}"
    return ""


def _reading(host: Host, known: Known) -> str:
    """Return which set lets a host be read, the smallest one; empty if none does."""
    sizes = [
        (len(rules), name)
        for name, rules in known.sets.items()
        if any(rule.pattern.value == host.name and rule.methods is not None for rule in rules)
    ]
    return f"; `{min(sizes)[1]}` lets it be read" if sizes else ""


def _differing(old: Rule, rule: Rule) -> str | None:
    """Return the one limit in which two rules differ and that both have; None if they differ otherwise."""
    same = ("pattern", "tls", "encoded_slash", "addresses", "inject")
    if any(getattr(old, key) != getattr(rule, key) for key in same):
        return None
    differing = [key for key in _LIMITS if _values(old, key) != _values(rule, key)]
    if old.ports == DEFAULT_PORTS and rule.ports is not None and rule.ports < DEFAULT_PORTS:
        differing.remove("ports")  # a host without a port means both
    if len(differing) != 1 or None in (getattr(old, differing[0]), getattr(rule, differing[0])):
        return None
    return differing[0]


def _values(rule: Rule, key: str) -> frozenset[object] | None:
    values = getattr(rule, key)
    return None if values is None else frozenset(values)

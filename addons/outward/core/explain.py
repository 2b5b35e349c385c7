"""Why a question is decided as it is: every rule that was considered, in order, with what came of it.

Built on the very tests that `decide` uses; changes nothing and decides nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from outward.core.decide import decide, misses, refuses
from outward.core.model import Decision, Lane, LaneChoice, Question, Rule, Verdict
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.suggest import Entry, entry_for, shut


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was considered.

    Attributes:
        group: path of the group that it is written in.
        kind: `deny` or `allow`.
        rule: the rule.
        outcome: what came of it, in words.
        decided: whether it decided the question.
    """

    group: str
    kind: str
    rule: Rule
    outcome: str
    decided: bool = False


@dataclass(frozen=True, slots=True)
class DecisionTrace:
    """The way to a decision.

    Attributes:
        question: as it was asked.
        judged: the part of it that decided: the connection alone, where that is refused or nothing in it is seen.
        chain: paths of the client's group and its ancestors, the nearest first; empty for an unknown client.
        steps: the rules for the host, in the order in which they were considered.
        ceiling: path of the ancestor whose ceiling the question lies above, or None.
        entry: of `allow` that would allow it, or None if none would.
        closed: what the address is, where the question names one that is not dialled whatever the rules say; of a name
            only the proxy knows the addresses.
        address: the one that is not dialled, where the question does not name it.
    """

    question: Question
    judged: Question
    decision: Decision
    chain: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    ceiling: str | None = None
    entry: Entry | None = None
    closed: str | None = None
    address: str | None = None

    @property
    def suggestion(self) -> str | None:
        """The entry as a line, or None."""
        return None if self.entry is None else self.entry.line


_MISSES: dict[Reason, str] = {
    Reason.NO_RULE: "does not cover local names",
    Reason.PORT_NOT_ALLOWED: "is for other ports",
    Reason.METHOD_NOT_ALLOWED: "is for other methods",
    Reason.RULE_EXPIRED: "has ended",
    Reason.PATH_NOT_ALLOWED: "is for other paths",
}


def explain(policy: Policy, question: Question) -> DecisionTrace:
    """Return the decision of a question and the way to it.

    Over TLS a request is two questions, and the proxy asks them in turn: may the client connect, and, if the connection
    is inspected, may it ask that. The trace is that of the one which decides.

    Example:
        >>> trace = explain(policy(rule("a.example")), question_of("https://b.example", "dev"))
        >>> str(trace.decision.reason), trace.suggestion
        ('no_rule', '- b.example')
    """
    judged = deciding(policy, question)
    decision = decide(policy, judged)
    group = policy.groups.get(question.group) if question.group is not None else None
    if group is None:
        return DecisionTrace(question, judged, decision)
    closed = shut(policy, question.host, decision)
    if decision.allowed and closed:
        decision = replace(decision, verdict=Verdict.DENY, reason=Reason.ADDRESS_NOT_PUBLIC)
    if question.clear and decision.allowed:
        decision = replace(decision, lane=Lane.INSPECT)  # a request in the clear is read, whatever the group's lane
    return DecisionTrace(
        question=question,
        judged=judged,
        decision=decision,
        chain=tuple(dict.fromkeys(node.path for node in group.chain)),
        steps=tuple(_steps(policy, group, judged, decision)),
        ceiling=_ceiling(policy, group, judged),
        entry=entry_for(policy, judged, decision.reason, opening=True),
        closed=closed,
    )


def deciding(policy: Policy, question: Question) -> Question:
    """Return the connection where that decides: it is refused, or nothing within it is seen.

    Example:
        >>> asked = question_of("https://a.example/x", "dev")
        >>> deciding(policy(rule("a.example")), asked).method is None  # a tunnel: no request in it is seen
        True
    """
    if question.method is None or question.clear:
        return question
    connecting = replace(question, method=None, path=None)
    first = decide(policy, connecting)
    return question if first.allowed and first.lane is Lane.INSPECT else connecting


def _steps(policy: Policy, group: Group, question: Question, decision: Decision) -> Iterator[Step]:
    """Yield the rules up to the one that decided."""
    l4_only = _blind(group, question)
    for node in group.chain:
        for rule in node.deny.for_host(question.host):
            hit = refuses(rule, question, l4_only)
            yield Step(node.path, "deny", rule, "denies" if hit else _passed(rule, question), hit)
            if hit:
                return
    for node, rule in group.offers(question.host):
        outcome = _allow_outcome(policy, node, rule, question, l4_only)
        decided = decision.rule == rule and outcome == "allows"  # of a list, each look-up makes one
        yield Step(node.path, "allow", rule, outcome, decided)
        if decided:
            return


def _passed(rule: Rule, question: Question) -> str:
    if rule.needs_sight and question.method is None:
        return "is judged on each request"
    return "is for other ports, methods or paths"


def _allow_outcome(policy: Policy, node: Group, rule: Rule, question: Question, l4_only: bool) -> str:
    miss = misses(policy, rule, question, l4_only)
    if miss is not None:
        return "needs inspection, which `lane: tunnel` forbids" if l4_only and rule.needs_sight else _MISSES[miss]
    above = _ceiling_above(policy, node, question, l4_only)
    if above is not None:
        return f"lies outside the ceiling of `{above}`"
    return "allows"


def _ceiling_above(policy: Policy, node: Group, question: Question, l4_only: bool) -> str | None:
    """Return the path of the nearest ancestor whose ceiling does not admit the question."""
    closing = (
        ancestor.path
        for ancestor in node.chain
        if ancestor is not node
        and ancestor.ceiling is not None
        and all(
            misses(policy, rule, question, l4_only) is not None for rule in ancestor.ceiling.for_host(question.host)
        )
    )
    return next(closing, None)


def _ceiling(policy: Policy, group: Group, question: Question) -> str | None:
    """Return the ancestor whose ceiling a new rule of this group would run into, or None."""
    return _ceiling_above(policy, group, question, _blind(group, question))


def _blind(group: Group, question: Question) -> bool:
    return question.method is None and group.lane is LaneChoice.TUNNEL

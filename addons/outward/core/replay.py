"""Recorded traffic under another policy: what would be blocked, or allowed, that was not. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from outward.core.decide import decide
from outward.core.model import Lane, Question, Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason

# What rules decide. Rules cannot open what was refused for another reason, such as a wrong server name.
OF_RULES = frozenset(
    {
        Reason.RULE, Reason.REPORT_ONLY, Reason.NO_RULE, Reason.DENIED_BY_RULE, Reason.PORT_NOT_ALLOWED,
        Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED, Reason.RULE_EXPIRED,
    }
)  # fmt: skip


class Change(StrEnum):
    """What a policy does to recorded traffic."""

    NEWLY_BLOCKED = "newly-blocked"
    NEWLY_ALLOWED = "newly-allowed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Recorded:
    """Equal requests that were recorded.

    Attributes:
        question: what they asked.
        allowed: whether they passed; in report mode, whether they would have.
        count: how many there were.
        reason: why it was decided so; None if another program decided.
    """

    question: Question
    allowed: bool
    count: int = 1
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """Recorded requests, and what the policy would do to them.

    Attributes:
        reason: why.
        inspected: whether only a tunnel was recorded, which the policy would look into and may refuse requests in.
    """

    recorded: Recorded
    change: Change
    reason: Reason
    inspected: bool = False


def replay(policy: Policy, traffic: Iterable[Recorded]) -> Iterator[Replayed]:
    """Yield what a policy would do to each group of recorded requests.

    The group of a question that the policy does not have stands for its nearest ancestor that it has.

    Example:
        >>> recorded = Recorded(question_of("https://a.example", "dev"), allowed=True, count=7)
        >>> [(str(each.change), str(each.reason)) for each in replay(policy(), [recorded])]
        [('newly-blocked', 'no_rule')]
    """
    for recorded in traffic:
        question = recorded.question
        decision = decide(policy, at_home(policy, question))
        allows = decision.verdict is Verdict.ALLOW and not decision.would_deny
        if allows and not recorded.allowed and recorded.reason is not None and recorded.reason not in OF_RULES:
            yield Replayed(recorded, Change.UNCHANGED, recorded.reason)
            continue
        change = Change.UNCHANGED
        if allows is not recorded.allowed:
            change = Change.NEWLY_ALLOWED if allows else Change.NEWLY_BLOCKED
        hidden = question.method is None and allows and decision.lane is Lane.INSPECT
        yield Replayed(recorded, change, decision.would_reason or decision.reason, inspected=hidden)


def at_home(policy: Policy, question: Question) -> Question:
    """Return a question with the nearest group that the policy has; without a group if it has none of them.

    Example:
        >>> at_home(policy(), question_of("https://a.example", "dev/gone")).group
        'dev'
    """
    group = question.group
    while group is not None and group not in policy.groups:
        group = group.rpartition("/")[0] or None
    if group == question.group:
        return question
    return Question(group, question.host, question.port, question.method, question.path, clear=question.clear)

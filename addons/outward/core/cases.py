"""Tests of a policy: what its author expects of a request, held against what the policy decides. Pure."""

from dataclasses import dataclass

from outward.core.explain import DecisionTrace, explain
from outward.core.model import Place, Question, Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Case:
    """What is expected of one request.

    Attributes:
        url: as it was written, for the one who reads the outcome.
        question: what the request asks.
        expect: the verdict that the policy gives when it is enforced.
        reason: the reason that goes with it; None accepts any.
        place: where the case was written.
    """

    url: str
    question: Question
    expect: Verdict
    reason: Reason | None
    place: Place

    @property
    def name(self) -> str:
        """One line that names the case: `acme: GET https://example.com/`.

        Example:
            >>> asked = question_of("https://a.example/", "dev")
            >>> Case("https://a.example/", asked, Verdict.ALLOW, None, Place("p.yaml", 9)).name
            'dev: GET https://a.example/'
        """
        return f"{self.question.group}: {self.question.method or 'CONNECT'} {self.url}"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case and the way to the decision that it met."""

    case: Case
    trace: DecisionTrace

    @property
    def verdict(self) -> Verdict:
        """The verdict without report mode: a request that is only reported counts as denied."""
        return Verdict.DENY if self.trace.decision.would_deny else self.trace.decision.verdict

    @property
    def reason(self) -> Reason:
        """The reason without report mode."""
        return self.trace.decision.would_reason or self.trace.decision.reason

    @property
    def passed(self) -> bool:
        """Whether the policy decides as expected."""
        return self.verdict is self.case.expect and self.case.reason in (None, self.reason)

    @property
    def difference(self) -> str:
        """What was expected, and what came: `expected allow, got deny (no_rule)`.

        Example:
            >>> asked = question_of("https://a.example/", "dev")
            >>> result = hold(policy(), Case("https://a.example/", asked, Verdict.DENY, None, Place("p.yaml", 9)))
            >>> result.passed, str(result.reason), hold(policy(rule("a.example")), result.case).difference
            (True, 'no_rule', 'expected deny, got allow (rule)')
        """
        wanted = self.case.expect.name.lower() + (f" ({self.case.reason})" if self.case.reason else "")
        return f"expected {wanted}, got {self.verdict.name.lower()} ({self.reason})"


def hold(policy: Policy, case: Case) -> CaseResult:
    """Ask the policy what a case asks.

    Example:
        >>> asked = question_of("https://a.example/", "dev")
        >>> hold(policy(), Case("https://a.example/", asked, Verdict.ALLOW, None, Place("p.yaml", 9))).difference
        'expected allow, got deny (no_rule)'
    """
    return CaseResult(case, explain(policy, case.question))

"""The judge: holds the policy in force, asks the core, and turns every answer into one event and one count.

Both lanes use it, so that there is one way from a question to a decision, a record and a metric.
"""

import time
from dataclasses import replace
from typing import Protocol

from outward.core.addresses import Address, Own, judge_address
from outward.core.identity import Claims, Identity, Presented, identify
from outward.core.model import Decision, Question, Stage, Verdict
from outward.core.policy import Policy, decide
from outward.core.reasons import Reason
from outward.ops.metrics import Metrics
from outward.records.events import Event


class Recorder(Protocol):
    """Where events go; never blocks and never raises."""

    def record(self, event: Event) -> None:
        """Take one event."""


class Verifier(Protocol):
    """Who verifies the JWTs that clients send; never waits and never raises."""

    def claims(self, policy: Policy, authorization: str | None) -> Claims | None:
        """Return the verified claims of a JWT in proxy credentials, or None."""


class Judge:
    """Answers questions under the policy in force.

    Attributes:
        policy: replaced as a whole by a reload; each question reads it once.
        verifier: of JWTs; None where the policy has no entry for them, so that nothing is loaded for it.
        own: the proxy's own addresses and listeners.
    """

    def __init__(self, policy: Policy, recorder: Recorder, metrics: Metrics, own: Own) -> None:
        self.policy = policy
        self.own = own
        self.verifier: Verifier | None = None
        self.metrics = metrics
        self._recorder = recorder

    def identify(self, presented: Presented) -> Identity:
        """Return who the client is, or why it is refused."""
        policy = self.policy
        if self.verifier is not None:
            presented = replace(presented, claims=self.verifier.claims(policy, presented.authorization))
        return identify(policy, presented)

    def decide(self, question: Question) -> Decision:
        """Decide one question under the policy in force."""
        started = time.perf_counter()
        decision = decide(self.policy, question)
        self.metrics.decision_duration.observe(time.perf_counter() - started)
        return decision

    def address(self, address: Address, port: int) -> Reason | None:
        """Judge an address that is about to be dialled; None where it may be."""
        refusal = judge_address(address, port, self.policy.internal, self.own)
        if refusal is None:
            return None
        return Reason.LOOP if refusal.loop else Reason.ADDRESS_NOT_PUBLIC

    def close(self, event: Event) -> None:
        """Record and count an event whose question has ended. Called exactly once for each question."""
        self.metrics.count_request(event)
        self._recorder.record(event)


def fill(event: Event, decision: Decision, stage: Stage) -> Event:
    """Copy a decision into an event."""
    event.stage = stage
    event.verdict, event.reason, event.rule = decision.verdict, decision.reason, decision.rule
    event.group, event.lane, event.mode = decision.group, decision.lane, decision.mode
    event.would_deny, event.generation = decision.would_deny, decision.generation
    return event


def refuse(event: Event, reason: Reason, stage: Stage) -> Event:
    """Turn an event into a denial for a reason that lies outside the rules."""
    event.stage, event.verdict, event.reason = stage, Verdict.DENY, reason
    return event

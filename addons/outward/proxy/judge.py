"""The judge: holds the policy in force, asks the core, and turns every answer into one event and one count.

Both lanes use it, so that there is one way from a question to a decision, a record and a metric.
"""

import time
from dataclasses import replace
from typing import Protocol

from outward.core.addresses import Address, Own, is_loopback, judge_address
from outward.core.identity import Claims, Identity, Presented, identify
from outward.core.model import Decision, Ech, Question, Stage, Verdict
from outward.core.names import Host, MalformedHostError, canonical_host
from outward.core.policy import Policy, decide
from outward.core.reasons import Reason
from outward.ops.metrics import Metrics
from outward.proxy.hello import Hello
from outward.proxy.interfaces import ends_here
from outward.records.events import Event

_REMEMBERED = 8192  # answers; then all are forgotten, which costs microseconds
_LONGEST_REMEMBERED = 512  # characters of credentials: strangers choose them, and would fill the memory


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
        self._memory = _Memory(policy, own)

    def who(self, peer: Address, authorization: str | None, names: tuple[str, ...] = ()) -> Identity:
        """Return the identity of a client; what it is by address and token alone is remembered.

        Args:
            peer: its address.
            authorization: its proxy credentials, or None.
            names: of its verified certificate.
        """
        long = authorization is not None and len(authorization) > _LONGEST_REMEMBERED
        if self.verifier is not None or names or long:
            return self.identify(Presented(peer, authorization, certificate_names=names))
        known = self._remembered().identities
        identity = known.get((peer, authorization))
        if identity is None:
            identity = known[peer, authorization] = identify(self.policy, Presented(peer, authorization))
        return identity

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

    def decide_connect(self, group: str | None, host: Host, port: int) -> Decision:
        """Decide a CONNECT; agents repeat themselves, so answers are remembered as long as the policy is in force."""
        known = self._remembered().decisions
        decision = known.get((group, host.name, port))
        if decision is None:
            decision = known[group, host.name, port] = self.decide(Question(group, host, port))
        return decision

    def _remembered(self) -> "_Memory":
        memory = self._memory
        if memory.policy is not self.policy or memory.own is not self.own or len(memory) > _REMEMBERED:
            memory = self._memory = _Memory(self.policy, self.own)
        return memory

    def address(self, address: Address, port: int) -> Reason | None:
        """Judge an address that is about to be dialled; None where it may be."""
        known = self._remembered().addresses
        if (address, port) not in known:
            refusal = judge_address(address, port, self.policy.internal, self.own)
            loop = self._leads_back(address, port) if refusal is None else refusal.loop
            known[address, port] = Reason.LOOP if loop else None if refusal is None else Reason.ADDRESS_NOT_PUBLIC
        return known[address, port]

    def _leads_back(self, address: Address, port: int) -> bool:
        """Tell whether a listener's port is asked for at an address of this machine that no interface shows."""
        listens = any(port == listening for _, listening in self.own.listeners)
        return listens and not is_loopback(address) and ends_here(address)

    def close(self, event: Event) -> None:
        """Record and count an event whose question has ended. Called exactly once for each question."""
        self.metrics.count_request(event)
        self._recorder.record(event)


class _Memory:
    """Answers given under one policy, beside one set of own addresses: neither changes, and nothing else decides."""

    __slots__ = ("addresses", "decisions", "identities", "own", "policy")

    def __init__(self, policy: Policy, own: Own) -> None:
        self.policy = policy
        self.own = own
        self.addresses: dict[tuple[Address, int], Reason | None] = {}
        self.decisions: dict[tuple[str | None, str, int], Decision] = {}
        self.identities: dict[tuple[Address, str | None], Identity] = {}

    def __len__(self) -> int:
        return len(self.addresses) + len(self.decisions) + len(self.identities)


def judge_hello(hello: Hello, host: Host, decision: Decision) -> Reason | None:
    """Judge a ClientHello in a tunnel to `host`; None where it may pass (promise: CONNECT target = server name)."""
    if hello.ech and decision.ech is Ech.REFUSE:
        return Reason.ECH_REFUSED
    if hello.sni is None:
        named = host.address is not None and decision.reason is Reason.RULE  # only such a rule matches a literal
        return None if named else Reason.SNI_MISSING
    try:
        return None if canonical_host(hello.sni) == host else Reason.SNI_MISMATCH
    except MalformedHostError:
        return Reason.SNI_MISMATCH


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

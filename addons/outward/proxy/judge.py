"""The judge: holds the policy in force, asks the core, and turns every answer into one event and one count.

Both lanes use it, so that there is one way from a question to a decision, a record and a metric.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from outward.core.addresses import Address, Own, is_loopback
from outward.core.claims import Claims
from outward.core.decide import address_denied, address_refused, decide, for_any_request
from outward.core.grants import Grant, granting, next_end
from outward.core.identity import Identity, Presented, identify
from outward.core.model import Decision, Ech, Mode, Question, Rule, Stage, Verdict
from outward.core.names import Host, MalformedHostError, canonical_host
from outward.core.placeholders import may_hold
from outward.core.policy import Policy
from outward.core.reasons import MEANINGS, Reason
from outward.core.suggest import BARE
from outward.http1.head import Head
from outward.ops.metrics import Metrics
from outward.proxy.challenges import PATIENCE, Challenges
from outward.proxy.guesses import Guesses
from outward.proxy.limiter import Limiter, Over
from outward.proxy.local_addresses import ends_here
from outward.proxy.redirects import Redirects
from outward.proxy.secrets import Secrets
from outward.records.events.values import Event
from outward.tls.client_hello import Hello

if TYPE_CHECKING:
    from outward.records.sending.traces import Traces

_DAY = 86_400  # seconds
_REMEMBERED = 8192  # answers; then all are forgotten, which costs microseconds
_LONGEST_REMEMBERED = 512  # characters of credentials: strangers choose them, and would fill the memory


spelled = lru_cache(maxsize=4096)(str)
"""Returns an address as text."""


class EventSink(Protocol):
    """Where events go; never blocks and never raises."""

    def settle(self, event: Event) -> None:
        """Give a denial that is about to be told the id of the row that counts it."""

    def withdraw(self, event: Event) -> bool:
        """Take back a settled challenge that is not to be recorded; True where its id is free then."""

    def record(self, event: Event) -> None:
        """Take one event."""


class Verifier(Protocol):
    """Who verifies the JWTs that clients send; never waits and never raises."""

    @property
    def problem(self) -> str | None:
        """Which keys could not be read, and why, or None."""

    def claims(self, policy: Policy, authorization: str | None) -> Claims | None:
        """Return the verified claims of a JWT in proxy credentials, or None."""


class OwnAnswers(Protocol):
    """What answers requests for the proxy itself; see `proxy.desk`."""

    @property
    def asking(self) -> bool:
        """Whether requests for access are kept."""

    async def answer(self, head: Head, identity: Identity, body: bytes) -> bytes:
        """Return the response to a request of a known client."""


class Judge:
    """Answers questions under the policy in force.

    Attributes:
        policy: replaced as a whole by a reload, when a day (UTC) begins, and when a grant ends; each question reads it
            once.
        grants: what was opened at run time, over the policy.
        next_end: Unix time in milliseconds at which the next of them ends; None where none does.
        desk: answers what is for the proxy itself; None where nobody does.
        leases: holds a connection that stands by a grant, and returns what lets it go.
        verifier: of JWTs; None where the policy has no entry for them, so that nothing is loaded for it.
        own: the proxy's own addresses and listeners.
        guesses: wrong credentials by source; policies come and go beside it.
        redirects: where clients were sent lately.
        limiter: holds groups to their limits, those of the policy in force.
        secrets: what is set on requests; as long-lived.
    """

    def __init__(
        self, policy: Policy, recorder: EventSink, metrics: Metrics, own: Own, patience: float = PATIENCE
    ) -> None:
        """Begin with a policy.

        Args:
            policy: in force at first.
            recorder: where events go.
            metrics: where they are counted.
            own: the proxy's own addresses and listeners.
            patience: seconds that a client has to answer a challenge before that is recorded as a refusal.
        """
        self._thread = threading.get_ident()
        self._grants: tuple[Grant, ...] = ()
        self.next_end: int | None = None
        self.limiter = Limiter()
        self.desk: OwnAnswers | None = None
        self.traces: Traces | None = None
        self.secrets = Secrets(metrics)
        self.leases: Callable[[Decision, Callable[[], None]], Callable[[], None]] = _unheld
        self.policy = policy
        self.own = own
        self.verifier: Verifier | None = None
        self.metrics = metrics
        metrics.group_connections = self.limiter.connections
        self.guesses = Guesses()
        self.redirects = Redirects()
        self._recorder = recorder
        self._challenges = Challenges(self._close, patience)
        self._memory = _Memory(self.policy, own)

    @property
    def policy(self) -> Policy:
        """The policy in force, which knows what time it is: rules and grants end without anybody's doing.

        Any thread may ask; the loop's alone, which made this, puts what has changed in force.
        """
        if not self._since <= time.time() < self._until:
            if threading.get_ident() != self._thread:
                return self._at(self._policy, time.time())
            self.policy = self._policy
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        now = time.time()
        self._policy = self._at(policy, now)
        self.limiter.use(self._policy)
        self.next_end = next_end(self._grants, int(now * 1000))
        self._since = int(now // _DAY) * _DAY
        day_ends = self._since + _DAY
        self._until = day_ends if self.next_end is None else min(day_ends, self.next_end / 1000)

    def _at(self, policy: Policy, now: float) -> Policy:
        """Return a policy as it is at a Unix time; from any thread."""
        today = time.strftime("%Y-%m-%d", time.gmtime(now))
        dated = policy if policy.today == today else replace(policy, today=today)
        return granting(dated, self._grants, int(now * 1000))

    @property
    def grants(self) -> tuple[Grant, ...]:
        """What was opened at run time, over the policy."""
        return self._grants

    @grants.setter
    def grants(self, grants: tuple[Grant, ...]) -> None:
        self._grants = grants
        self.policy = self._policy

    def stands(self, decision: Decision) -> bool:
        """Tell whether what a decision allowed is still allowed, by whatever."""
        return decision.question is not None and decide(self.policy, decision.question).allowed

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
        memory = self._remembered()
        identity = memory.identities.get((peer, authorization))
        if identity is None:
            identity = identify(self.policy, Presented(peer, authorization))
            memory.room().identities[peer, authorization] = identity
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
        key = (group, host.name, port)
        memory = self._remembered()
        decision = memory.decisions.get(key)
        if decision is None:
            decision = self.decide(Question(group, host, port))
            memory.room().decisions[key] = decision
        return decision

    def decide_request(self, question: Question) -> Decision:
        """Decide a request; remembered as long as the policy is in force, if nothing judges its method or path.

        A path that may hold a placeholder is judged by itself.
        """
        memory = self._remembered()
        if memory.policy.secrets and may_hold((question.path or "").encode("ascii", "replace")):
            return self.decide(question)
        key = (question.group, question.host.name, question.port, question.clear)
        decision = memory.decisions.get(key)
        if decision is None:
            decision = self.decide(question)
            if for_any_request(self.policy, decision):
                memory.room().decisions[key] = decision
        return decision

    @property
    def lines(self) -> dict[tuple[object, ...], str | None]:
        """The lines that would allow what was denied, by what they depend on, as long as the policy is in force."""
        return self._remembered().room().lines

    def _remembered(self) -> "_Memory":
        """Return what is remembered. Take it before you ask: an answer of before a grant's end is none of behind it."""
        memory = self._memory
        fresh = memory.policy is self._policy and self._since <= time.time() < self._until
        if not fresh or memory.own is not self.own:
            memory = self._memory = _Memory(self.policy, self.own)
        return memory

    def address(self, address: Address, port: int, decision: Decision) -> tuple[Reason | None, Rule | None]:
        """Judge an address that is about to be dialled.

        Args:
            address: what the host was resolved to.
            port: TCP port.
            decision: what allowed the host; an empty one opens nothing and is denied by no rule.

        Returns:
            Why it may not be, or None; and the deny rule that says so, if one does.
        """
        memory = self._remembered()
        try:
            reason = memory.addresses[address, port]
        except KeyError:
            reason = self._judged(address, port, Decision())
            memory.room().addresses[address, port] = reason
        if reason is Reason.ADDRESS_NOT_PUBLIC:
            reason = self._judged(address, port, decision)
        denying = address_denied(self.policy, decision, address) if reason is None else None
        if denying is None or decision.mode is Mode.REPORT:
            return reason, None
        return Reason.DENIED_BY_RULE, denying

    def reached(self, event: Event, decision: Decision, address: Address | None) -> None:
        """Note the address of a connection that stands, and what report mode let through there."""
        event.address = None if address is None else spelled(address)
        if address is None or decision.mode is not Mode.REPORT:
            return
        denying = address_denied(self.policy, decision, address)
        if denying is not None:
            event.reason, event.rule, event.stage = Reason.REPORT_ONLY, denying, Stage.ADDRESS
            event.would_deny, event.would_reason = True, Reason.DENIED_BY_RULE

    def _judged(self, address: Address, port: int, decision: Decision) -> Reason | None:
        refusal = address_refused(self.policy, decision, address, port, self.own)
        loop = self._leads_back(address, port) if refusal is None else refusal.loop
        return Reason.LOOP if loop else None if refusal is None else Reason.ADDRESS_NOT_PUBLIC

    def _leads_back(self, address: Address, port: int) -> bool:
        """Tell whether a listener's port is asked for at an address of this machine that no interface shows."""
        listens = any(port == listening for _, listening in self.own.listeners)
        return listens and not is_loopback(address) and ends_here(address)

    def limits(self, event: Event, group: str | None, now: float, stage: Stage) -> bool:
        """Take a request that is allowed from the rates of its group, or refuse its event; True where it is refused."""
        over = self.limiter.ask(group, now) if self.limiter and group is not None else None
        if over is not None:
            refuse_over(event, over, stage)
        return over is not None

    def settle(self, event: Event) -> None:
        """Give a denial the id of the row that counts it. Called before its id is told to anybody."""
        self.secrets.conceal(event)
        self._recorder.settle(event)

    def close(self, event: Event) -> None:
        """Record and count an event whose question has ended. Called exactly once for each question.

        What asks for credentials is no end if they come soon.
        """
        if not (event.challenge and self._challenges.hold(event)):
            self._close(event)

    def answered(self, event: Event) -> None:
        """Let the open event of a known client take the place of the challenge that it answers, if it answers one."""
        challenge = self._challenges.answered(event)
        if challenge is not None and self._recorder.withdraw(challenge):
            event.id = challenge.id

    def end(self) -> None:
        """Record what is held back; nothing is from now on."""
        self._challenges.close()

    def _close(self, event: Event) -> None:
        self.secrets.conceal(event)
        self.metrics.count_request(event)
        self._recorder.record(event)
        if event.span is not None and self.traces is not None:
            self.traces.end(event)


class _Memory:
    """Answers given under one policy, beside one set of own addresses: neither changes, and nothing else decides."""

    __slots__ = ("addresses", "decisions", "identities", "lines", "own", "policy")

    def __init__(self, policy: Policy, own: Own) -> None:
        self.policy = policy
        self.own = own
        self.addresses: dict[tuple[Address, int], Reason | None] = {}
        self.decisions: dict[tuple[object, ...], Decision] = {}
        self.identities: dict[tuple[Address, str | None], Identity] = {}
        self.lines: dict[tuple[object, ...], str | None] = {}

    def __len__(self) -> int:
        return len(self.addresses) + len(self.decisions) + len(self.identities) + len(self.lines)

    def room(self) -> "_Memory":
        """Return itself, with room for one more answer."""
        if len(self) > _REMEMBERED:
            for each in (self.addresses, self.decisions, self.identities, self.lines):
                each.clear()
        return self


def _unheld(_decision: Decision, _cut: Callable[[], None]) -> Callable[[], None]:
    """Hold nothing: there are no grants without somebody who holds connections to their ends."""
    return lambda: None


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
    event.would_deny, event.would_reason = decision.would_deny, decision.would_reason
    event.generation = decision.generation
    return event


def refuse_over(event: Event, over: Over, stage: Stage) -> Event:
    """Turn an event into a denial for a group's limit."""
    refuse(event, Reason.RATE_LIMITED, stage)
    event.detail, event.retry_after = over.why, over.seconds
    event.advice = f"Try again in {over.seconds} s: {over.why}."
    return event


def refuse(event: Event, reason: Reason, stage: Stage, rule: Rule | None = None) -> Event:
    """Turn an event into a denial for a reason that lies outside the rule that matched; softened by nothing.

    Args:
        event: the open event.
        reason: why.
        stage: where.
        rule: the deny rule that names the address; None where none does.
    """
    event.stage, event.verdict, event.reason = stage, Verdict.DENY, reason
    if reason is Reason.NOT_TLS:
        event.scheme = event.scheme or BARE
    if not MEANINGS[reason].unreached:  # what report mode let through, and then was not there, is both
        event.would_deny, event.would_reason = False, None
    event.rule = rule or event.rule
    return event

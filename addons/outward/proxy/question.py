"""From a request head to a question and its event: the same for both lanes.

Owns what an event knows of a request. Never answers the client and never closes an event.
"""

import re
import time
from dataclasses import replace

from outward.core.decide import set_for
from outward.core.identity import Identity
from outward.core.model import Decision, Lane, Question, Stage
from outward.core.readings import objection
from outward.core.reasons import Reason
from outward.core.secrets import MisdirectedError
from outward.http1.head import Head
from outward.proxy.judge import Judge, fill
from outward.proxy.own import ADVICE
from outward.records.events.values import Event

_UNMAPPED = "ask the one who owns the policy."
_BY_POLICY = frozenset(
    {
        *(Reason.NO_RULE, Reason.DENIED_BY_RULE, Reason.PORT_NOT_ALLOWED, Reason.METHOD_NOT_ALLOWED),
        *(Reason.PATH_NOT_ALLOWED, Reason.RULE_EXPIRED, Reason.NOT_TLS, Reason.SECRET_MISDIRECTED),
    }
)
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def event_of(head: Head | None, identity: Identity | None, scheme: str | None = None) -> Event:
    """Return an open event with the facts of a request.

    Args:
        head: the request, as far as it was understood; None where nothing was.
        identity: who asks; None where that was never asked.
        scheme: `http` or `https`; None for CONNECT.
    """
    event = Event()
    if identity is not None:
        event.group, event.client, event.conversation = identity.group, identity.client or None, identity.conversation
        event.client_name, event.subject, event.claims = identity.client_name, identity.subject, identity.claims
    if head is not None:
        event.method, event.scheme, event.path = head.method, scheme, head.path
        event.host, event.port = head.host.name or None, head.port or None
        found = dict(head.fields)
        event.user_agent, parent = found.get("user-agent"), found.get("traceparent")
        if parent is not None:
            trace = _TRACE.fullmatch(parent)
            event.trace_id = trace[1] if trace else None
    return event


def ask(judge: Judge, head: Head, identity: Identity, scheme: str | None = None) -> tuple[Event, Decision]:
    """Ask the judge about a request, and return the open event of the answer.

    A CONNECT is asked about without method and path: they belong to the requests within.
    """
    connect = head.method == "CONNECT"
    span = None if judge.traces is None else judge.traces.begin(head.get("traceparent"))
    if connect:
        decision = _of_known(identity, judge.decide_connect(identity.group, head.host, head.port))
    else:
        decision = _of_known(identity, judge.decide_request(_question(head, identity, scheme)))
    astray = _astray(judge, head, decision)
    if astray is not None:
        decision = replace(decision, reason=Reason.SECRET_MISDIRECTED, rule=None)
    event = event_of(head, identity, scheme)
    judge.secrets.conceal(event)
    if astray is not None:
        judge.secrets.misdirected(astray, event)
    if span is not None:
        event.span, event.trace_id = span, span.trace
        span.stage("judge", (time.time_ns() - span.began) / 1e9)
    fill(event, decision, Stage.CONNECT if connect else Stage.REQUEST)
    if judge.redirects:
        event.redirected_from = judge.redirects.to(identity, head.host.name, time.monotonic())
    if identity.why:
        event.detail, event.advice = identity.why, f"Your token is good, but {identity.why}: {_UNMAPPED}"
    _tell(event, decision, head)
    if identity.refusal is None:
        judge.answered(event)
    if not connect:
        event.lane = Lane.INSPECT  # whatever a tunnel to that host would be: this request was read
    return event, decision


def ask_again(judge: Judge, head: Head, identity: Identity, scheme: str, event: Event) -> Decision:
    """Ask the judge about a request that has waited, and put the answer into its event."""
    decision = _of_known(identity, judge.decide_request(_question(head, identity, scheme)))
    fill(event, decision, Stage.REQUEST)
    _tell(event, decision, head)
    event.lane = Lane.INSPECT
    return decision


def _question(head: Head, identity: Identity, scheme: str | None) -> Question:
    return Question(identity.group, head.host, head.port, head.method, head.path, clear=scheme == "http")


def _of_known(identity: Identity, decision: Decision) -> Decision:
    """Return a decision; if it denies to a client that is not known, with that as its reason."""
    if identity.refusal is None or decision.allowed:
        return decision
    return replace(decision, reason=identity.refusal)


def _astray(judge: Judge, head: Head, decision: Decision) -> MisdirectedError | None:
    """Return what tells of a placeholder in a request that the policy refuses: that says more than the rule."""
    if decision.allowed or decision.reason not in _BY_POLICY:
        return None
    return judge.secrets.astray(head, set_for(judge.policy, decision.group, head.host))


def _tell(event: Event, decision: Decision, head: Head) -> None:
    """Say in words what is known of a denial beyond its reason."""
    if decision.reason is Reason.PATH_NOT_ALLOWED and decision.rule is not None and decision.rule.paths is not None:
        event.detail = objection(decision.rule.paths, head.path or "", encoded_slash=decision.rule.encoded_slash)
    if decision.reason is Reason.MALFORMED_REQUEST:  # the head is not: it names the proxy itself
        event.advice = ADVICE

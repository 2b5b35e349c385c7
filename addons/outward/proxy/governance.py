"""Governance of hosted search in the inspect lane: asks `search` about each request, and tells what came of it.

Owns the way from an exchange to a judgement, and from a response to audit event, receipt, blocked log and metrics. The
judgement itself is pure and lives in `search`; nothing here knows a vendor.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from outward.config.settings import Settings
from outward.core.identity import Identity
from outward.core.model import OptIn, Stage, Verdict, WebSearch
from outward.core.reasons import MEANINGS, Reason
from outward.proxy.consent import Consent
from outward.proxy.dialect import Told
from outward.proxy.head import Head, ResponseHead
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.governor import CutError, Pass, Refuse, Tap, Whole
from outward.proxy.judge import Judge
from outward.records.audit import AuditEvent
from outward.records.events import Event, new_id
from outward.search import tables
from outward.search.govern import Governance, Outcome, Request, unaudited
from outward.search.observation import MAX_WHOLE, Observation
from outward.search.receipts import Audited, blocked, invoked, receipt_of, sandboxed
from outward.search.registry import Registry, registry_of, valve_of
from outward.search.suffixes import is_public_suffix
from outward.search.turn import Action, Finding
from outward.search.vendors import NAMES, load
from outward.search.vendors.mcp import rpc_error, rpc_id
from outward.threads import Threads

_log = logging.getLogger(__name__)

# A longer body is judged in a thread: one full of domains takes two milliseconds for each kilobyte.
_IN_LOOP = 16 * 1024
_THREADS = 4
# How often one request is sent anew: a vendor may name the domains that it refuses one by one.
_TRIES = 8


class Sinks(Protocol):
    """Where searches are told; never blocks and never raises."""

    @property
    def unaudited(self) -> bool:
        """Whether audit events cannot be kept now."""

    def audit(self, event: AuditEvent) -> None:
        """Take one audit event."""

    def receipt(self, receipt: Mapping[str, Any]) -> None:
        """Take the receipt of one request."""


@dataclass(slots=True)
class _Open:
    """A governed exchange whose response is still to come, or coming."""

    request: Request
    outcome: Outcome
    settings: WebSearch
    tries: int = 0
    observation: Observation | None = None
    finished: bool = False


def registry_for(settings: Settings) -> Registry:
    """Return the governed hosts: the known ones and those that the configuration adds.

    Raises:
        TableError: when a table that the configuration lays over the shipped ones cannot be read.
    """
    mcp = ((server.host, server.tools) for server in settings.mcp)
    if settings.vendor_tables:
        tables.surface.cache_clear()  # their content may have changed
        tables.check(settings.vendor_tables)
    valves = {
        host: valve_of(each.endpoints, each.tools, each.fields, report=each.report)
        for host, each in settings.opened.items()
    }
    return registry_of(settings.vendors, settings.trusted_vendors, mcp, valves, settings.vendor_tables)


class SearchGovernor:
    """Implements the inspect lane's `Governor`.

    Args:
        judge: holds the policy in force, the metrics and the recorder.
        registry: the governed hosts.
        consent: toggles and opt-ins.
        sinks: audit and receipts.
        body_limit: most bytes of a request body after its content encoding is undone.
    """

    def __init__(self, judge: Judge, registry: Registry, consent: Consent, sinks: Sinks, body_limit: int) -> None:
        self._judge, self._consent, self._sinks = judge, consent, sinks
        self._governance = Governance(registry, body_limit)
        self._threads = Threads("search", _THREADS)
        self._open: dict[int, _Open] = {}

    @staticmethod
    def warm() -> None:
        """Load what the first request would wait for: the adapters and the public suffix list. For a thread."""
        for name in NAMES:
            load(name)
        is_public_suffix("example.com")

    def use(self, settings: Settings) -> None:
        """Follow a reload; tables that cannot be read leave the last good ones in force."""
        try:
            self._governance.registry = registry_for(settings)
        except tables.TableError:
            self._judge.metrics.internal_error("vendor_tables")
            _log.exception("the tables of vendors cannot be read: the last good ones stay in force")

    def dialect(self, vendor: str, head: Head, reason: Reason, message: str) -> Told:
        """Return a denial as the vendor itself would say it."""
        adapter = load(self._governance.adapter_at(vendor, head.path or "/"))
        status = adapter.status(reason, head.get("user-agent") or "")
        return Told(adapter.error(message, reason, status or MEANINGS[reason].status), status)

    def _answered(self, request: Request, outcome: Outcome) -> Callable[[Reason, str], Told] | None:
        """Return how the call within a body is answered, where it is one (JSON-RPC)."""
        call = None if outcome.adapter != "mcp" else rpc_id(request.body)
        return None if call is None else lambda _reason, message: Told(rpc_error(call, message), 200)

    def request_needs_body(self, vendor: str, head: Head) -> bool:
        """Tell whether the body is judged; where the endpoint alone decides, it streams unread."""
        return self._governance.needs_body(vendor, head.host.name, head.method, head.path or "/")

    def on_request(self, exchange: Exchange, body: bytes) -> Awaitable[Pass | Refuse] | Pass | Refuse:
        """Judge a request to a governed host."""
        request = self._request(exchange, body)
        if request is None:
            return Refuse(Reason.UNKNOWN_CLIENT)
        return self._judged(request, partial(self._decided, exchange, request))

    def _judged[T](self, request: Request, then: Callable[[Outcome], T]) -> Awaitable[T] | T:
        """Judge a request and go on with the outcome; in a thread where its body is long, or encoded: it may unfold."""
        if len(request.body) > _IN_LOOP or request.headers.get("content-encoding"):
            return self._in_thread(request, then)
        return then(self._governance.judge(request))

    async def _in_thread[T](self, request: Request, then: Callable[[Outcome], T]) -> T:
        return then(await self._threads.run(self._governance.judge, request))

    def _request(self, exchange: Exchange, body: bytes) -> Request | None:
        head, event, policy = exchange.request, exchange.event, self._judge.policy
        group = policy.groups.get(event.group or "")
        vendor = exchange.decision.vendor
        if group is None or vendor is None:
            return None
        identity = exchange.identity or Identity()
        settings = self._consent.web_search(group.path)
        if identity.opt_in is not None:
            settings = replace(settings, opt_in=identity.opt_in)
        opted_in = settings.opt_in is OptIn.ASSUMED or self._consent.opted_in(
            group.path, event.conversation, identity.credential
        )
        return Request(
            vendor, head.host.name, head.method, head.path or "/", policy, group, settings, opted_in,
            query=head.target.partition("?")[2], headers=_joined(head.fields), body=body, bodied=head.length != 0,
        )  # fmt: skip

    def _decided(self, exchange: Exchange, request: Request, outcome: Outcome) -> Pass | Refuse:
        """Tell of what was found, and remember what the response is for."""
        if outcome.watched and self._sinks.unaudited:
            outcome = unaudited(outcome)
            exchange.event.detail = outcome.detail
        if outcome.deny is not None:  # before its id stands in an audit event
            exchange.refuse(outcome.deny, Stage.SEARCH)
            self._judge.settle(exchange.event)
        self._tell(exchange, outcome)
        if outcome.deny is not None:
            return Refuse(outcome.deny, outcome.line, outcome.detail, self._answered(request, outcome))
        fields = dict(outcome.headers)
        if outcome.turn is not None and (outcome.watched or outcome.turn.filtered):
            fields["accept-encoding"] = "identity"
            self._open[id(exchange)] = _Open(request, outcome, request.settings)
        return Pass(outcome.body, fields)

    def _tell(self, exchange: Exchange, outcome: Outcome) -> None:
        """Tell of what a request carries, and of what became of it."""
        if outcome.audited and outcome.adapter is not None:
            for finding in outcome.findings:
                self._judge.metrics.web_search(outcome.adapter, str(finding.action))
            for finding in _distinct(outcome.findings):
                if finding.reason is not None:
                    self._audit(exchange, blocked(outcome.adapter, finding))
                if finding.action is Action.STRIPPED and finding.reason is not None:
                    self._note(exchange, finding.reason, Stage.SEARCH, Verdict.DENY)
        for unknown in outcome.unknowns:  # it passes, and its event says that it would not
            self._note(exchange, unknown.reason, Stage.SEARCH, Verdict.ALLOW)
        for machine in outcome.turn.sandboxes if outcome.turn is not None and outcome.deny is None else ():
            self._audit(exchange, sandboxed(outcome.adapter, machine))

    def response_tap(self, exchange: Exchange, response: ResponseHead) -> Tap | None:
        """Return what reads the response of a request that may have searched."""
        state = self._open.get(id(exchange))
        if state is None:
            return None
        observation = self._governance.observe(state.outcome, response.status, _joined(response.fields))
        state.observation = observation
        if observation is None:
            return None
        if (
            observation.whole or observation.turn.filtered
        ) and observation.encoded:  # although it was asked for plain: it may be a bomb
            exchange.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, Stage.RESPONSE)
            return None
        return (
            self._whole(exchange, state, observation)
            if observation.whole
            else self._stream(exchange, state, observation)
        )

    def _stream(self, exchange: Exchange, state: _Open, observation: Observation) -> Tap:
        """Return a tap that passes on what it reads, and pays for the most that it has held."""
        paid = 0

        def tap(data: bytes) -> bytes:
            nonlocal paid
            if not data:
                rest = observation.finish()
                self._finish(exchange, state, observation)
                return rest
            passed = observation.feed(data)
            if observation.held > paid:
                if exchange.hold(observation.held - paid):
                    paid = observation.held
                else:
                    passed += observation.give_up()
            if observation.was_cut:
                if not observation.seen.violated:
                    self._note(exchange, Reason.WEB_SEARCH_UNINSPECTABLE, Stage.RESPONSE, Verdict.DENY)
                raise CutError(passed)
            return passed

        return tap

    def _whole(self, exchange: Exchange, state: _Open, observation: Observation) -> Tap:
        """Return a tap that holds the response until it is filtered, or judged as a whole."""
        held = bytearray()

        def tap(data: bytes) -> bytes:
            if data:
                held.extend(data)
                if len(held) > MAX_WHOLE:
                    raise _withheld(exchange, Reason.TOO_LARGE)
                if not exchange.hold(len(data)):
                    raise _withheld(exchange, Reason.OVERLOADED)
                return b""
            body = observation.replace(bytes(held))
            if body is None:
                cut = Reason.SOURCE_OUTSIDE_ALLOWLIST if observation.was_cut else Reason.WEB_SEARCH_UNINSPECTABLE
                exchange.refuse(cut, Stage.RESPONSE)
            self._finish(exchange, state, observation)
            if body is None:
                raise CutError
            return body

        return Whole(tap)

    def holds(self, exchange: Exchange, response: ResponseHead) -> bool:
        """Tell whether a refusal may name domains that the vendor does not search."""
        state = self._open.get(id(exchange))
        return state is not None and state.tries < _TRIES and response.status == 400

    def again(self, exchange: Exchange, status: int, body: bytes) -> Awaitable[Pass | None] | Pass | None:
        """Judge the request once more without the domains that the vendor refused."""
        state = self._open.get(id(exchange))
        if state is None or state.tries >= _TRIES or self._sinks.unaudited:
            return None
        state.tries += 1
        if not self._governance.learn(state.outcome, status, body):
            return None
        return self._judged(state.request, partial(self._mended, exchange, state))

    def _mended(self, exchange: Exchange, state: _Open, outcome: Outcome) -> Pass | None:
        """Return what is sent in the place of a request that was refused; None where nothing would be."""
        if outcome.deny is not None or outcome.body is None or outcome.adapter is None:
            return None
        for finding in _distinct(outcome.findings):
            if finding.reason is not None:
                self._audit(exchange, blocked(outcome.adapter, finding))
        state.outcome = outcome
        return Pass(outcome.body, {**outcome.headers, "accept-encoding": "identity"})

    def on_close(self, exchange: Exchange) -> None:
        """Tell of a response that ended early."""
        state = self._open.pop(id(exchange), None)
        if state is not None and state.observation is not None and not state.finished:
            state.observation.finish(aborted=True)
            self._finish(exchange, state, state.observation)

    def _finish(self, exchange: Exchange, state: _Open, observation: Observation) -> None:
        """Tell of a response that was read, once."""
        state.finished = True
        seen, outcome, settings = observation.seen, state.outcome, state.settings
        if observation.early:
            return
        self._governance.counted(observation)
        if outcome.adapter is None or not observation.news:
            return
        if not outcome.findings:  # a retrieval: the request itself was counted when it came
            self._judge.metrics.web_search(outcome.adapter, str(Action.OBSERVED))
        group = exchange.event.group or ""
        self._audit(exchange, invoked(outcome.adapter, outcome.findings, seen, settings.record, settings.filter))
        self._sinks.receipt(receipt_of(exchange.event.conversation, group, seen, settings.record).as_json())
        if seen.violated and not exchange.refused:
            verdict = Verdict.DENY if observation.was_cut else Verdict.ALLOW
            self._note(exchange, Reason.SOURCE_OUTSIDE_ALLOWLIST, Stage.RESPONSE, verdict)

    def _audit(self, exchange: Exchange, audited: Audited) -> None:
        event = exchange.event
        event.told = event.told or event.fold is None  # a settled denial has the id of its row already
        self._sinks.audit(
            AuditEvent(
                event_type=audited.name,
                group=event.group,
                target=event.conversation,
                author=event.client,
                ip_address=None if exchange.identity is None else event.client,
                message=f"{audited.details['tool_type']} {audited.details['action']}",
                details={**audited.details, "decision_id": event.id},
            )
        )

    def _note(self, exchange: Exchange, reason: Reason, stage: Stage, verdict: Verdict) -> None:
        """Put into the log what happened beside the exchange's own event: the turn goes on, the search does not."""
        event: Event = replace(exchange.event, id=new_id(), time=time.time(), reason=reason, stage=stage)
        event.told, event.fold, event.would_reason = False, None, None
        event.verdict, event.would_deny, event.status = verdict, verdict is Verdict.ALLOW, None
        self._judge.close(event)


def _withheld(exchange: Exchange, reason: Reason) -> CutError:
    """Refuse an exchange of whose response the client has seen nothing, and return what ends it."""
    exchange.refuse(reason, Stage.RESPONSE, 502 if reason is Reason.TOO_LARGE else None)  # the answer, not the request
    return CutError()


def _distinct(findings: Iterable[Finding]) -> Iterable[Finding]:
    """Return one finding for each tool, action and reason: many searches in one request are not many rows."""
    return {(each.tool, each.action, each.reason): each for each in findings}.values()


def _joined(fields: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> dict[str, str]:
    """Return values by name; a repeated field is one list (RFC 9110 5.3)."""
    found: dict[str, str] = {}
    for name, value in fields:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found

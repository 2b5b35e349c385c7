"""What is told of searches: audit events, receipts, the blocked log, metrics. Decides nothing."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from outward.core.model import Stage, Verdict, WebSearch
from outward.core.reasons import Reason
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.judge import Judge
from outward.records.audit.events import who
from outward.records.audit.values import AuditEvent
from outward.records.events.values import Event, new_id
from outward.search.govern import Governed
from outward.search.observation import Observation
from outward.search.receipts import Audited, blocked, invoked, receipt_of, sandboxed
from outward.search.tools import Action, SearchTool


class Sinks(Protocol):
    """Where searches are told; never blocks and never raises."""

    @property
    def unaudited(self) -> bool:
        """Whether audit events cannot be kept now."""

    def audit(self, event: AuditEvent) -> None:
        """Take one audit event."""

    def receipt(self, receipt: Mapping[str, Any]) -> None:
        """Take the receipt of one request."""


class Overheard:
    """Sinks whose receipts somebody else sees too."""

    def __init__(self, sinks: Sinks, hear: Callable[[Mapping[str, Any]], None]) -> None:
        self._sinks, self._hear = sinks, hear
        self.audit = sinks.audit

    @property
    def unaudited(self) -> bool:
        """Whether audit events cannot be kept now."""
        return self._sinks.unaudited

    def receipt(self, receipt: Mapping[str, Any]) -> None:
        """Take the receipt of one request."""
        self._hear(receipt)
        self._sinks.receipt(receipt)


class Teller:
    """Tells of requests and of their answers.

    Args:
        judge: records events, and has the metrics.
        sinks: audit and receipts.
    """

    def __init__(self, judge: Judge, sinks: Sinks) -> None:
        self._judge, self.sinks = judge, sinks

    def request(self, exchange: Exchange, outcome: Governed) -> None:
        """Tell of what a request carries, and of what became of it."""
        if outcome.audited and outcome.adapter is not None:
            for finding in outcome.findings:
                self._judge.metrics.web_search(outcome.adapter, str(finding.action))
            self.blocked(exchange, outcome)
            for finding in _distinct(outcome.findings):
                if finding.action is Action.STRIPPED and finding.reason is not None:
                    self.note(exchange, finding.reason, Stage.SEARCH, Verdict.DENY)
        for unknown in outcome.unknowns:  # it passes, and its event says that it would not
            self.note(exchange, unknown.reason, Stage.SEARCH, Verdict.ALLOW)
        for machine in outcome.turn.sandboxes if outcome.turn is not None and outcome.deny is None else ():
            self._audit(exchange, sandboxed(outcome.adapter, machine))

    def blocked(self, exchange: Exchange, outcome: Governed) -> None:
        """Audit the searches that were stripped or denied."""
        for finding in _distinct(outcome.findings):
            if finding.reason is not None:
                self._audit(exchange, blocked(outcome.adapter or "", finding))

    def answer(self, exchange: Exchange, outcome: Governed, observation: Observation, settings: WebSearch) -> None:
        """Tell of the searches of an answer that was read."""
        seen = observation.seen
        if outcome.adapter is None or not observation.news:
            return
        if not outcome.findings:  # a retrieval: the request itself was counted when it came
            self._judge.metrics.web_search(outcome.adapter, str(Action.OBSERVED))
        group = exchange.event.group or ""
        self._audit(exchange, invoked(outcome.adapter, outcome.findings, seen, settings.record, settings.filter))
        self.sinks.receipt(receipt_of(exchange.event.conversation, group, seen, settings.record).as_json())
        if seen.violated and not exchange.refused:
            verdict = Verdict.DENY if observation.was_cut else Verdict.ALLOW
            self.note(exchange, Reason.SOURCE_OUTSIDE_ALLOWLIST, Stage.RESPONSE, verdict)

    def _audit(self, exchange: Exchange, audited: Audited) -> None:
        event = exchange.event
        event.told = event.told or event.fold is None  # a settled denial has the id of its row already
        self.sinks.audit(
            AuditEvent(
                event_type=audited.name,
                group=event.group,
                target=event.conversation,
                author=event.client,
                ip_address=None if exchange.identity is None else event.client,
                message=f"{audited.details['tool_type']} {audited.details['action']}",
                details={**audited.details, "decision_id": event.id, **who(event)},
            )
        )

    def note(self, exchange: Exchange, reason: Reason, stage: Stage, verdict: Verdict) -> None:
        """Put into the log what happened beside the exchange's own event: the turn goes on, the search does not."""
        event: Event = replace(exchange.event, id=new_id(), time=time.time(), reason=reason, stage=stage)
        event.told, event.fold, event.would_reason = False, None, None
        event.verdict, event.would_deny, event.status = verdict, verdict is Verdict.ALLOW, None
        self._judge.close(event)


def _distinct(findings: Iterable[SearchTool]) -> Iterable[SearchTool]:
    """Return one finding for each tool, action and reason: many searches in one request are not many rows."""
    return {(each.tool, each.action, each.reason): each for each in findings}.values()

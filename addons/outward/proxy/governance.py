"""Governance of hosted search in the inspect lane: asks `search` about each request, and tells what came of it.

Owns the way from an exchange to a judgement, and from a response to audit event, receipt, blocked log and metrics. The
judgement itself is pure and lives in `search`; nothing here knows a vendor.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from inspect import isawaitable

from outward.config.settings import Settings
from outward.config.suffixes import is_public_suffix
from outward.core.identity import Identity
from outward.core.model import OptIn, Stage, Verdict, WebSearch
from outward.core.reasons import MEANINGS, Reason
from outward.http1.head import Head, ResponseHead
from outward.proxy.allowance import Allowance, SearchCounter
from outward.proxy.dialect import VendorDenial
from outward.proxy.inspection.exchange import UNREACHED, Exchange
from outward.proxy.inspection.governor import Pass, Refuse, Tap, Whole
from outward.proxy.judge import Judge
from outward.proxy.machines import KnownMachines, Store
from outward.proxy.reading import IN_LOOP, Readers, Reading
from outward.proxy.search_hosts import registry_for
from outward.proxy.search_settings import Consent
from outward.proxy.search_told import Sinks, Teller
from outward.records.state.search_counts import SearchReservation
from outward.search import tables
from outward.search.govern import Governance, Governed, SearchRequest, unaudited
from outward.search.machines import Machine
from outward.search.observation import Observation
from outward.search.registry import Registry
from outward.search.sandbox import made
from outward.search.vendors import NAMES, load
from outward.search.vendors.mcp import rpc_error, rpc_id
from outward.threads import Threads

_log = logging.getLogger(__name__)

_THREADS = 4  # that judge requests
_READERS = 2  # that read responses
# How often one request is sent anew: a vendor may name the domains that it refuses one by one.
_TRIES = 8
_MACHINES = 8  # at the vendor, that one request may name


@dataclass(slots=True)
class _Open:
    """A governed exchange whose response is still to come, or coming.

    Attributes:
        grant: the searches that were reserved for it; None where no day is limited.
        tries: how often it was sent anew.
        refused: whether the vendor answered with an error.
    """

    request: SearchRequest
    outcome: Governed
    settings: WebSearch
    grant: SearchReservation | None
    tries: int = 0
    reading: Reading | None = None
    refused: bool = False


class SearchGovernor:
    """Implements the inspect lane's `Governor`.

    Args:
        judge: holds the policy in force, the metrics and the recorder.
        registry: the governed hosts.
        consent: toggles and opt-ins.
        sinks: audit and receipts.
        body_limit: most bytes of a request body after its content encoding is undone.
        machines: keeps the machines at vendors that groups made; None where only this process remembers them.
        counts: of searches by group and day; None where nothing is counted, and no group with a limit searches.
    """

    def __init__(
        self,
        judge: Judge,
        registry: Registry,
        consent: Consent,
        sinks: Sinks,
        body_limit: int,
        *,
        counts: SearchCounter | None = None,
        machines: Store | None = None,
    ) -> None:
        self._judge, self._consent = judge, consent
        self._tell, self._allowance = Teller(judge, sinks), Allowance(judge, counts)
        self._governance = Governance(registry, body_limit)
        self._machines = KnownMachines(self._governance.machines, machines)
        self._threads = Threads("search", _THREADS)
        self.readers = Readers(_READERS)
        self._open: dict[int, _Open] = {}
        self._prepared: tuple[Settings, Registry] | None = None

    @staticmethod
    def warm() -> None:
        """Load what the first requests would wait for: adapters, tables, public suffixes. For a thread."""
        for name in NAMES:
            load(name)
        for name in tables.names():
            tables.surface(name)
        is_public_suffix("example.com")

    def prepare(self, settings: Settings) -> None:
        """Read what `use` will put in force. For a thread.

        Raises:
            TableError: when a table that the settings name cannot be read.
        """
        self._prepared = settings, registry_for(settings)

    def use(self, settings: Settings) -> None:
        """Follow a reload.

        Raises:
            TableError: when a table that the settings name cannot be read; nothing was changed.
        """
        of, registry = self._prepared or (None, None)
        self._governance.registry = registry if registry is not None and of is settings else registry_for(settings)

    def dialect(self, vendor: str, head: Head, reason: Reason, message: str) -> VendorDenial:
        """Return a denial as the vendor itself would say it."""
        adapter = load(self._governance.adapter_at(vendor, head.path or "/"))
        status = adapter.status(reason, head.get("user-agent") or "")
        return VendorDenial(adapter.error(message, reason, status or MEANINGS[reason].status), status)

    def _answered(self, request: SearchRequest, outcome: Governed) -> Callable[[Reason, str], VendorDenial] | None:
        """Return how the call within a body is answered, where it is one (JSON-RPC)."""
        call = None if outcome.adapter != "mcp" else rpc_id(request.body)
        agent = request.headers.get("user-agent", "")
        return None if call is None else lambda _reason, message: VendorDenial(rpc_error(call, message, agent), 200)

    def request_needs_body(self, vendor: str, head: Head) -> bool:
        """Tell whether the body is judged; where the endpoint alone decides, it streams unread."""
        return self._governance.needs_body(vendor, head.host.name, head.method, head.path or "/")

    def on_request(self, exchange: Exchange, body: bytes) -> Awaitable[Pass | Refuse] | Pass | Refuse:
        """Judge a request to a governed host."""
        request = self._request(exchange, body)
        if request is None:
            return Refuse(Reason.UNKNOWN_CLIENT)
        if request.settings.per_day:
            return self._limited(exchange, self._allowance.first(request))
        return self._judged(request, partial(self._met, exchange, request))

    def _met(
        self, exchange: Exchange, request: SearchRequest, outcome: Governed
    ) -> Awaitable[Pass | Refuse] | Pass | Refuse:
        """Go on with an outcome, unless it names a machine at the vendor that another proxy may know."""
        if outcome.unmet is None:
            return self._decided(exchange, request, outcome)
        return self._looked_up(exchange, request, outcome)

    async def _looked_up(self, exchange: Exchange, request: SearchRequest, outcome: Governed) -> Pass | Refuse:
        return self._decided(exchange, request, await self._known(request, outcome))

    async def _known(self, request: SearchRequest, outcome: Governed) -> Governed:
        """Judge a request anew as long as machines that it names turn out to be known."""
        for _ in range(_MACHINES):
            if outcome.unmet is None or not await self._machines.find(outcome.unmet):
                break
            outcome = await self._threads.run(self._governance.judge, request)
        return outcome

    async def _limited(self, exchange: Exchange, request: SearchRequest) -> Pass | Refuse:
        """Judge a request of a group whose searches are limited: they are counted before it is sent."""
        outcome, grant = await self._outcome(request), None
        if not self._tell.sinks.unaudited:
            outcome, grant = await self._allowance.reserve(request, outcome, self._outcome)
        if grant is not None:
            request = replace(request, left=grant.searches)
        decided: Pass | Refuse | None = None
        try:
            decided = self._decided(exchange, request, outcome, grant)
        finally:
            if not isinstance(decided, Pass):
                self._allowance.settle(grant, 0)
        return decided

    async def _outcome(self, request: SearchRequest) -> Governed:
        judged = self._judged(request, lambda outcome: outcome)
        return await self._known(request, judged if isinstance(judged, Governed) else await judged)

    def _judged[T](self, request: SearchRequest, then: Callable[[Governed], Awaitable[T] | T]) -> Awaitable[T] | T:
        """Judge a request and go on with the outcome; in a thread where its body is long, or encoded: it may unfold."""
        if len(request.body) > IN_LOOP or request.headers.get("content-encoding"):
            return self._in_thread(request, then)
        return then(self._governance.judge(request))

    async def _in_thread[T](self, request: SearchRequest, then: Callable[[Governed], Awaitable[T] | T]) -> T:
        found = then(await self._threads.run(self._governance.judge, request))
        return await found if isawaitable(found) else found

    def _request(self, exchange: Exchange, body: bytes) -> SearchRequest | None:
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
        return SearchRequest(
            vendor, head.host.name, head.method, head.path or "/", policy, group, settings, opted_in,
            query=head.target.partition("?")[2], headers=_joined(head.fields), body=body, bodied=head.length != 0,
        )  # fmt: skip

    def _decided(
        self, exchange: Exchange, request: SearchRequest, outcome: Governed, grant: SearchReservation | None = None
    ) -> Pass | Refuse:
        """Tell of what was found, and remember what the response is for."""
        if exchange.closed:  # meanwhile: nothing is sent, and nobody would forget what is remembered
            return Refuse(exchange.event.reason)
        if outcome.watched and self._tell.sinks.unaudited:
            outcome = unaudited(outcome)
            exchange.event.detail = outcome.detail
        if outcome.deny is not None:  # before its id stands in an audit event
            exchange.refuse(outcome.deny, Stage.SEARCH)
            self._judge.settle(exchange.event)
        self._tell.request(exchange, outcome)
        if outcome.deny is not None:
            return Refuse(outcome.deny, outcome.line, outcome.detail, self._answered(request, outcome))
        fields = dict(outcome.headers)
        if outcome.read:
            fields["accept-encoding"] = "identity"
            self._open[id(exchange)] = _Open(request, outcome, request.settings, grant)
        return Pass(outcome.body, fields)

    def response_tap(self, exchange: Exchange, response: ResponseHead) -> Tap | None:
        """Return what reads the response of a request that may have searched."""
        state = self._open.get(id(exchange))
        if state is None:
            return None
        state.refused = not 200 <= response.status < 300
        observation = self._governance.observe(state.outcome, response.status, _joined(response.fields))
        if observation is None:
            return None
        ended = partial(self._finish, exchange, state, observation)
        cut = partial(self._tell.note, exchange, Reason.WEB_SEARCH_UNINSPECTABLE, Stage.RESPONSE, Verdict.DENY)
        reading = state.reading = Reading(exchange, observation, self.readers, ended, cut)
        reading.noted = partial(self._remember, state, observation)
        whole = observation.whole
        if (whole or observation.turn.filtered) and observation.encoded:  # although asked for plain: it may be a bomb
            exchange.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, Stage.RESPONSE)
            return None
        return Whole(reading.whole) if whole else reading.piece

    def _remember(self, state: _Open, observation: Observation) -> None:
        """Take note of the machines and conversations that an answer names, with what they may reach."""
        for ident, network in made(observation.turn, observation.seen).items():
            self._machines.remember(Machine(state.request.group.path, state.request.host, ident), network)

    def holds(self, exchange: Exchange, response: ResponseHead) -> bool:
        """Tell whether a refusal may name domains that the vendor does not search."""
        state = self._open.get(id(exchange))
        return state is not None and state.tries < _TRIES and response.status == 400

    def again(self, exchange: Exchange, status: int, body: bytes) -> Awaitable[Pass | None] | Pass | None:
        """Judge the request once more without the domains that the vendor refused."""
        state = self._open.get(id(exchange))
        if state is None or state.tries >= _TRIES or self._tell.sinks.unaudited:
            return None
        state.tries += 1
        if not self._governance.learn(state.outcome, status, body):
            return None
        return self._judged(state.request, partial(self._mended, exchange, state))

    def _mended(self, exchange: Exchange, state: _Open, outcome: Governed) -> Pass | None:
        """Return what is sent in the place of a request that was refused; None where nothing would be."""
        if exchange.closed or outcome.deny is not None or outcome.body is None or outcome.adapter is None:
            return None
        self._tell.blocked(exchange, outcome)
        state.outcome = outcome
        return Pass(outcome.body, {**outcome.headers, "accept-encoding": "identity"})

    def on_close(self, exchange: Exchange) -> None:
        """Tell of a response that ended early."""
        state = self._open.pop(id(exchange), None)
        if state is None:
            return
        if state.reading is not None:
            state.reading.leave()
        elif (
            state.refused or exchange.event.reason in UNREACHED
        ):  # it searched nothing; of a client that left we know not
            self._allowance.settle(state.grant, 0)

    async def settle(self, seconds: float) -> None:
        """Wait until what has come of responses is read and told, for a number of seconds at most."""
        await self.readers.settle(seconds)

    def _finish(self, exchange: Exchange, state: _Open, observation: Observation) -> None:
        """Tell of a response that was read, once."""
        self._remember(state, observation)
        if observation.early:  # a later answer tells the whole; what was reserved stays counted
            return
        if not (state.outcome.watched or observation.turn.filtered):  # it was read for the machine that it ran on
            return
        self._governance.counted(observation)
        outcome = state.outcome
        self._allowance.answered(exchange.event.group or "", outcome.adapter or "", state.grant, observation.seen)
        self._tell.answer(exchange, outcome, observation, state.settings)


def _joined(fields: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> dict[str, str]:
    """Return values by name; a repeated field is one list (RFC 9110 5.3)."""
    found: dict[str, str] = {}
    for name, value in fields:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found

"""The policy of one inspected connection: the questions that the engine asks on its way, and their answers.

Owns promise 5 (CONNECT target = server name = Host) and the judgement of every request on a kept-alive connection under
the policy then in force. Knows nothing of the engine, which calls each hook through its guard: an exception or a
timeout denies.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import isawaitable
from itertools import islice

from outward.config.settings import Limits
from outward.core.identity import Identity
from outward.core.model import Decision, Lane, Stage, Verdict
from outward.core.names import Host, MalformedHostError, canonical_host
from outward.core.reasons import Reason
from outward.core.secrets import MisdirectedError, masked
from outward.http1.fields import Fields, HeadError
from outward.http1.forwarding import websocket_accepted
from outward.http1.head import CLEAR, Head, ResponseHead, Within, parse_head, redirected
from outward.proxy import deadlines
from outward.proxy.context import ConnectionContext
from outward.proxy.inspection.budget import Budget, too_long
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.governor import Governor, Pass, Refuse, Said, Tap
from outward.proxy.inspection.tls import SPOKEN, only_http2
from outward.proxy.judge import Judge, fill, judge_hello, refuse, refuse_over
from outward.proxy.own import MOST, is_ours
from outward.proxy.parent import answered
from outward.proxy.question import ask, ask_again, event_of
from outward.proxy.secrets import Lookout
from outward.records.events.values import Event
from outward.tls.alert import Alert
from outward.tls.client_hello import Hello


@dataclass(slots=True)
class Parts:
    """What the hooks of all connections share.

    Attributes:
        governor: of hosted search; None until there is one.
        budget: of the bodies that are held back.
    """

    judge: Judge
    limits: Limits
    governor: Governor | None = None
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True)
class Onward:
    """What becomes of a response.

    Attributes:
        tap: reads, and may change, its body.
        held: it is a refusal that is read first, because the request may be mended and sent once more.
    """

    tap: Tap | None = field(default=None)
    held: bool = False


_NAMED = 3  # protocols

_After = tuple[Pass | None, Tap | None]


class Hooks:
    """The hooks of one connection.

    Attributes:
        within: the tunnel that its requests come through; None without one.
        sealed: they come inside TLS, and go on in TLS.
        asked: a request has been heard.
    """

    def __init__(self, parts: Parts, context: ConnectionContext) -> None:
        head = context.head
        self.within = Within(head.host, head.port) if head.method == "CONNECT" else None
        self.sealed = self.within is not None
        self.asked = False
        original = context.original
        self._through = self.within if original is None or self.within else redirected(original[1])
        self._parts = parts
        self._judge = parts.judge
        self._context = context
        self._pending: ConnectionContext | None = context if self.within is None else None
        self._refusal: tuple[Reason, Stage] | None = None
        self._sni: str | None = None
        self._ech: bool | None = None
        self._detail: str | None = None  # of the refusal
        self._paid = True  # the first request was taken from the group's rates when the connection was judged
        self._last = head if self.within is None else None
        self._id: str | None = context.event.id if self.within is not None else None  # of the first request within

    def unseal(self) -> None:
        """Judge what comes through the tunnel as requests in the clear, each by itself.

        Where a client asked for none, its request names the host, as if it had come at once.
        """
        head, original = self._context.head, self._context.original
        self.sealed = False
        self.within = Within(head.host, head.port, CLEAR)
        self._through = self.within if original is None else redirected(original[1])

    @property
    def client(self) -> str:
        """Whose connection it is, as the listener counts: by its credentials if it has shown some, else by address."""
        return self._context.head.authorization or str(self._context.peer)

    @property
    def _scheme(self) -> str:
        return "https" if self.sealed else "http"

    # The hooks ----------------------------------------------------------------------------------------------------

    def hello(self, hello: Hello) -> Host | Alert:
        """Judge a ClientHello: return the host whose leaf is shown, or the alert that refuses it.

        What is refused is told inside TLS wherever the client could read it there.
        """
        self._sni, self._ech = hello.sni, hello.ech
        target = self._context.head.host
        if hello.alpn and not (set(hello.alpn) & set(SPOKEN) or only_http2(hello.alpn)):
            self._refusal = (Reason.UPGRADE_NOT_ALLOWED, Stage.TLS)
            self._detail = f"the client offers {_names(hello.alpn)} (ALPN), and neither http/1.1 nor h2"
            return Alert.NO_APPLICATION_PROTOCOL
        reason = judge_hello(hello, target, self._context.decision)
        if reason is not None:
            self._refusal = (reason, Stage.TLS)
        if reason is Reason.SNI_MISSING:  # as RFC 8446 9.2 has it; no leaf would be the right one
            return Alert.MISSING_EXTENSION
        return _shown(hello.sni) or target

    def request(self, raw: bytes) -> Exchange:
        """Read and judge one request head."""
        self.asked = True
        if self._pending is not None:
            return self._first(raw, self._pending)
        try:
            head = self._last = parse_head(raw, self._parts.limits, self._through, self._last)
        except HeadError as error:
            return self.malformed(error, raw)
        identity = self._identity(head)
        event, decision = ask(self._judge, head, identity, self._scheme)
        challenge = identity.challenge and self._context.original is None
        exchange = Exchange(
            self._judge, raw, head, self._noted(event), decision, identity=identity, challenge=challenge
        )
        if head.method == "CONNECT" and decision.allowed:
            refuse(event, Reason.MALFORMED_REQUEST, Stage.REQUEST)  # a tunnel begins a connection
        elif self._is_own(exchange, head):
            self._take_own(exchange, head)
        elif self._refusal is not None:
            refuse(event, *self._refusal)
        elif not self._context.decision.allowed and self.within is not None:
            if event.reason is not Reason.SECRET_MISDIRECTED:  # which says more of it than the CONNECT's own
                fill(event, self._context.decision, Stage.CONNECT)
        elif decision.allowed:
            self._admit(exchange, head)
        return exchange

    def renew(self, exchange: Exchange) -> bool:
        """Judge a request that has waited once more, under the policy and with the secrets that are in force by now.

        It is refused, too, if another governance has a say in it by now: what went before it cannot be undone.
        """
        head, before = exchange.request, exchange.decision
        identity = exchange.identity = self._identity(head)
        decision = exchange.decision = ask_again(self._judge, head, identity, self._scheme, exchange.event)
        if decision.vendor != before.vendor:
            exchange.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, Stage.SEARCH)
        if decision.granted and not before.granted:
            self._lease(exchange)
        self._place(exchange, head)
        return True

    def refusal(self, exchange: Exchange) -> Awaitable[None] | None:
        """Return what a refusal waits for: that of wrong credentials, of which there were many."""
        if exchange.event.reason is not Reason.BAD_CREDENTIALS:
            return None
        now = asyncio.get_running_loop().time()
        return asyncio.sleep(deadlines.SLOWED) if self._judge.guesses.wrong(self._context.peer, now) else None

    def body(self, exchange: Exchange, body: bytes) -> Awaitable[Pass | Refuse | Said] | Pass | Refuse:
        """Let governance judge a request to a governed host, or the desk answer one to the proxy itself."""
        if exchange.own:
            return self._said(exchange, body)
        governor = self._parts.governor
        return Pass() if governor is None else governor.on_request(exchange, body)

    async def _said(self, exchange: Exchange, body: bytes) -> Said:
        desk, identity = self._judge.desk, exchange.identity
        if desk is None or identity is None:
            raise RuntimeError("nobody is at the desk")
        return Said(await desk.answer(exchange.request, identity, body))

    def response(self, exchange: Exchange, response: ResponseHead) -> Onward:
        """Judge a response head before the client sees anything of it."""
        head = exchange.head
        if 300 <= response.status < 400:
            self._judge.redirects.note(exchange.identity, exchange.request.host.name, response, time.monotonic())
        unasked_switch = response.status == 101 and not (head and websocket_accepted(head, response))
        refused = None if exchange.parent is None else answered(exchange.parent, response.status, response.fields)
        if refused is not None:
            exchange.event.detail = f"the parent proxy {exchange.parent}: {refused[1]}"
            exchange.refuse(refused[0], Stage.RESPONSE)
        elif unasked_switch or response.status == 407:  # a client would answer a 407 with our credentials
            exchange.fail(Reason.UPSTREAM_FAILED, Stage.RESPONSE, f"the destination answered {response.status} unasked")
        elif exchange.governed and self._parts.governor is not None:
            governor = self._parts.governor
            if response.status == 400 and exchange.collected and governor.holds(exchange, response):
                return Onward(held=True)
            return Onward(governor.response_tap(exchange, response))
        return Onward()

    def again(self, exchange: Exchange, response: ResponseHead, body: bytes) -> Awaitable[_After] | _After:
        """Return what to send once more after a held refusal, or None and what reads the refusal as it passes on."""
        governor = self._parts.governor
        return (None, None) if governor is None else self._again(governor, exchange, response, body)

    async def _again(self, governor: Governor, exchange: Exchange, response: ResponseHead, body: bytes) -> _After:
        mended = governor.again(exchange, response.status, body)
        if isawaitable(mended):
            mended = await mended
        return mended, None if mended is not None else governor.response_tap(exchange, response)

    # What is refused without a question -----------------------------------------------------------------------------

    def malformed(self, error: HeadError, raw: bytes = b"") -> Exchange:
        """Return the refused exchange of a head that is not understood."""
        self.asked = True
        event = event_of(error.head, self._identity(error.head), self._scheme)
        self._noted(refuse(event, error.reason, Stage.REQUEST))
        event.status, event.advice = error.status, error.advice
        if event.host is None and self.within is not None:
            event.host, event.port = self.within.host.name, self.within.port
        return Exchange(self._judge, raw, error.head, event, Decision(generation=self._judge.policy.generation))

    def broken(self, reason: Reason, stage: Stage) -> Exchange:
        """Return the refused exchange of a connection that failed before a request was understood."""
        exchange = self.malformed(HeadError(reason, ""))
        exchange.event.stage, exchange.event.status = stage, None
        return exchange

    def unasked(self) -> None:
        """Close the event of a CONNECT behind which no request came: exactly one event tells of it all the same."""
        if self.asked:
            return
        self.asked = True
        event = self._noted(self._context.event)
        if self._refusal is not None:
            refuse(event, *self._refusal)
            event.detail = self._detail
        elif event.verdict:
            event.stage = Stage.TLS
        started = self._context.started
        Exchange(self._judge, b"", None, event, self._context.decision, started=started).close()

    # Parts --------------------------------------------------------------------------------------------------------

    def _first(self, raw: bytes, context: ConnectionContext) -> Exchange:
        """Take up the plain request that the gate has read and judged."""
        self._pending = None
        challenge = context.identity.challenge
        exchange = Exchange(
            self._judge,
            raw,
            context.head,
            self._noted(context.event),
            context.decision,
            identity=context.identity,
            challenge=challenge,
            started=context.started,
        )
        if self._is_own(exchange, context.head):
            self._take_own(exchange, context.head)
        elif context.decision.allowed and not exchange.refused:
            self._admit(exchange, context.head)
        return exchange

    def _is_own(self, exchange: Exchange, head: Head) -> bool:
        """Tell whether a client that is known asks the proxy itself, as a request to its proxy."""
        if self.within is not None or self._context.original is not None:
            return False
        known = exchange.identity is not None and exchange.identity.refusal is None
        return known and self._judge.desk is not None and is_ours(head)

    def _take_own(self, exchange: Exchange, head: Head) -> None:
        """Have a request answered here, its body read as a whole."""
        if head.length is None or head.length > MOST:
            refuse(exchange.event, Reason.TOO_LARGE, Stage.REQUEST)
            exchange.event.detail = f"a body here has a Content-Length of at most {MOST} bytes."
            return
        exchange.event.verdict = Verdict.ALLOW
        exchange.own = exchange.governed = True
        exchange.collected, exchange.budget = head.length != 0, self._parts.budget

    def _admit(self, exchange: Exchange, head: Head) -> None:
        """Do what is to be done before an allowed request goes on."""
        paid, self._paid = self._paid, False
        self._govern(exchange, head)
        if not (paid or exchange.refused):
            self._limit(exchange.event, exchange.decision.group)
        self._lease(exchange)
        self._place(exchange, head)

    def _limit(self, event: Event, group: str | None) -> None:
        """Hold a request to the limits of its group, which in plain HTTP may be another than that of the one before."""
        if group is None or not self._judge.limiter:
            return
        over = self._context.count(group) if self.within is None else None
        if over is not None:
            refuse_over(event, over, Stage.REQUEST)
        else:
            self._judge.limits(event, group, asyncio.get_running_loop().time(), Stage.REQUEST)

    def _place(self, exchange: Exchange, head: Head) -> None:
        """Set the rule's secrets, over TLS alone; refuse a placeholder that stands anywhere else."""
        secrets = self._judge.secrets
        if exchange.refused or not (secrets.values or exchange.decision.inject or exchange.placed):
            return
        before = exchange.placed
        injections = exchange.decision.inject if self.sealed else ()
        try:
            exchange.placed, exchange.secrets = secrets.placed(injections, head, exchange.raw), secrets.values
        except MisdirectedError as error:
            secrets.misdirected(error, exchange.event)
            exchange.refuse(Reason.SECRET_MISDIRECTED, Stage.REQUEST)
        else:
            set_on = [each for each in injections if each.header in exchange.placed and each.header not in before]
            secrets.used((name for each in set_on for name in each.names), exchange.event)

    def lookout(self) -> Lookout | None:
        """Return what counts placeholders in the body of a request."""
        return self._judge.secrets.lookout()

    def masked(self, exchange: Exchange, raw: bytes, response: ResponseHead) -> tuple[bytes, ResponseHead]:
        """Return a response head without the secrets that its request carried, if the destination sends them back."""
        if not exchange.placed:
            return raw, response
        values, sent = exchange.secrets, exchange.placed.values()
        text = raw.decode("latin-1")
        told = masked(text, values, sent)
        if told == text:
            return raw, response
        fields = [(name, masked(value, values, sent)) for name, value in response.fields]
        return told.encode("latin-1"), replace(response, fields=fields, section=None)

    @staticmethod
    def masked_fields(exchange: Exchange, fields: Fields) -> Fields:
        """Return the fields behind a response without the secrets that its request carried."""
        if not exchange.placed:
            return fields
        values, sent = exchange.secrets, exchange.placed.values()
        return [(name, masked(value, values, sent)) for name, value in fields if masked(name, values, sent) == name]

    def _lease(self, exchange: Exchange) -> None:
        """Have what stands by a grant end with it; where that is the connection, it has been seen to."""
        if exchange.decision.granted:
            exchange.ended = self._judge.leases(exchange.decision, self._context.cut)

    def _identity(self, head: Head | None) -> Identity:
        """Identify the client: by the credentials of the CONNECT in a tunnel, of each request in plain HTTP."""
        tunnel = self._context.head
        source = tunnel if self.within is not None else head
        authorization = None if source is None else source.authorization
        identity = self._judge.who(self._context.peer, authorization, self._context.names)
        named = (head is not None and head.conversation) or (source is not None and source.conversation) or None
        return identity if named is None else replace(identity, conversation=named)

    def _noted(self, event: Event) -> Event:
        """Add what is known of the connection."""
        event.sni, event.ech, event.lane = self._sni, self._ech, Lane.INSPECT
        if self._id is not None:  # the CONNECT's own event tells of no more than this one
            event.id, self._id = self._id, None
        return event

    def _govern(self, exchange: Exchange, head: Head) -> None:
        """Find out what search governance needs of a request to a governed host."""
        vendor, governor, limit = exchange.decision.vendor, self._parts.governor, self._parts.limits.body_inspect_bytes
        if vendor is None:
            return
        if governor is not None:
            exchange.dialect = partial(governor.dialect, vendor, head)
        if head.websocket:  # so that clients fall back to HTTP at once
            exchange.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, Stage.SEARCH, 426)
        elif governor is None and head.length != 0:
            exchange.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, Stage.SEARCH)
        elif governor is not None:
            exchange.governed, exchange.budget = True, self._parts.budget
            exchange.ended = partial(governor.on_close, exchange)
            exchange.collected = head.length != 0 and governor.request_needs_body(vendor, head)
            if exchange.collected and head.length is not None and head.length > limit:
                exchange.refuse(Reason.TOO_LARGE, Stage.SEARCH)
                exchange.event.detail = too_long(limit)


def _names(protocols: Iterable[bytes]) -> str:
    """Return the names of some protocols, as far as they can be shown."""
    return " and ".join(each.decode("ascii", "backslashreplace") for each in islice(protocols, _NAMED))


def _shown(sni: str | None) -> Host | None:
    """Return the host that a client which named it expects to see, right or wrong: only then can it read a refusal."""
    try:
        host = canonical_host(sni or "")
    except MalformedHostError:
        return None
    return host if host.address is None else None

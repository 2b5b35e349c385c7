"""A client's connection to mitmproxy: who it is, what its CONNECT was given, and what may be dialled for it.

Asks the service as the gate of `serve` does. Knows nothing of mitmproxy.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from outward.core.addresses import Address
from outward.core.model import Decision, Lane, Stage
from outward.core.reasons import Reason
from outward.http1.fields import HeadError
from outward.http1.head import parse_head
from outward.proxy.answer import close_event
from outward.proxy.context import ConnectionContext
from outward.proxy.dial import DialError
from outward.proxy.happy_eyeballs import ordered
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.hooks import Hooks, Parts
from outward.proxy.judge import judge_hello, refuse
from outward.proxy.question import ask, event_of
from outward.proxy.refusing import answers_inside
from outward.service import Service
from outward.tls.client_hello import Hello, HelloError, HelloReader, NotTlsError


@dataclass(slots=True)
class MitmConnection:
    """A client's connection.

    Attributes:
        service: judges, governs, records.
        peer: the client's address.
        hooks: judge what comes on it; None until something could be judged by them.
        tunnel: what its CONNECT was given; None without one.
        relayed: its bytes pass through unread.
        judged: what may be dialled: a host as mitmproxy names it, and the judged address.
        open: requests under way.
        cut: ends the last of them; called when what it stands by has ended.
    """

    service: Service
    peer: Address
    hooks: Hooks | None = None
    tunnel: ConnectionContext | None = None
    relayed: bool = False
    judged: dict[tuple[str, int], str] = field(default_factory=dict)
    open: set[Exchange] = field(default_factory=set)
    cut: Callable[[], None] = lambda: None
    _broken: Reason | None = None

    async def connect(self, raw: bytes) -> Exchange:
        """Judge a CONNECT, and the addresses of what will not be inspected; `tunnel` is set where one may stand."""
        exchange = self._first(raw)
        tunnel = self.tunnel
        if tunnel is not None and tunnel.decision.allowed and tunnel.decision.lane is Lane.TUNNEL:
            await self.resolve(exchange)
            if exchange.refused:
                self.hooks = self.tunnel = None
        return exchange

    def hello(self, record: bytes) -> bool:
        """Judge a ClientHello; True if the tunnel is relayed unread. Requests behind a wrong one are refused."""
        hooks, tunnel = self.hooks, self.tunnel
        if hooks is None or tunnel is None:
            return False
        self._broken = Reason.INTERNAL_ERROR  # unless the end is reached
        try:
            hello = HelloReader().feed(record)
        except (HelloError, NotTlsError) as error:
            self._broken = error.reason if isinstance(error, HelloError) else Reason.NOT_TLS
            return False
        if hello is None:
            return False
        self.relayed = _passes(tunnel, hello)
        if not self.relayed:
            hooks.hello(hello)
        self._broken = None
        return self.relayed

    def request(self, raw: bytes, *, sealed: bool) -> Exchange:
        """Judge a request's head.

        Args:
            raw: the head, in origin form where it came through a tunnel.
            sealed: it came inside TLS.
        """
        if self.hooks is None:
            exchange = self._first(raw)
        else:
            if self.hooks.sealed and not sealed:
                self.hooks.unseal()
            exchange = self.hooks.request(raw)
        if self._broken is not None:
            exchange.refuse(self._broken, Stage.TLS)
        self.open.add(exchange)
        return exchange

    async def resolve(self, exchange: Exchange) -> str | None:
        """Return the judged address that will be dialled, or refuse."""
        host, port, service = exchange.request.host, exchange.request.port, self.service
        try:
            found = await service.dialer.addresses(host, port, exchange.decision)
        except DialError as failure:
            exchange.event.address = None if failure.address is None else str(failure.address)
            exchange.event.detail = str(failure)
            exchange.refuse(failure.reason, Stage.ADDRESS, rule=failure.rule)
            return None
        ipv6 = any(each.version == 6 and not each.is_link_local for each in service.judge.own.addresses)
        first = ordered(found, ipv6_first=ipv6)[0]
        service.judge.reached(exchange.event, exchange.decision, first)
        self.judged = dict.fromkeys(((host.name, port), (str(first), port)), str(first))
        return str(first)

    def failed(self, detail: str) -> None:
        """Note why a relayed tunnel leads nowhere."""
        if self.relayed and self.tunnel is not None:
            self.tunnel.event.detail = detail
            refuse(self.tunnel.event, Reason.UPSTREAM_FAILED, Stage.ADDRESS)
            self.service.metrics.upstream_failure(Reason.UPSTREAM_FAILED)

    def end(self) -> None:
        """Record what is left open."""
        for exchange in self.open:
            exchange.close()
        if self.tunnel is None or self.hooks is None:
            return
        if self.relayed:
            close_event(self.service.judge, self.tunnel.event, self.tunnel.started)
        else:
            self.hooks.unasked()

    def _first(self, raw: bytes) -> Exchange:
        """Judge a CONNECT, or the first plain request; what can be judged has hooks from then on."""
        judge, limits, started = self.service.judge, self.service.settings.limits, asyncio.get_running_loop().time()
        try:
            head = parse_head(raw, limits)
        except HeadError as error:
            identity = judge.who(self.peer, error.head.authorization if error.head else None)
            event = refuse(event_of(error.head, identity), error.reason, Stage.CONNECT)
            event.status, event.advice = error.status, error.advice
            return Exchange(judge, raw, error.head, event, Decision())
        identity = judge.who(self.peer, head.authorization)
        if head.conversation is not None:
            identity = replace(identity, conversation=head.conversation)
        event, decision = ask(judge, head, identity, None if head.path is None else "http")
        limited = decision.allowed and judge.limits(event, identity.group, started, Stage.CONNECT)
        context = ConnectionContext(self.peer, identity, head, decision, event, started, cut=lambda: self.cut())  # noqa: PLW0108 - the one of that time
        hooks = Hooks(Parts(judge, limits, self.service.governor), context)
        if head.path is not None:
            self.hooks = hooks
            return hooks.request(raw)
        if not limited and (decision.allowed or answers_inside(head, decision, identity)):
            self.hooks, self.tunnel = hooks, context
        challenge = identity.challenge
        return Exchange(judge, raw, head, event, decision, identity=identity, challenge=challenge, started=started)


def _passes(tunnel: ConnectionContext, hello: Hello) -> bool:
    """Tell whether a tunnel is relayed from its ClientHello on; one that stands by a grant could not be ended."""
    decision, event = tunnel.decision, tunnel.event
    if (
        decision.granted
        or not decision.allowed
        or decision.lane is not Lane.TUNNEL
        or judge_hello(hello, tunnel.head.host, decision)
    ):
        return False
    event.sni, event.ech = hello.sni, hello.ech
    return True

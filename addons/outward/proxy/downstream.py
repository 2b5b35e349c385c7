"""One accepted connection until a lane takes it: its first head is read, judged, and refused or handed over.

Owns the refusal of heads and of first requests. Every path ends in a lane or in exactly one closed event; an exception
ends in a denial.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, cast

from outward.core.addresses import Address
from outward.core.identity import Identity
from outward.core.model import Decision, Lane, Stage
from outward.core.reasons import Reason
from outward.http1.fields import HeadError
from outward.http1.head import Head
from outward.http1.headreader import HeadReader, is_whole
from outward.proxy.answer import Linger, close_event, denial_of
from outward.proxy.context import ConnectionContext
from outward.proxy.judge import refuse, refuse_over
from outward.proxy.limiter import Over
from outward.proxy.own import is_ours
from outward.proxy.parent import via_of
from outward.proxy.question import ask, event_of
from outward.proxy.refusing import answers_inside
from outward.proxy.tunnel import Tunnel
from outward.records.events.values import Event

if TYPE_CHECKING:
    from outward.proxy.listener import ProxyListener

_HEAD_TIMEOUT_STATUS = 408  # the client was slow, not the destination


class DownstreamConnection(asyncio.Protocol):
    """An accepted connection.

    Attributes:
        peer: the client's address.
        names: what it proves by its connection: those of its verified certificate, or where it comes from.
        transport: the client's.
        original: where it was going when a firewall led it here; None where it speaks to the proxy.
        touched: never set: a head has one deadline, whatever trickles in.
    """

    __slots__ = (
        "_begun",
        "_challenged",
        "_counted",
        "_gate",
        "_late",
        "_lease",
        "_leave",
        "_reader",
        "_resources",
        "_task",
        "names",
        "original",
        "peer",
        "transport",
    )
    touched = False
    original: tuple[Address, int] | None
    transport: asyncio.Transport
    peer: Address
    names: tuple[str, ...]

    def __init__(self, gate: "ProxyListener", names: tuple[str, ...] = ()) -> None:
        self._gate = gate
        self.names = names
        self.original = None
        self._resources = gate.resources
        self._reader: HeadReader | None = None
        self._begun = 0.0
        self._late = b""  # an answer that waits
        self._challenged = False  # for credentials, once
        self._task: asyncio.Task[None] | None = None
        self._lease: Callable[[], None] | None = None
        self._leave: Callable[[], None] | None = None  # the groups that count it
        self._counted: str | None = None  # the last of them

    @property
    def idle(self) -> bool:
        """Whether nothing has been asked yet."""
        return not self._begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask to be admitted, and wait for a head."""
        self.transport = cast("asyncio.Transport", transport)
        if self._gate.admit(self):
            self._resources.waits.heads.start(self)
        else:
            self._begun = self._gate.loop.time()
            event = refuse(event_of(None, None), Reason.OVERLOADED, Stage.CONNECT)
            self._deny(event, None, more=True)

    def data_received(self, data: bytes) -> None:
        """Collect the head; act on it once it is whole. What comes behind a refusal is dropped."""
        if self._late:
            return
        try:
            self._take(data)
        except Exception:  # noqa: BLE001 - fail closed: whatever goes wrong is a denial
            self._resources.judge.metrics.internal_error("gate")
            self._deny(refuse(event_of(None, None), Reason.INTERNAL_ERROR, Stage.CONNECT), None, more=True)

    def _take(self, data: bytes) -> None:
        head: Head | None = None
        if not self._begun:
            self._begun = self._gate.loop.time()
        try:
            if self._reader is None and is_whole(data):
                raw, rest = data, b""
            else:
                self._reader = self._reader or HeadReader(self._resources.limits)
                found = self._reader.feed(data)
                if found is None:
                    return
                raw, rest = found
            self._resources.waits.heads.stop(self)
            head = self._parse(raw)
        except HeadError as error:
            self._refuse_head(error)
        else:
            self._judge(head, raw, rest)

    def _parse(self, raw: bytes) -> Head:
        """Parse a head.

        Raises:
            HeadError: it is refused.
        """
        return self._resources.parse(raw)

    def _who(self, head: Head | None) -> Identity:
        """Return the client's identity."""
        authorization = head.authorization if head is not None else None
        if authorization is None and not self.names:
            self.names = self._gate.vouch(self.transport)
        return self._resources.judge.who(self.peer, authorization, self.names)

    def _judge(self, head: Head, raw: bytes, rest: bytes) -> None:
        """Identify the client, decide, and refuse or hand over."""
        identity = self._who(head)
        if head.conversation is not None:
            identity = replace(identity, conversation=head.conversation)
        event, decision = ask(self._resources.judge, head, identity, None if head.path is None else "http")
        objected = identity.refusal is None and (
            self._objects(event, head, decision) or self._exceeds(event, identity, decision)
        )
        self._resources.judge.metrics.accept_duration.observe(self._gate.loop.time() - self._begun)
        if self._is_own(head, identity) and not objected:
            papers = (self.peer, identity, head, decision, event, self._begun, self.names)
            context = ConnectionContext(*papers, count=self._count)
            self._lend(raw, rest, context)
            return
        if objected or not (decision.allowed or answers_inside(head, decision, identity)):
            more = bool(rest) or head.length != 0
            self._deny(event, head, challenge=identity.challenge, more=more)
            return
        context = ConnectionContext(
            *(self.peer, identity, head, decision, event, self._begun, self.names, self.original),
            cut=self.transport.abort,
            count=self._count,
        )
        if head.path is None and decision.granted:
            self._lease = self._resources.judge.leases(decision, partial(self._cut, event))
        if head.path is None and decision.allowed and decision.lane is Lane.TUNNEL:
            Tunnel(self._resources, self.transport, context, self._ended, partial(self._clear, context)).start(rest)
        else:
            self._lend(raw, rest, context)

    def _is_own(self, head: Head, identity: Identity) -> bool:
        """Tell whether the proxy itself is asked, by a client that it knows and that speaks to it."""
        known = identity.refusal is None and self.original is None
        return known and self._resources.judge.desk is not None and is_ours(head)

    def _cut(self, event: Event) -> None:
        """End with the grant that the connection stands by."""
        event.detail = "the grant that allowed it has ended"
        self.transport.abort()

    def _objects(self, event: Event, head: Head, decision: Decision) -> bool:  # noqa: ARG002 - for redirected ones
        """Refuse an event for what speaks against it besides the rules, and tell whether anything does.

        Here: that it has come from this proxy, through its parent, and would go round for ever.
        """
        dialer = self._resources.dialer
        looping = dialer.parent is not None and dialer.pseudonym in via_of(head.fields)
        if looping:
            refuse(event, Reason.LOOP, Stage.CONNECT)
        return looping

    def _exceeds(self, event: Event, identity: Identity, decision: Decision) -> bool:
        """Refuse what is more than the client, or its group, may have; what is denied anyway uses nothing up."""
        if identity.proven and not self._gate.recognise(self, identity.credential):
            refuse(event, Reason.OVERLOADED, Stage.CONNECT)
            event.detail = "this client has as many connections as `connections_per_client` allows"
            return True
        if not (self._resources.judge.limiter and decision.allowed and identity.group is not None):
            return False
        over = self._count(identity.group)
        if over is not None:
            refuse_over(event, over, Stage.CONNECT)
            return True
        return self._resources.judge.limits(event, identity.group, self._gate.loop.time(), Stage.CONNECT)

    def _count(self, group: str) -> Over | None:
        """Have the connection counted by a group and those above it, and by no other from then on."""
        if self._leave is not None and self._counted == group:
            return None
        if self._leave is not None:
            self._leave()
            self._leave = None
        entered = self._resources.judge.limiter.enter(group)
        if isinstance(entered, Over):
            return entered
        self._leave, self._counted = entered, group
        return None

    def _clear(self, context: ConnectionContext, rest: bytes) -> None:
        """Lend a tunnel to the engine through which plain HTTP has come."""
        self._lend(b"", rest, replace(context, clear=True))

    def _lend(self, raw: bytes, rest: bytes, context: ConnectionContext) -> None:
        """Let the engine carry the connection, read no further before it does."""
        self.transport.set_protocol(self)
        self.transport.pause_reading()
        self._task = self._gate.loop.create_task(self._inspect(raw, rest, context))

    async def _inspect(self, raw: bytes, rest: bytes, context: ConnectionContext) -> None:
        """Lend the connection to the engine, and take it down whatever becomes of it."""
        gauge = self._resources.judge.metrics.connections(Lane.INSPECT)
        gauge.inc()
        try:
            await self._resources.engine.handle(self.transport, raw, rest, context)
        except Exception:  # noqa: BLE001 - fail closed: the connection ends
            self._resources.judge.metrics.internal_error("engine")
        finally:
            gauge.dec()
            self.transport.close()
            self._ended()

    def _refuse_head(self, error: HeadError, stage: Stage = Stage.CONNECT) -> None:
        event = refuse(event_of(error.head, self._who(error.head)), error.reason, stage)
        event.status, event.advice = error.status, error.advice
        self._deny(event, error.head, more=True)

    def _deny(self, event: Event, head: Head | None, *, more: bool, challenge: bool = False) -> None:
        """Answer, close the event, and close the connection; `more` tells that the client may still be sending."""
        self._resources.waits.heads.stop(self)
        again = challenge and not more and head is not None and head.keep_alive and self._may_ask_again(event)
        answer = self._answer(event, head, challenge=challenge, again=again)
        close_event(self._resources.judge, event, self._begun)
        if again:
            self._await(answer)
        elif event.reason is Reason.BAD_CREDENTIALS and self._guessing() and not self.transport.is_closing():
            self._late = answer
            self._resources.waits.slowed.start(self)
        else:
            self._tell(answer, more=more)

    def _may_ask_again(self, event: Event) -> bool:
        """Tell whether a client that sent no credentials may send them on this connection: once."""
        return event.reason is Reason.UNKNOWN_CLIENT and not (
            self._challenged or self._gate.stopping or self._gate.flooded(self)
        )

    def _await(self, answer: bytes) -> None:
        """Ask for credentials, and wait for the head that holds them, like for a first one."""
        self._challenged, self._reader, self._begun = True, None, 0.0
        self._resources.waits.heads.start(self)
        self.transport.write(answer)

    def _guessing(self) -> bool:
        """Count wrong credentials; True where their refusal is to wait."""
        return self._resources.judge.guesses.wrong(self.peer, self._gate.loop.time())

    def _tell(self, answer: bytes, *, more: bool) -> None:
        """Answer and close."""
        self.transport.write(answer)
        if self._gate.flooded(self):
            self.transport.abort()
        elif more and not self.transport.is_closing():
            Linger(self.transport, self._resources.waits.lingering, self._ended)
        else:
            self.transport.close()

    def _answer(self, event: Event, head: Head | None, *, challenge: bool, again: bool) -> bytes:
        """Return what the client is told."""
        return denial_of(self._resources.judge, event, head, challenge=challenge, again=again)

    def eof_received(self) -> None:
        """Close: a head that ends early is no question."""

    def expired(self) -> None:
        """Refuse a head that does not come, or give the answer that has waited."""
        if self._late:
            self._tell(self._late, more=True)
            return
        self._give_up(Reason.TIMEOUT, _HEAD_TIMEOUT_STATUS)

    def displaced(self) -> None:
        """Make room for a newer connection: the proxy is full, and this one has asked nothing yet, or wrongly."""
        if self._late:
            self.transport.abort()
            return
        self._give_up(Reason.OVERLOADED, None)

    def _give_up(self, reason: Reason, status: int | None) -> None:
        """Refuse a head that is not complete; a connection that never spoke is just closed."""
        self._resources.waits.heads.stop(self)
        if not self._begun:
            self.transport.abort()
            return
        event = refuse(event_of(None, self._who(None)), reason, Stage.CONNECT)
        event.status = status
        self._deny(event, None, more=True)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Leave; in the inspect lane the engine has its own protocol and this is never called."""
        self._resources.waits.heads.stop(self)
        self._resources.waits.slowed.stop(self)
        self._ended()

    def _ended(self) -> None:
        if self._lease is not None:
            self._lease()
        if self._leave is not None:
            self._leave()
        self._gate.release(self)


@lru_cache(maxsize=4096)
def peer_address(source: str) -> Address:
    """Return a peer's address; an IPv4 client of a dual-stack listener is an IPv4 client."""
    address = ip_address(source.partition("%")[0] or "::")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address

"""What the gate hands to a lane with an accepted connection. Values and the engine's interface only."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from outward.core.addresses import Address
from outward.core.identity import Identity
from outward.core.model import Decision
from outward.http1.head import Head
from outward.proxy.limiter import Over
from outward.records.events.values import Event


@dataclass(slots=True)
class ConnectionContext:
    """A connection's papers.

    Attributes:
        peer: the client's address.
        identity: who it is; bound to the connection for a tunnel, to the first request only for plain HTTP.
        head: the first head, parsed.
        decision: the answer to it. Denied only for a CONNECT that is answered inside TLS.
        event: the open event of that answer. Whoever takes the context closes it exactly once, or, for an allowed
            CONNECT in the inspect lane, closes an event of its own for each request instead.
        started: loop time in seconds when the question was asked.
        names: of the client's verified certificate; each further request is judged by them too.
        original: where a redirected client was going; None for one that speaks to the proxy. It asked for no tunnel, so
            that it is told neither that one stands nor, over HTTP, that none does.
        cut: takes the client's connection down.
        count: has the client's connection counted by a group, if it may have one more; else returns what is over.
        clear: the client has its tunnel, and plain HTTP comes through it.
    """

    peer: Address
    identity: Identity
    head: Head
    decision: Decision
    event: Event
    started: float
    names: tuple[str, ...] = ()
    original: tuple[Address, int] | None = None
    clear: bool = False
    cut: Callable[[], None] = lambda: None
    count: Callable[[str], Over | None] = lambda _group: None


class InspectLane(Protocol):
    """The inspect lane, as the gate sees it."""

    async def handle(self, transport: asyncio.Transport, head: bytes, rest: bytes, context: ConnectionContext) -> None:
        """Take over a connection and return when it has ended.

        Args:
            transport: the client's, with reading paused and no answer given; the engine sets its own protocol.
            head: the first head as received.
            rest: bytes received behind it.
            context: what the gate knows and decided.
        """

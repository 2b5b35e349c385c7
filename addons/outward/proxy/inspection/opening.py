"""A connection to a destination, from its handshake to its end, whichever HTTP it carries.

Owns that a destination which is not who it should be is never spoken to, and how a connection is closed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from outward.core.addresses import Address, Own
from outward.core.model import Decision
from outward.core.names import Host
from outward.core.policy import Policy
from outward.proxy.deadlines import Deadlines
from outward.proxy.inspection.peer import Peer
from outward.proxy.inspection.tls import HTTP1, TlsEndpoint
from outward.proxy.parent import Parent

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import InspectedConnection
    from outward.proxy.inspection.contexts import Contexts

type Key = tuple[object, ...]
"""Whom a connection may serve: a client, a destination, trust, and the way there."""


class OpenedConnection:
    """A connection to a destination.

    Attributes:
        protocol: that is offered (ALPN).
        key: whom it may serve.
        peer: its transport.
        session: whose requests it carries; None if it serves nobody.
        address: what was dialled; None if a parent proxy resolves.
        grounds: by which policy, own addresses and decision the address was last judged, and found good.
        named: the address as text, once it has been.
        parent: the parent proxy at its other end, which takes requests in absolute form; None if there is none.
        secure: the handshake is done, and the destination is who it should be.
        gone: it is closed.
        touched: never set: there is one deadline.
    """

    protocol = HTTP1
    touched = False

    def __init__(self, session: "InspectedConnection", key: Key) -> None:
        self.key = key
        self.peer = Peer(self)
        self.session: InspectedConnection | None = session
        self.address: Address | None = None
        self.grounds: tuple[Policy, Own, Decision] | None = None
        self.named = ""
        self.parent: Parent | None = None
        self.secure = self.gone = False
        self._greeted: Callable[[str | None], None] | None = None
        self._contexts: Contexts | None = None
        self._lingering: Deadlines | None = None

    @property
    def unsettled(self) -> bool:
        """Whether a handshake is under way."""
        return self._greeted is not None

    def greet(self, contexts: "Contexts", host: Host, then: Callable[[str | None], None]) -> None:
        """Shake hands; call back with None, or with what went wrong."""
        self._contexts, self._greeted = contexts, then
        self.peer.shake(contexts.connect(host, self.protocol))
        if self.gone:
            self.insecure("the connection was closed")

    def secured(self) -> None:
        """Go on, unless a certificate was revoked."""
        if self.session is not None:
            self.session.run(self._judge)

    def _judge(self) -> None:
        tls, contexts = self.peer.tls, self._contexts
        why = "there is none" if tls is None or contexts is None else contexts.objection(tls)
        if why is not None:
            self._tell(f"the certificate cannot be verified: {why}")
        else:
            why = None if tls is None else self.objection(tls)
            self.secure = why is None
            self._tell(why)

    def objection(self, tls: TlsEndpoint) -> str | None:  # noqa: ARG002 - for who asks for more
        """Return why a destination that was verified is not spoken to all the same; None if it is."""
        return None

    def insecure(self, why: str) -> None:
        """Give up: the handshake has failed."""
        self._tell(why)

    def _tell(self, why: str | None) -> None:
        then, self._greeted = self._greeted, None
        if then is not None and self.session is not None:
            self.session.run(then, why)

    def detach(self) -> None:
        """Serve nobody."""
        session, self.session = self.session, None
        if session is not None:
            session.client.release(self)
            session.destinations.parted(self)
            self.peer.release(session)

    def close(self) -> None:
        """Close it for good, behind what was sent; what cannot be sent is not waited for."""
        if self.gone:
            return
        self.gone = True
        session = self.session
        self.detach()
        transport = self.peer.part()
        if transport is None:
            return
        transport.close()
        if session is not None and transport.get_write_buffer_size():
            self._lingering = session.engine.waits.lingering
            self._lingering.start(self)

    def abort(self) -> None:
        """Cut it."""
        self.peer.abort()
        self.close()

    def expired(self) -> None:
        """Close: it has been idle for too long, or does not take the rest of what was sent."""
        if self.gone:
            self.peer.abort()
        else:
            self.close()

    # What the peer tells, which depends on the HTTP that it speaks ----------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take what the destination says."""
        raise NotImplementedError

    def ended(self) -> None:
        """Take note that it says no more."""
        raise NotImplementedError

    def lost(self) -> None:
        """Take note that it is gone."""
        raise NotImplementedError

    def congested(self) -> None:
        """Stop reading who sends to it."""
        raise NotImplementedError

    def relieved(self) -> None:
        """Go on."""
        raise NotImplementedError

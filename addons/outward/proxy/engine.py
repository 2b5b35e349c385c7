"""The inspect lane: lent connections by the gate.

Owns the life of its connections: their TLS contexts, which are made in the background, their deadlines, what is kept of
connections to destinations, and the drain.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from cryptography import x509

from outward.config.settings import Limits
from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.proxy.answer import close_event, refusal_of
from outward.proxy.ca import Authority
from outward.proxy.context import ConnectionContext
from outward.proxy.deadlines import Waits
from outward.proxy.dial import Dialer
from outward.proxy.inspection.budget import Places
from outward.proxy.inspection.connection import InspectedConnection
from outward.proxy.inspection.contexts import Contexts
from outward.proxy.inspection.governor import Governor
from outward.proxy.inspection.hooks import Parts
from outward.proxy.inspection.pool import Pool
from outward.proxy.judge import Judge, refuse

HOOK_TIMEOUT = 5.0  # seconds; a verdict takes microseconds, a governed body milliseconds: so late is broken


class Engine:
    """Carries inspected connections.

    Attributes:
        parts: what the policy hooks share.
        dialer: opens every upstream connection.
        draining: connections end after the response under way.
        hook_timeout: seconds that a hook may take.
        waits: deadlines of its connections.
        streams: places for those of HTTP/2: each may hold as much as a connection of HTTP/1.1 does.
        pool: connections to destinations that wait for a request.
    """

    def __init__(  # noqa: PLR0917 - the parts that it is made of, each of another type
        self,
        judge: Judge,
        dialer: Dialer,
        authority: Authority,
        limits: Limits,
        roots: Path,
        crls: Iterable[x509.CertificateRevocationList] = (),
        *,
        governor: Governor | None = None,
        govern: Callable[[], Awaitable[Governor]] | None = None,
        hook_timeout: float = HOOK_TIMEOUT,
    ) -> None:
        """Build an engine; needs a running loop.

        Args:
            judge: asked about every request.
            dialer: opens every upstream connection.
            authority: signs the leaves that clients are shown.
            limits: bounds and timeouts.
            roots: PEM file of the certificates that destinations are verified with.
            crls: revocation lists.
            governor: of hosted search.
            govern: loads it together with the roots, if it is not given.
            hook_timeout: seconds that a hook may take.
        """
        self.parts = Parts(judge, limits, governor)
        self.dialer = dialer
        self.draining = False
        self.hook_timeout = hook_timeout
        self.waits = Waits(limits)
        self.streams = Places(limits.connections, limits.connections_per_client)
        self._authority, self._govern = authority, govern
        self._trust = (roots, tuple(crls))
        self._sessions: set[InspectedConnection] = set()
        self._loaded: asyncio.Task[Contexts] | None = None
        self._contexts: Contexts | None = None
        self._trusting = asyncio.Lock()
        self.pool = Pool()

    @property
    def contexts(self) -> Contexts:
        """The TLS contexts in force.

        Raises:
            RuntimeError: the engine is not loaded.
        """
        if self._contexts is None:
            raise RuntimeError("the engine is not loaded")
        return self._contexts

    def load(self) -> asyncio.Task[Contexts]:
        """Begin to load the roots in a thread, once; the task is done when connections can be carried.

        After a failure it begins anew: a file that could not be read may have been mended.
        """
        if self._loaded is None or (self._loaded.done() and (self._loaded.cancelled() or self._loaded.exception())):
            self._loaded = asyncio.get_running_loop().create_task(self._load())
        return self._loaded

    async def _load(self) -> Contexts:
        if self._govern is not None:
            self.parts.governor = await self._govern()
        return await asyncio.get_running_loop().run_in_executor(None, _load, self._authority, *self._trust)

    async def trust(self, roots: Path, crls: Iterable[x509.CertificateRevocationList] = ()) -> None:
        """Verify destinations with other roots and lists from now on; the engine is loaded if it was not.

        Of several calls the last one stands, however long each takes.

        Raises:
            OSError: they cannot be used; those in force stay (`ssl.SSLError` is one).
        """
        crls = tuple(crls)
        loop = asyncio.get_running_loop()
        async with self._trusting:
            self._contexts = await loop.run_in_executor(None, _load, self._authority, roots, crls)
            self._trust = (roots, crls)

    async def handle(self, transport: asyncio.Transport, head: bytes, rest: bytes, context: ConnectionContext) -> None:
        """Carry a connection and return when it has ended; see `context.Engine`."""
        try:
            contexts = await asyncio.shield(self.load())
            self._contexts = self._contexts or contexts
            session = InspectedConnection(self, transport, context)
        except Exception:
            self._unable(transport, context)
            raise
        self._sessions.add(session)
        try:
            session.start(head, rest)
            await session.over
        finally:
            self._sessions.discard(session)

    def _unable(self, transport: asyncio.Transport, context: ConnectionContext) -> None:
        """Refuse a connection that the engine cannot carry."""
        refuse(context.event, Reason.INTERNAL_ERROR, Stage.CONNECT)
        transport.write(refusal_of(self.parts.judge, context.event, context))
        close_event(self.parts.judge, context.event, context.started)

    def drain(self) -> None:
        """End idle connections now, and the others after the response under way."""
        self.draining = True
        self.pool.close()
        for session in list(self._sessions):
            session.finish()

    def close(self) -> None:
        """Cut every connection."""
        for session in list(self._sessions):
            session.abort()
        self.pool.close()
        self.waits.close()


def _load(authority: Authority, roots: Path, crls: tuple[x509.CertificateRevocationList, ...]) -> Contexts:
    """Make the TLS contexts; some systems take half a second to read their roots."""
    return Contexts(authority, roots, crls)

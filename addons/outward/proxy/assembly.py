"""The inspect lane as one part: its CA, the roots that it trusts, and the engine, made from the settings.

Owns their start and their renewal. Slow to import, so it is imported while the ops port answers already.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable

from outward.config.settings import Settings
from outward.ops.metrics import Metrics
from outward.proxy.ca import Authority, AuthorityError
from outward.proxy.dial import Dialer
from outward.proxy.engine import Engine
from outward.proxy.inspection.governor import Governor
from outward.proxy.judge import Judge
from outward.proxy.trust import TrustError, extend_bundles, load_crls, upstream_roots

log = logging.getLogger(__name__)

__all__ = ["AuthorityError", "Inspection", "TrustError"]


class Inspection:
    """The inspect lane's parts.

    Attributes:
        authority: the CA.
        engine: carries the connections.
    """

    def __init__(
        self, settings: Settings, judge: Judge, dialer: Dialer, govern: Callable[[], Awaitable[Governor]] | None = None
    ) -> None:
        """Make the parts; needs a running loop. `govern` loads the governance of hosted search, beside the engine.

        Raises:
            AuthorityError: the CA's files cannot be used.
            TrustError: what `upstream.trust` or `upstream.crl` names cannot be used.
            OSError: the state folder cannot be written.
        """
        self._metrics: Metrics = judge.metrics
        self.authority = Authority(settings.state, settings.ca)
        roots, crls = upstream_roots(settings.trust, settings.state), load_crls(settings.crl)
        self.engine = Engine(judge, dialer, self.authority, settings.limits, roots, crls, govern=govern)
        self._published = b""
        self._note_published()
        self._metrics.watch("destinations_idle", lambda: len(self.engine.pool))
        self._metrics.watch("certificates_cached", lambda: self.authority.cached)

    async def load(self, lull: float) -> None:
        """Load the engine before it is needed; until it is there, the first inspected connections wait for it.

        Args:
            lull: seconds to wait first, so that a short run does not pay for an engine that it never needs.
        """
        await asyncio.sleep(lull)
        try:
            await asyncio.shield(self.engine.load())  # connections wait for it too
            gc.freeze()  # what was imported lives as long as the process: the collector need not walk it each time
        except Exception:
            self._metrics.internal_error("engine")
            log.exception("the engine cannot be loaded: the inspect lane is closed")

    async def trust(self, settings: Settings) -> None:
        """Verify destinations with other roots and revocation lists from now on; they are read in a thread.

        Raises:
            TrustError: they cannot be used; those in force stay.
            OSError: OpenSSL refuses them, or the state folder cannot be written.
        """
        roots = await asyncio.to_thread(upstream_roots, settings.trust, settings.state)
        await self.engine.trust(roots, await asyncio.to_thread(load_crls, settings.crl))

    def renew(self) -> None:
        """Renew the CA where that is due, or take up changed files."""
        if self.authority.refresh():
            log.warning("the CA is another one now: clients must trust %s", self.authority.pem)
        self._note_published()

    def _note_published(self) -> None:
        """Show the ends of the CAs that clients are to trust, and bring the tools' bundles up to date with them."""
        self._metrics.set("ca_expiry_timestamp_seconds", self.authority.expires)
        published = self.authority.pem.read_bytes()
        if published == self._published:
            return
        self._published = published
        coming, gone = self.authority.others()
        self._metrics.set("ca_next_expiry_timestamp_seconds", min(coming, default=0.0))
        self._metrics.set("ca_old_expiry_timestamp_seconds", max(gone, default=0.0))
        extend_bundles(self.authority.pem)

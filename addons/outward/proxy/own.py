"""The proxy's own name, `outward.internal`: what is asked of it, before anybody answers (see `desk`)."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from outward.core.identity import Identity
from outward.core.names import OWN_NAME
from outward.http1.head import CLEAR, Head

if TYPE_CHECKING:
    from outward.proxy.desk import Desk

ROOT = f"http://{OWN_NAME}"
REQUESTS = f"{ROOT}/requests"
ADVICE = f"{ROOT}/ is answered by the proxy itself: ask it as a proxied request in plain HTTP, on port 80."
MOST = 16_384  # bytes of a body: a URL, and a reason in words


def is_ours(head: Head) -> bool:
    """Tell whether a request that a client sends to its proxy is for the proxy itself."""
    return head.host.name == OWN_NAME and head.port == CLEAR and head.path is not None and not head.websocket


class LateDesk:
    """The desk, loaded when somebody asks it for the first time.

    Attributes:
        asking: whether requests for access are kept.
    """

    def __init__(self, make: Callable[[], "Desk"], *, asking: bool) -> None:
        """Prepare; `make` is called in a thread."""
        self._make, self.asking = make, asking
        self._desk: Desk | None = None

    async def answer(self, head: Head, identity: Identity, body: bytes) -> bytes:
        """See `Desk`."""
        if self._desk is None:
            made = await asyncio.to_thread(self._make)
            self._desk = self._desk or made
        return await self._desk.answer(head, identity, body)

    def close(self) -> None:
        """Close what is open."""
        if self._desk is not None:
            self._desk.close()

"""Connections to destinations that have nothing to do, kept for the next request of the same client.

Owns for how long and how many: a server closes what is idle without a word, and a request that meets that is lost.
"""

from outward.proxy.deadlines import Deadlines
from outward.proxy.inspection.opening import Key
from outward.proxy.inspection.upstream import Upstream

IDLE = 5.0  # seconds; Node's servers and Apache's close after as many
_OF_ONE = (
    64  # connections of one client to one destination: fewer would be made anew where as many requests run at once
)
_OF_ALL = 512  # each holds about 30 KiB


class Pool:
    """Idle connections by whom they may serve; needs a running loop."""

    def __init__(self) -> None:
        self._idle: dict[Key, list[Upstream]] = {}
        self._waits = Deadlines(IDLE)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, key: Key) -> Upstream | None:
        """Return the connection that was used last, which is the least likely to be closed; None where none is left."""
        found = self._idle.get(key)
        if not found:
            return None
        upstream = found.pop()
        self._gone(upstream, found)
        return upstream

    def keep(self, upstream: Upstream) -> None:
        """Keep a connection; where they are too many, the oldest is closed."""
        found = self._idle.setdefault(upstream.key, [])
        found.append(upstream)
        self._count += 1
        upstream.pool = self
        self._waits.start(upstream)
        if len(found) > _OF_ONE:
            found[0].close()
        elif self._count > _OF_ALL:
            next(iter(self._waits)).expired()

    def forget(self, upstream: Upstream) -> None:
        """Take a connection out: it is closed."""
        found = self._idle[upstream.key]
        found.remove(upstream)
        self._gone(upstream, found)

    def _gone(self, upstream: Upstream, left: list[Upstream]) -> None:
        """Note that a connection was taken out from among those of its key."""
        upstream.pool = None
        self._waits.stop(upstream)
        self._count -= 1
        if not left:
            del self._idle[upstream.key]

    def close(self) -> None:
        """Close all."""
        for found in list(self._idle.values()):
            for upstream in list(found):
                upstream.close()
        self._waits.close()

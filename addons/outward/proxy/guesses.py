"""Wrong proxy credentials, by source: after a handful their refusals wait, so that nobody guesses fast.

Only refusals wait: a right token is neither delayed nor refused for its source's sake. Who hangs up instead of waiting
can still try the next one at once; what keeps tokens safe is their length.
"""

from ipaddress import IPv6Address

from outward.core.addresses import Address

FREE = 5  # wrong ones that are answered at once, as fail2ban's maxretry
QUIET = 60.0  # seconds without a wrong one, after which a source begins anew
SOURCES = 4096  # that are counted at a time; then no further one has free guesses

_INTERFACE = 64  # bits of an IPv6 address that its holder chooses (RFC 4291 2.5.1)


class Guesses:
    """Counts wrong credentials by source: an IPv4 address, or an IPv6 network of 64 bits."""

    def __init__(self) -> None:
        self._sources: dict[tuple[int, int], tuple[int, float]] = {}  # count and time of the last one, oldest first

    def __len__(self) -> int:
        return len(self._sources)

    def wrong(self, peer: Address, now: float) -> bool:
        """Count wrong credentials, and tell whether their refusal is to wait.

        Args:
            peer: the client's address.
            now: seconds of a clock that does not go back.
        """
        while self._sources and next(iter(self._sources.values()))[1] + QUIET <= now:
            del self._sources[next(iter(self._sources))]
        source = (6, int(peer) >> _INTERFACE) if isinstance(peer, IPv6Address) else (4, int(peer))
        count = self._sources.pop(source, (0, now))[0] + 1
        if count == 1 and len(self._sources) >= SOURCES:
            return True
        self._sources[source] = (count, now)
        return count > FREE

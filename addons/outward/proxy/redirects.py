"""Where clients were sent: which host's answer led a client to the host that it asks for next.

A download that is blocked is often not what its author wrote down, but where the host that he wrote down sends it.
Remembered for each client for a short time, and told in the event. It decides nothing.
"""

from urllib.parse import urljoin, urlsplit

from outward.core.identity import Identity
from outward.core.names import MalformedHostError, parse_authority
from outward.http1.head import ResponseHead

WITHIN = 30.0  # seconds from the answer to the request that it caused: a program follows at once, a person soon
MOST = 4096  # that are remembered at a time; then the oldest is forgotten
_ANY_PORT = 443  # where none is named: the host alone counts
_LONGEST_NAME = 1024  # characters of a credential's label: its issuer chooses them, and would fill the memory
_LONGEST = 8192  # characters of a Location; RFC 9110 4.1 asks for 8000

type _Key = tuple[str, str, str]


class Redirects:
    """What was answered lately, by client and by the host that was named."""

    def __init__(self) -> None:
        self._from: dict[_Key, tuple[str, float]] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._from)

    def note(self, who: Identity | None, host: str, response: ResponseHead, now: float) -> None:
        """Remember that a client was sent on, unless it was to the same host.

        Args:
            who: the client; None where that was never found out.
            host: that answered.
            response: its answer.
            now: seconds of a clock that does not go back.
        """
        location = next((value for name, value in response.fields if name == "location"), None)
        named = None if location is None else _host_of(location, host)
        if who is None or named is None or named == host or len(who.credential) > _LONGEST_NAME:
            return
        key = (who.client, who.credential, named)
        self._from.pop(key, None)
        self._from[key] = host, now
        if len(self._from) > MOST:
            del self._from[next(iter(self._from))]

    def to(self, who: Identity, host: str, now: float) -> str | None:
        """Return the host that sent a client to this one within the last seconds, or None."""
        while self._from and next(iter(self._from.values()))[1] + WITHIN <= now:
            del self._from[next(iter(self._from))]
        found = self._from.get((who.client, who.credential, host))
        return None if found is None else found[0]


def _host_of(location: str, base: str) -> str | None:
    """Return the host that a Location names (RFC 9110 10.2.2); None where it cannot be read."""
    if len(location) > _LONGEST:
        return None
    try:
        parts = urlsplit(urljoin(f"https://{base}/", location))
        named, _ = parse_authority(parts.netloc.rpartition("@")[2], _ANY_PORT)
    except (ValueError, MalformedHostError):
        return None
    return named.name if parts.scheme in ("http", "https") else None

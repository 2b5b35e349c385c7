"""What every connection of a gate shares: its parts, its deadlines, and the short heads that were read before."""

from dataclasses import dataclass, field

from outward.config.settings import Limits
from outward.http1.head import Head, parse_head
from outward.proxy.context import InspectLane
from outward.proxy.deadlines import Waits
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge

_SHORT, _REMEMBERED = 1024, 1024  # bytes of a head, heads


@dataclass(frozen=True, slots=True)
class Resources:
    """The parts that a connection needs."""

    judge: Judge
    dialer: Dialer
    engine: InspectLane
    limits: Limits
    waits: Waits
    _known: dict[bytes, Head] = field(default_factory=dict)

    def parse(self, raw: bytes) -> Head:
        """Parse a head; a client's CONNECTs repeat byte by byte, so the short ones are remembered.

        Raises:
            HeadError: as `parse_head`.
        """
        head = self._known.get(raw)
        if head is None:
            head = parse_head(raw, self.limits)
            if head.path is None and len(raw) <= _SHORT:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[raw] = head
        return head

"""What every connection of a gate shares. Values only."""

from dataclasses import dataclass, field

from outward.config.settings import Limits
from outward.proxy.deadlines import Deadlines
from outward.proxy.dial import Dialer
from outward.proxy.head import Head, parse_head
from outward.proxy.judge import Judge
from outward.proxy.passport import Engine

LINGER = 2.0  # seconds that a refused client gets to read its answer

_SHORT, _REMEMBERED = 1024, 1024  # bytes of a head, heads


@dataclass(frozen=True, slots=True)
class Resources:
    """The parts that a connection needs, and the deadlines that it waits in.

    Attributes:
        heads: connections whose request head is not complete.
        handshakes: tunnels whose ClientHello is not complete.
        idle: tunnels that carry bytes.
        lingering: refused connections that may still be sending.
    """

    judge: Judge
    dialer: Dialer
    engine: Engine
    limits: Limits
    heads: Deadlines
    handshakes: Deadlines
    idle: Deadlines
    lingering: Deadlines
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

    @classmethod
    def assemble(cls, judge: Judge, dialer: Dialer, engine: Engine, limits: Limits) -> "Resources":
        """Build the deadlines from the limits; needs a running loop."""
        return cls(
            judge,
            dialer,
            engine,
            limits,
            Deadlines(limits.head_timeout),
            Deadlines(limits.handshake_timeout),
            Deadlines(limits.idle_timeout),
            Deadlines(LINGER),
        )

    def close(self) -> None:
        """Stop all deadlines."""
        for deadlines in (self.heads, self.handshakes, self.idle, self.lingering):
            deadlines.close()

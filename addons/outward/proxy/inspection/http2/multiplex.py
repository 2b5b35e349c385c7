"""What both ends of an inspected HTTP/2 connection share: turns of reading, streams, and the windows between them.

Owns that a slow reader on one side stops the sender on the other, stream by stream: bytes are acknowledged once they
have somewhere to go. No reading holds the loop up: what many frames ask for is done in turns.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

from outward.http2.frames import Http2Error
from outward.http2.session import Session
from outward.http2.told import Data, GoAway, Head, Interim, Reset, Told, Trailers

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import InspectedConnection
    from outward.proxy.inspection.peer import Peer

FULL = 64 * 1024  # bytes that wait on a stream before its sender is stopped
_TURN = 128  # frames that are read at a time; one of the longest heads, 10 ms, is more than that
_BESIDE = 64 * 1024  # bytes that a full transport takes beside bodies, before its peer is not read any more
_SMALL = 1024  # bytes; pieces that wait are joined to no less


class Ended:
    """The end of what a peer says on a stream."""


ENDED: Final = Ended()

type Part = Head | Interim | Data | Trailers | Ended


class Stream(ABC):
    """One stream of one end: what comes on it waits while an answer about what came before is waited for.

    Attributes:
        ident: its number.
        over: nothing more is read of it.
    """

    def __init__(self, ident: int) -> None:
        self.ident = ident
        self.over = False
        self._paused = False
        self._inbox: deque[Part] = deque()
        self._held: set[object] = set()
        self._owed = 0  # bytes that were taken, and not acknowledged

    @property
    @abstractmethod
    def http2(self) -> Session:
        """The connection that it is on."""

    @abstractmethod
    def take(self, part: Part) -> None:
        """Act on what has come."""

    @abstractmethod
    def moved(self, left: int) -> None:
        """Take note that some of what waited was sent; `left` bytes still wait."""

    @abstractmethod
    def was_reset(self, code: int) -> None:
        """Take note that the peer has cut it."""

    def deliver(self, part: Head | Interim | Data | Trailers) -> None:
        """Take what has come, or let it wait."""
        last = self._inbox[-1] if self._inbox else None
        if isinstance(part, Data) and isinstance(last, Data) and len(last.data) < _SMALL:
            last.data, last.size, last.ended = last.data + part.data, last.size + part.size, part.ended
        else:
            self._inbox.append(part)
        if isinstance(part, Trailers) or (isinstance(part, Head | Data) and part.ended):
            self._inbox.append(ENDED)
        self._advance()

    def pause(self) -> None:
        """Leave what comes until `resume`: an answer about it is waited for."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._advance()

    @property
    def whole(self) -> bool:
        """Whether all that the peer says on it has come, although some of it waits."""
        return ENDED in self._inbox

    def _advance(self) -> None:
        while self._inbox and not (self._paused or self.over):
            part = self._inbox.popleft()
            self.take(part)
            if isinstance(part, Data):
                self._taken(part.size)

    def _taken(self, size: int) -> None:
        if self._held and not self.over:
            self._owed += size
        else:
            self.http2.acknowledge(self.ident, size)

    def hold(self, why: object) -> None:
        """Give no window back, until every reason is released."""
        self._held.add(why)

    def release(self, why: object) -> None:
        """Go on, if this was the last reason not to."""
        if why in self._held:
            self._held.remove(why)
            if not self._held:
                owed, self._owed = self._owed, 0
                self.http2.acknowledge(self.ident, owed)

    def stop(self) -> None:
        """Read no more."""
        self.over = True
        self._inbox.clear()
        self._held.clear()


class Multiplex[S: Stream](ABC):
    """One end of a connection.

    Attributes:
        http2: it, as bytes.
        streams: that are not over, by number.
    """

    def __init__(self, peer: "Peer", http2: Session) -> None:
        self.http2 = http2
        self.streams: dict[int, S] = {}
        self._wire = peer
        self._turning = self._ended = False
        self._deaf = False  # a turn waits for the peer to take what it was told
        self._beside = 0  # bytes that were written since the transport is full

    @property
    @abstractmethod
    def connection(self) -> "InspectedConnection | None":
        """The client's connection that it belongs to; None once it is over."""

    @abstractmethod
    def begun(self, head: Head) -> None:
        """Take the head of a stream that is not known."""

    @abstractmethod
    def leaving(self, last: int) -> None:
        """Take note that the peer takes no stream beyond the last one."""

    @abstractmethod
    def broken(self, error: Http2Error) -> None:
        """End: the peer has broken the protocol, or a bound; what tells it is to be sent."""

    def read(self, data: bytes) -> None:
        """Take what the peer says."""
        self.http2.feed(data)
        if not self._turning:
            self.turn()

    def turn(self) -> None:
        """Act on frames, not on too many, and on none of a peer that takes nothing of what they cost."""
        if self._beside > _BESIDE and not self._ended:
            self._deaf = True
            self._hold()
            return
        left = _TURN
        try:
            for told in self.http2.told(asyncio.get_running_loop().time()):
                for each in told:
                    self._hear(each)
                left -= self.http2.work
                if left <= 0:
                    self._pause()
                    break
        except Http2Error as error:
            self.broken(error)

    def _pause(self) -> None:
        """Go on after others."""
        if self.connection is not None:
            self._hold()
            self.connection.soon(self._go_on)

    def _hold(self) -> None:
        self._turning = True
        self._wire.hold("turn")

    def _go_on(self) -> None:
        self._turning = False
        self.turn()
        if self._turning:
            return
        self._wire.release("turn")
        if self._ended:
            self.silenced()

    @property
    def turning(self) -> bool:
        """Whether some of what has come is still to be read."""
        return self._turning

    def silent(self) -> None:
        """Take note that the peer says no more; what it has said is read first."""
        self._ended = True
        self._listen()
        if not self._turning:
            self.silenced()

    def full(self) -> None:
        """Send no body for now: the peer takes little."""
        self.http2.blocked = True

    def drained(self) -> None:
        """Go on: the peer has taken most of it."""
        self.http2.blocked = False
        self._beside = 0
        self._listen()

    def _listen(self) -> None:
        """Read on, if that was waiting."""
        if self._deaf and self.connection is not None:
            self._deaf = False
            self.connection.soon(self._go_on)

    @abstractmethod
    def silenced(self) -> None:
        """End: the peer says no more, and all that it has said was read."""

    def _hear(self, told: Told) -> None:
        if isinstance(told, GoAway):
            self.leaving(told.last)
            return
        stream = self.streams.get(told.stream)
        if stream is None:
            if isinstance(told, Head):
                self.begun(told)
        elif isinstance(told, Reset):
            stream.was_reset(told.code)
        else:
            stream.deliver(told)

    def pump(self) -> None:
        """Send what the peer's windows let through; `write` follows."""
        for ident, left in self.http2.pump():
            stream = self.streams.get(ident)
            if stream is not None:
                stream.moved(left)

    def write(self) -> None:
        """Hand on what is to be sent."""
        data = self.http2.output()
        if data:
            self._beside += len(data) if self.http2.blocked else 0
            self._wire.write(data)

"""Frames of HTTP/2 as they come, each as a whole, and bounds of what a peer may send that carries nothing.

Owns what is never held: a frame longer than 16 KiB, a head longer than its limit, however many frames it comes in. And
what is not borne for ever: frames that cost us work and move nothing (PING, SETTINGS, RST_STREAM, WINDOW_UPDATE,
PRIORITY, CONTINUATION, empty DATA, unknown ones). Sans-IO.
"""

from enum import IntEnum
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 3.4
HEADER = 9  # bytes, RFC 9113 4.1
LONGEST = 16_384  # bytes of a payload, RFC 9113 4.2: the least that everybody takes, and the most that we do
_BURST = 500  # frames that carry nothing, at once
_REFILL = 100  # of them in a second
_EARNED = 2  # of them for each frame of DATA that we send: a window is opened for it
FAULT = 10  # of them that a fault counts as, which costs a stream: what was begun for it is taken back
_SETTINGS = 32 * 6  # bytes: RFC 9113 knows six settings of six bytes
_KNOWN = range(1, 7)  # RFC 9113 6.5.2; others need not be kept


class Kind(IntEnum):
    """RFC 9113 6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Code(IntEnum):
    """The errors of RFC 9113 7 that we tell."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


END_STREAM = ACK = 1  # flags: RFC 9113 6.1, 6.2, 6.5
END_HEADERS = 4  # RFC 9113 6.2


class Http2Error(Exception):
    """The peer has broken the protocol, or a bound of ours: the connection ends.

    Attributes:
        code: of the GOAWAY.
        too_large: it was the bound of a head.
    """

    def __init__(self, code: int, why: str, *, too_large: bool = False) -> None:
        super().__init__(why)
        self.code, self.too_large = code, too_large


class Frame(NamedTuple):
    """A frame.

    Attributes:
        wire: all of it, as it came.
    """

    kind: int
    flags: int
    stream: int
    wire: bytes


class Idle:
    """How much a peer may still send that carries nothing: a number that time and sent DATA refill.

    Example:
        >>> idle = Idle(now=0.0)
        >>> for _ in range(500):
        ...     idle.spend(now=0.0)
        >>> idle.spend(now=0.0)
        Traceback (most recent call last):
        outward.http2.frames.Http2Error: too many frames that carry nothing
    """

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left, self._at = float(_BURST), now

    def spend(self, now: float, frames: int = 1) -> None:
        """Take frames that carry nothing.

        Args:
            now: in seconds, by any clock that never goes back.
            frames: how many; 0 looks whether too much is owed.

        Raises:
            Http2Error: there were too many.
        """
        self._left = min(_BURST, self._left + (now - self._at) * _REFILL) - frames
        self._at = now
        if self._left < 0:
            raise Http2Error(Code.ENHANCE_YOUR_CALM, "too many frames that carry nothing")

    def owe(self) -> None:
        """Take a fault; if there were too many, the next frame tells."""
        self._left -= FAULT

    def earn(self) -> None:
        """Take note of a frame of DATA that was sent."""
        self._left += _EARNED


class FrameReader:
    """Splits what a peer sends into frames.

    Attributes:
        idle: what it may still send that carries nothing.
    """

    __slots__ = ("_block", "_block_bytes", "_buffer", "_head_bytes", "_preface", "idle")

    def __init__(self, head_bytes: int, now: float, *, preface: bool) -> None:
        """Begin.

        Args:
            head_bytes: most bytes of a compressed head.
            now: in seconds, as in `next`.
            preface: the peer is a client, and begins with it.
        """
        self._buffer = bytearray()
        self._head_bytes = head_bytes
        self._preface = preface
        self._block, self._block_bytes = 0, 0  # the stream whose head is not complete
        self.idle = Idle(now)

    def feed(self, data: bytes) -> None:
        """Take what has come; read it before more is fed."""
        self._buffer += data

    @property
    def unfinished(self) -> bool:
        """Whether the peer owes the rest of a head, or of any frame but DATA."""
        begun = bool(self._buffer) and (self._preface or len(self._buffer) < HEADER or self._buffer[3] != Kind.DATA)
        return begun or self._block != 0

    def next(self, now: float) -> Frame | None:
        """Return the next frame that the protocol gives a meaning; None until it has come as a whole.

        Raises:
            Http2Error: the peer has broken the protocol, or a bound.
        """
        buffer = self._buffer
        if self._preface and not self._skip_preface():
            return None
        while len(buffer) >= HEADER:
            size = int.from_bytes(buffer[:3])
            if size > LONGEST:
                raise Http2Error(Code.FRAME_SIZE_ERROR, "a frame longer than 16 KiB")
            kind, flags, stream = buffer[3], buffer[4], int.from_bytes(buffer[5:HEADER]) & 0x7FFF_FFFF
            self._judge(kind, stream, size)
            if len(buffer) < HEADER + size:
                return None
            frame = Frame(kind, flags, stream, bytes(buffer[: HEADER + size]))
            del buffer[: HEADER + size]
            self._count(frame, size, now)
            if kind > Kind.CONTINUATION or kind == Kind.PRIORITY:  # means nothing to us (RFC 9113 4.1, 5.3.2)
                continue
            return _known_settings(frame) if kind == Kind.SETTINGS else frame
        return None

    def _skip_preface(self) -> bool:
        come = bytes(self._buffer[: len(PREFACE)])
        if not PREFACE.startswith(come):
            raise Http2Error(Code.PROTOCOL_ERROR, "not HTTP/2, although the handshake has agreed on it")
        if len(come) < len(PREFACE):
            return False
        del self._buffer[: len(PREFACE)]
        self._preface = False
        return True

    def _judge(self, kind: int, stream: int, size: int) -> None:
        """Refuse by its first nine bytes what is never read."""
        if (kind == Kind.CONTINUATION) is not (self._block != 0) or (self._block and stream != self._block):
            raise Http2Error(Code.PROTOCOL_ERROR, "a frame within a head, or a CONTINUATION of none")
        if kind == Kind.PUSH_PROMISE:
            raise Http2Error(Code.PROTOCOL_ERROR, "a push, which we do not take")
        if kind == Kind.SETTINGS and size > _SETTINGS:
            raise Http2Error(Code.ENHANCE_YOUR_CALM, "more settings than there are")
        head = kind in (Kind.HEADERS, Kind.CONTINUATION)
        if head and self._block_bytes + size > self._head_bytes:
            raise Http2Error(Code.ENHANCE_YOUR_CALM, "the head is too long", too_large=True)
        if kind == Kind.HEADERS and stream % 2 == 0:  # RFC 9113 5.1.1, 8.4
            raise Http2Error(Code.PROTOCOL_ERROR, "a head on no stream, or on one that only a push opens")

    def _count(self, frame: Frame, size: int, now: float) -> None:
        kind, flags, _, wire = frame
        if kind in (Kind.HEADERS, Kind.CONTINUATION):
            done = flags & END_HEADERS
            self._block, self._block_bytes = (0, 0) if done else (frame.stream, self._block_bytes + size)
        padding = wire[HEADER] + 1 if kind == Kind.DATA and flags & 8 and size else 0
        nothing = kind != Kind.HEADERS and (kind != Kind.DATA or (size <= padding and not flags & END_STREAM))
        self.idle.spend(now, int(nothing))


def _known_settings(frame: Frame) -> Frame:
    """Return a SETTINGS frame without what RFC 9113 does not know: whoever keeps it keeps 65,536 of them."""
    payload = frame.wire[HEADER:]
    if len(payload) % 6 or all(int.from_bytes(payload[at : at + 2]) in _KNOWN for at in range(0, len(payload), 6)):
        return frame  # one of a wrong length is refused by who reads it
    parts = [payload[at : at + 6] for at in range(0, len(payload), 6)]
    kept = b"".join(part for part in parts if int.from_bytes(part[:2]) in _KNOWN)
    return frame._replace(wire=len(kept).to_bytes(3) + frame.wire[3:HEADER] + kept)


def goaway(last: int, code: int) -> bytes:
    """Return a GOAWAY (RFC 9113 6.8); `last` is the highest stream that was, or will be, answered."""
    return b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4) + int(code).to_bytes(4)


def read_goaway(frame: Frame) -> tuple[int, int]:
    """Return the last stream and the code of a GOAWAY.

    Raises:
        Http2Error: it is none.
    """
    payload = frame.wire[HEADER:]
    if len(payload) < 8 or frame.stream:
        raise Http2Error(Code.FRAME_SIZE_ERROR, "a malformed GOAWAY")
    return int.from_bytes(payload[:4]) & 0x7FFF_FFFF, int.from_bytes(payload[4:8])

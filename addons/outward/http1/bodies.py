"""Bodies of HTTP/1 messages, read strictly as they stream (RFC 9112 6 and 7).

Owns where a body ends. Chunk extensions and trailers are read, bounded and dropped: nothing that a peer hides there
goes on. Sans-IO; holds no more than what arrived last.
"""

import re
from collections.abc import Callable
from typing import Protocol

from outward.http1.fields import SECTION, TOKEN

_TEXT = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_EXTENSION = rb"[ \t]*+;[ \t]*+" + TOKEN + rb"(?:[ \t]*+=[ \t]*+(?:" + TOKEN + rb"|" + _TEXT + rb"))?+"
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:" + _EXTENSION + rb")*+\r\n")  # RFC 9112 7.1.1
_TRAILERS = re.compile(SECTION)
_LONGEST_LINE = 1024  # bytes of a chunk's size and extensions, which RFC 9112 7.1.1 wants bounded; Go's net/http: 4096
_LONGEST_TRAILERS = 16 * 1024  # bytes, as Node's --max-http-header-size
_TURN = 16 * 1024  # bytes of framing, and some for each chunk, that are read at a time: milliseconds
_EACH = 8  # what a chunk costs beside its framing, in bytes of it


class BodyError(Exception):
    """A body that two programs could end at different places, or that ends too early."""


class Body(Protocol):
    """A body that is being read.

    Attributes:
        more: the buffer holds more than was read at a time, so that nobody waits for a million chunks of a byte.
    """

    more: bool

    def read(self, buffer: bytearray) -> tuple[bytes, bool]:
        """Take what belongs to the body from a buffer; return its payload, and whether the body is complete.

        Raises:
            BodyError: the framing is broken.
        """

    def passes(self, data: bytes) -> bool:
        """Tell whether all of a piece is payload, and does not end the body; if so, it counts as read."""

    def completes(self, data: bytes) -> bool:
        """Tell whether a piece is all that is left of the body, and nothing else; if so, it counts as read."""

    def finish(self) -> None:
        """Take note that the peer has closed.

        Raises:
            BodyError: the body was not complete.
        """


class Sized:
    """A body of known length."""

    __slots__ = ("_left",)
    more = False

    def __init__(self, length: int) -> None:
        self._left = length

    def read(self, buffer: bytearray) -> tuple[bytes, bool]:
        """Take up to the length."""
        data = bytes(buffer[: self._left])
        del buffer[: len(data)]
        self._left -= len(data)
        return data, self._left == 0

    def passes(self, data: bytes) -> bool:
        """Count it, if more is to come."""
        if len(data) >= self._left:
            return False
        self._left -= len(data)
        return True

    def completes(self, data: bytes) -> bool:
        """Compare the lengths."""
        if len(data) != self._left:
            return False
        self._left = 0
        return True

    def finish(self) -> None:
        """Refuse a body that is too short."""
        raise BodyError("the peer closed before the end of the body")


class UntilClose:
    """A response body that ends with the connection."""

    __slots__ = ()
    more = False

    def read(self, buffer: bytearray) -> tuple[bytes, bool]:
        """Take everything."""
        data = bytes(buffer)
        buffer.clear()
        return data, False

    def passes(self, data: bytes) -> bool:  # noqa: ARG002 - whatever it is
        """Take everything."""
        return True

    def completes(self, data: bytes) -> bool:  # noqa: ARG002 - whatever it is
        """Wait for the connection's end."""
        return False

    def finish(self) -> None:
        """Accept: this is how it ends."""


class Chunked:
    """A chunked body; `dropped` is called if it ends with trailer fields, which a proxy may drop (RFC 9112 7.1.2)."""

    __slots__ = ("_data", "_dropped", "_end", "_trailers", "more")

    def __init__(self, dropped: Callable[[], None]) -> None:
        self._dropped = dropped
        self._data = 0  # bytes of the chunk that are still to come
        self._end = False  # the chunk's own CRLF is still to come
        self._trailers = self.more = False

    def read(self, buffer: bytearray) -> tuple[bytes, bool]:
        """Take the complete framing and the payload that is there, as much as is read at a time."""
        payload: list[bytes] = []
        turn, self.more = _TURN, False
        while buffer:
            if self._trailers:
                return b"".join(payload), self._skip_trailers(buffer)
            if self._data:
                payload.append(bytes(buffer[: self._data]))
                del buffer[: len(payload[-1])]
                self._data -= len(payload[-1])
                self._end = self._data == 0
            elif self._end:
                if not self._skip_end(buffer):
                    break
            elif turn <= 0:
                self.more = True
                break
            else:
                taken = self._next(buffer)
                if not taken:
                    break
                turn -= taken + _EACH
        return b"".join(payload), False

    def passes(self, data: bytes) -> bool:  # noqa: ARG002 - whatever it is
        """Leave it to `read`: there is framing in it, or may be."""
        return False

    def completes(self, data: bytes) -> bool:  # noqa: ARG002 - whatever it is
        """Leave it to `read`: there is framing in it."""
        return False

    def finish(self) -> None:
        """Refuse a body without its last chunk."""
        raise BodyError("the peer closed before the last chunk")

    def _skip_end(self, buffer: bytearray) -> bool:
        if not b"\r\n".startswith(buffer[:2]):
            raise BodyError("a chunk that is longer than its size")
        if len(buffer) < 2:
            return False
        del buffer[:2]
        self._end = False
        return True

    def _next(self, buffer: bytearray) -> int:
        """Read the next chunk's size; return the length of its line, 0 if that is not complete."""
        end = buffer.find(b"\n", 0, _LONGEST_LINE)
        if end < 0:
            if len(buffer) >= _LONGEST_LINE:
                raise BodyError("a chunk's line is too long")
            return 0
        match = _CHUNK.fullmatch(buffer, 0, end + 1)
        if match is None:
            raise BodyError("a malformed chunk")
        self._data = int(match[1], 16)
        self._trailers = self._data == 0
        del buffer[: end + 1]
        return end + 1

    def _skip_trailers(self, buffer: bytearray) -> bool:
        """Drop the trailers; False if they are not complete."""
        end = 2 if buffer.startswith(b"\r\n") else buffer.find(b"\r\n\r\n", 0, _LONGEST_TRAILERS) + 4
        if end < 4 and not buffer.startswith(b"\r\n"):
            if len(buffer) >= _LONGEST_TRAILERS:
                raise BodyError("the trailers are too long")
            return False
        if not _TRAILERS.fullmatch(buffer, 0, end):
            raise BodyError("malformed trailers")
        if end > 2:
            self._dropped()
        del buffer[:end]
        return True


def body_of(length: int | None, dropped: Callable[[], None], *, until_close: bool = False) -> Body:
    """Return the reader of a message's body.

    Args:
        length: in bytes; None if it is chunked.
        dropped: called if trailer fields are dropped.
        until_close: the body ends with the connection, whatever `length` says.
    """
    if until_close:
        return UntilClose()
    if length is None:
        return Chunked(dropped)
    return Sized(length)


def chunk(data: bytes) -> bytes:
    """Return one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"

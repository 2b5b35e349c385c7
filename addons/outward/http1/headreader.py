"""The bounded collection of heads from segments. Sans-IO; what a whole head says is read in `head`."""

import re

from outward.http1.fields import HeadLimits, malformed, too_large
from outward.http1.head import END, REQUEST_LINE

_FIRST_LINE = re.compile(REQUEST_LINE)
_BEGUN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Z]{0,32}+(?: .*+)?", re.DOTALL)
_NEVER = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MAY_BE_LINE = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Z]{1,32}+(?: [^\x00-\x08\x0a-\x1f\x7f]*+\r?)?)?")
_IS_LINE = re.compile(rb"[^\n]*[ \t]HTTP/1\.[0-9][ \t\r]*")
_LONGEST_LINE = 16 * 1024  # bytes: twice what RFC 9112 3 asks for; nothing but a request begins like one for so long
_LONGEST_METHOD = 32  # letters; the longest that IANA has is UPDATEREDIRECTREF, with 17
_RESPONSE_BEGINS = b"HTTP/1."
_SETTINGS = re.compile(rb"\0\0.\x04", re.DOTALL)  # the frame that a server's HTTP/2 begins with (RFC 9113 3.4, 6.5)


def judge_begun_response(buffer: bytearray, scanned: int) -> None:
    """Refuse early what can never become the head of a response: nobody waits for the end of it then.

    Args:
        buffer: what has come of it.
        scanned: how many bytes of it were judged before.

    Raises:
        HeadError: it is not HTTP/1.
    """
    if not buffer.startswith(_RESPONSE_BEGINS[: len(buffer)]):
        begins_http2 = _SETTINGS.match(buffer) is not None
        raise malformed("HTTP/2 unasked: it may speak nothing else" if begins_http2 else "not HTTP/1")
    _judge_bytes(buffer, scanned)


def _judge_bytes(buffer: bytearray, scanned: int) -> None:
    if _NEVER.search(buffer, scanned):
        raise malformed("a bare CR or LF, or a control character")


def is_whole(data: bytes) -> bool:
    """Tell whether a segment is one head and nothing else, as most are: no reader is needed then."""
    return data.endswith(END) and data.find(END) == len(data) - len(END) and not data.startswith(b"\r\n")


def begins_request(first: bytes | bytearray) -> bool | None:
    r"""Tell whether what a client says first is a request line of HTTP/1; None until its first line shows it.

    Lenient, as some servers are: empty lines before it, several blanks and a bare LF make no other protocol of it. The
    strict reading comes after, and refuses them, and a line that does not end.

    Example:
        >>> begins_request(b"GET / HT"), begins_request(b"GET / HTTP/1.1\r\n"), begins_request(b"SSH-2.0-x\r\n")
        (None, True, False)
    """
    line, ended, _ = bytes(first).lstrip(b"\r\n").partition(b"\n")
    if ended:
        return _IS_LINE.fullmatch(line) is not None
    if not _MAY_BE_LINE.fullmatch(line):
        return False
    return True if len(first) > _LONGEST_LINE else None


class HeadReader:
    """Collects a head from segments, and refuses early what can never become one.

    One empty line before the request line is skipped (RFC 9112 2.2): old clients end a body with it.
    """

    __slots__ = ("_buffer", "_limits", "_line", "_skipped")

    def __init__(self, limits: HeadLimits) -> None:
        self._buffer = bytearray()
        self._limits = limits
        self._line = False  # whether the request line is complete and right
        self._skipped = False  # whether an empty line has been

    @property
    def begun(self) -> bool:
        """Whether anything of a head has come."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take a segment; return the head and the bytes behind it once the head is complete.

        Raises:
            HeadError: when the head is too long, or is not HTTP/1.
        """
        buffer = self._buffer
        scanned = max(0, len(buffer) - 3)
        buffer += data
        if not self._skipped and buffer.startswith(b"\r\n"):
            self._skipped, scanned = True, 0
            del buffer[:2]
        end = buffer.find(END, scanned)
        if end >= 0:
            return bytes(buffer[: end + 4]), bytes(buffer[end + 4 :])
        if len(buffer) > self._limits.head_bytes:
            raise too_large("the head is too long")
        self._judge_begun(scanned)
        return None

    def _judge_begun(self, scanned: int) -> None:
        """Refuse SOCKS, TLS, HTTP/0.9, bare line feeds and the like without waiting for the deadline."""
        buffer = self._buffer
        _judge_bytes(buffer, scanned)
        if self._line:
            return
        if buffer.find(b"\n", scanned) >= 0:
            if not _FIRST_LINE.match(buffer):
                raise malformed("not a strict HTTP/1 request line")
            self._line = True
        elif buffer == b"\r" and not self._skipped:
            return
        elif scanned <= _LONGEST_METHOD and not _BEGUN.fullmatch(buffer):
            raise malformed("not HTTP/1")

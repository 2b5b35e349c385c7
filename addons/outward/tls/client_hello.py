"""The first thing that a TLS client says: reassembled, bounded, and read strictly (RFC 8446 4.1.2, RFC 6066 3).

Owns what a ClientHello is. Sans-IO. Extracts what both lanes judge; never judges it, and never decrypts anything.
"""

from dataclasses import dataclass

from outward.core.reasons import Reason

MAX_HELLO = 32 * 1024  # post-quantum key shares make 2 KiB; OpenSSL itself stops at 128 KiB
_MAX_RECORD = 16384  # RFC 8446 5.1
_MAX_RECORDS = 64  # enough for any stack; one byte a record is an attack

HANDSHAKE, _CLIENT_HELLO, _TLS = 22, 1, 3  # RFC 8446 5.1, 4, and the major version of 5.1
_SERVER_NAME, _ALPN = 0, 16  # RFC 6066 3, RFC 7301 3.1
_ECH = frozenset({0xFE0D, 0xFE0C, 0xFE0B, 0xFE0A, 0xFE09, 0xFE08, 0xFFCE})  # RFC 9849 and the drafts before it


class NotTlsError(Exception):
    """The bytes are no TLS: another protocol, or SSL 2."""


class HelloError(Exception):
    """A ClientHello that is malformed, ambiguous or too large.

    Attributes:
        reason: for the event: `sni_mismatch` where it names the server twice.
    """

    def __init__(self, why: str, *, oversized: bool = False, ambiguous: bool = False) -> None:
        super().__init__(why)
        self.reason = Reason.SNI_MISMATCH if ambiguous else Reason.MALFORMED_REQUEST
        if oversized:
            self.reason = Reason.TOO_LARGE


@dataclass(slots=True)
class Hello:
    """What a ClientHello says.

    Attributes:
        sni: the server name as sent, ASCII; None if there is none.
        alpn: protocols offered, in order.
        ech: an Encrypted ClientHello extension is present, a decoy or not.
    """

    sni: str | None
    alpn: tuple[bytes, ...]
    ech: bool


class HelloReader:
    """Collects a ClientHello over segments and records.

    Attributes:
        data: every byte fed so far, to be relayed once the hello has been judged.
        end: how many of them are records of the hello.
    """

    __slots__ = ("_message", "_records", "data", "end")

    def __init__(self) -> None:
        self.data = bytearray()
        self._message = bytearray()
        self._records = 0
        self.end = 0

    def feed(self, data: bytes) -> Hello | None:
        """Take a segment; return the hello once it is complete.

        Raises:
            NotTlsError: at the first byte that cannot be TLS.
            HelloError: when it is malformed, ambiguous or too large.
        """
        self.data += data
        while self._next_record():
            message = self._message
            if message[0] != _CLIENT_HELLO:
                raise HelloError("the first handshake message is no ClientHello")
            if len(message) < 4:
                continue
            length = int.from_bytes(message[1:4])
            if length > MAX_HELLO:
                raise HelloError("the ClientHello is too large", oversized=True)
            if len(message) >= length + 4:
                if len(message) != length + 4:
                    raise HelloError("another handshake message behind the ClientHello")
                return read_hello(bytes(message))
        return None

    def _next_record(self) -> bool:
        """Move one complete record's payload to the message."""
        head = self.data[self.end : self.end + 5]
        if (head and head[0] != HANDSHAKE) or (len(head) > 1 and head[1] != _TLS):
            raise NotTlsError
        if len(head) < 5:
            return False
        length = head[3] << 8 | head[4]
        if not 0 < length <= _MAX_RECORD:
            raise HelloError("a record of no length that TLS knows")
        if len(self._message) + length > MAX_HELLO + 4 or self._records == _MAX_RECORDS:
            raise HelloError("the ClientHello is too large", oversized=True)
        end = self.end + 5 + length
        if len(self.data) < end:
            return False
        self._message += self.data[self.end + 5 : end]
        self._records += 1
        self.end = end
        return True


def read_hello(message: bytes) -> Hello:
    """Read a whole ClientHello message, with its header of four bytes.

    Raises:
        HelloError: when a length disagrees with another, or an extension stands twice.
    """
    try:
        return _read(message)
    except IndexError as error:
        raise HelloError("the ClientHello is cut short") from error


def _read(message: bytes) -> Hello:
    end = len(message)
    if message[4] != _TLS:
        raise HelloError("a version that is not TLS")
    at = 38  # header 4, version 2, random 32
    at += 1 + message[at]  # session id
    at += 2 + (message[at] << 8 | message[at + 1])  # cipher suites
    at += 1 + message[at]  # compression methods
    hello = Hello(None, (), ech=False)
    if at != end:
        if at + 2 + (message[at] << 8 | message[at + 1]) != end:
            raise HelloError("the extensions do not fill the ClientHello")
        _read_extensions(message, at + 2, hello)
    return hello


def _read_extensions(message: bytes, at: int, hello: Hello) -> None:
    end = len(message)
    seen = set()
    while at < end:
        kind = message[at] << 8 | message[at + 1]
        start = at + 4
        at = start + (message[at + 2] << 8 | message[at + 3])
        if at > end:
            raise HelloError("an extension beyond the ClientHello")
        if kind in seen:
            raise HelloError("a repeated extension", ambiguous=kind == _SERVER_NAME)
        seen.add(kind)
        if kind == _SERVER_NAME:
            hello.sni = _server_name(message[start:at])
        elif kind == _ALPN:
            hello.alpn = _protocols(message[start:at])
        elif kind in _ECH:
            hello.ech = True


def _server_name(body: bytes) -> str:
    """Read a server_name extension that holds exactly one host name."""
    size = len(body)
    if size < 6 or body[0] << 8 | body[1] != size - 2 or body[2] != 0:
        raise HelloError("a server name extension without a host name")
    length = body[3] << 8 | body[4]
    if length != size - 5:
        raise HelloError("more than one server name", ambiguous=length < size - 5)
    name = body[5:]
    if not name.isascii():
        raise HelloError("a server name in other than ASCII")
    return name.decode("ascii")


def _protocols(body: bytes) -> tuple[bytes, ...]:
    """Read an ALPN extension (RFC 7301 3.1)."""
    if len(body) < 2 or body[0] << 8 | body[1] != len(body) - 2:
        raise HelloError("a malformed ALPN extension")
    names, at = [], 2
    while at < len(body):
        end = at + 1 + body[at]
        if body[at] == 0 or end > len(body):
            raise HelloError("a malformed ALPN extension")
        names.append(body[at + 1 : end])
        at = end
    return tuple(names)

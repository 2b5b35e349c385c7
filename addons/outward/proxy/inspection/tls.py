"""One end of a TLS connection, in memory: what a peer sent goes in, what it said and what is to be sent come out.

Sans-IO, over the standard library's memory BIOs. Owns the order of handshake, records and close_notify (RFC 8446 6.1).
"""

import ssl
from collections.abc import Collection
from contextlib import suppress

SPOKEN = (b"http/1.1", b"http/1.0")  # with clients, the better first
HTTP1, HTTP2 = "http/1.1", "h2"  # with destinations
_RECORD = 16 * 1024  # bytes of one record, RFC 8446 5.1


class TlsEndpoint:
    """One end of a connection.

    Attributes:
        shaken: the handshake is done.
        ended: the peer has said that it will send no more.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "ended", "shaken")

    def __init__(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """Begin; `server_name` is whom a client wants to reach, None on the server's side."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self.shaken = self.ended = False

    def shake(self) -> bool:
        """Go on with the handshake; True once it is done.

        Raises:
            ssl.SSLError: it failed; there may be an alert to send.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.shaken = True
        return True

    def receive(self, data: bytes) -> bytes:
        """Take what came from the peer, and return what it says.

        Raises:
            ssl.SSLError: it is no TLS, or no longer; there may be an alert to send.
        """
        incoming = self._incoming
        incoming.write(data)
        if not self.shaken and not self.shake():
            return b""
        read = self._object.read
        parts: list[bytes] = []
        try:
            while incoming.pending and not self.ended:
                part = read(_RECORD)
                if part and not (parts or incoming.pending):  # one record, as nearly always
                    return part
                if part:
                    parts.append(part)
                else:
                    self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data: bytes) -> bytes:
        """Return what carries the data to the peer.

        Raises:
            ssl.SSLError: nothing can be sent any more.
        """
        sent, length = self._object.write(data), len(data)
        if sent < length:
            view = memoryview(data)
            while sent < length:
                sent += self._object.write(view[sent:])
        return self._outgoing.read()

    def pending(self) -> bytes:
        """Return what the handshake, or an answer to the peer's own messages, has to send."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close(self) -> bytes:
        """Return what tells the peer that no more will come, so that it can tell an end from a cut."""
        with suppress(ssl.SSLError):  # the peer has not said the same yet, or the handshake was never done
            self._object.unwrap()
        return self._outgoing.read()

    @property
    def protocol(self) -> str | None:
        """What both ends have agreed on (RFC 7301); None where they have not."""
        return self._object.selected_alpn_protocol()

    @property
    def chain(self) -> list[bytes]:
        """The peer's verified certificates in DER, its own first, the root last."""
        found = self._object._sslobj.get_verified_chain()  # type: ignore[attr-defined] # noqa: SLF001 - public from Python 3.13
        return [each if isinstance(each, bytes) else each.public_bytes(_DER) for each in found]


_DER = 2  # `_ssl.ENCODING_DER`


def words(error: ssl.SSLError) -> str:
    """Return why a handshake failed, as people say it.

    Example:
        >>> words(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)"))
        'wrong version number'
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate cannot be verified: {error.verify_message}"
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    return text.partition("] ")[2].partition(" (_ssl.c")[0] or text


def only_http2(offered: Collection[bytes]) -> bool:
    """Tell whether a client speaks HTTP/2, and no HTTP/1.

    Example:
        >>> only_http2([b"h2"]), only_http2([b"h2", b"http/1.1"]), only_http2([])
        (True, False, False)
    """
    return HTTP2.encode() in offered and not set(offered) & set(SPOKEN)

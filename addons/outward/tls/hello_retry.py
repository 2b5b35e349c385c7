"""The second ClientHello of a handshake: whether a server asks for one, and finding it in what the client says then.

A server that answers with a HelloRetryRequest reads a whole new hello, server name included (RFC 8446 4.1.4): a judged
first one says nothing about it. Owns the reading of both directions until the server has chosen. Sans-IO; never judges.
"""

from outward.tls.client_hello import Hello, HelloError, HelloReader

_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446 4.1.3
_HANDSHAKE, _SERVER_HELLO, _TLS = 22, 2, 3  # RFC 8446 5.1, 4, and the major version of 5.1
_BESIDE = frozenset({20, 21, 23})  # change_cipher_spec, alert, and early data that the server drops
_ENOUGH = 38  # bytes of a ServerHello: header 4, version 2, random 32 (RFC 8446 4.1.3)
_MOST = 1024 * 1024  # bytes before the second hello: early data, of which OpenSSL takes 16 KiB unless told otherwise


class ServerReader:
    """Reads the first message of a server, in whatever records it comes."""

    __slots__ = ("_data", "_message")

    def __init__(self) -> None:
        self._data = bytearray()
        self._message = bytearray()

    def feed(self, data: bytes) -> bool | None:
        """Take what the server says; tell whether it asks for another hello, None while that cannot be told."""
        self._data += data
        while len(self._message) < _ENOUGH:
            head = self._data[:5]
            if head and (head[0] != _HANDSHAKE or (len(head) > 1 and head[1] != _TLS)):
                return False
            end = 5 + int.from_bytes(head[3:5])
            if len(head) == 5 and end == 5:  # forbidden (RFC 8446 5.1), and could go on for ever
                return False
            if len(head) < 5 or len(self._data) < min(end, 5 + _ENOUGH - len(self._message)):
                return None
            self._message += self._data[5:end]
            if self._message and self._message[0] != _SERVER_HELLO:
                return False
            if len(self._data) < end:
                break
            del self._data[:end]
        return self._message[6:_ENOUGH] == _RETRY


class SecondReader:
    """Finds the second hello behind what a client may send before it."""

    __slots__ = ("_beside", "_data", "_hello")

    def __init__(self) -> None:
        self._data = bytearray()
        self._hello: HelloReader | None = None
        self._beside = 0

    def feed(self, data: bytes) -> tuple[bytes, Hello | None]:
        """Take a segment; return what may be passed on now, and the hello once it is complete.

        The hello's own bytes are in `held` until it has been judged.

        Raises:
            NotTlsError: the bytes are no TLS.
            HelloError: there is no hello, or it is malformed, ambiguous or too large.
        """
        if self._hello is not None:
            return b"", self._hello.feed(data)
        self._data += data
        at = 0
        while len(self._data) >= at + 5 and self._data[at] in _BESIDE:
            end = at + 5 + int.from_bytes(self._data[at + 3 : at + 5])
            if len(self._data) < end:
                break
            at = end
        passed = bytes(self._data[:at])
        del self._data[:at]
        self._beside += at
        if self._beside > _MOST:
            raise HelloError("no second ClientHello", oversized=True)
        if self._data and self._data[0] not in _BESIDE:
            self._hello = HelloReader()
            return passed, self._hello.feed(bytes(self._data))
        return passed, None

    @property
    def held(self) -> bytes:
        """What has been read of the hello, and behind it."""
        return bytes(self._hello.data) if self._hello is not None else b""

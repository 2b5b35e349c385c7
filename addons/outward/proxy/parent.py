"""The parent proxy: how to ask it for a tunnel, and the reading of its answer.

Owns the parent's address and credentials, which go to the parent and nowhere else: not to an origin, not to a log.
Never dials.
"""

import asyncio
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote_to_bytes

from outward.config.values import parent_url
from outward.core.names import Host

MAX_HEAD = 16_384  # octets of the parent's answer


class ParentError(Exception):
    """The parent proxy did not open the tunnel."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent proxy.

    Attributes:
        authorization: value of Proxy-Authorization, empty for none.
    """

    host: Host
    port: int
    authorization: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, url: str) -> "Parent":
        """Read the URL of a parent proxy.

        Raises:
            ValueError: it is none (see `parent_url`).
        """
        host, port, user, password = parent_url(url)
        if user is None:
            return cls(host, port)
        pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password or "")
        return cls(host, port, b"Basic " + b64encode(pair))

    def request(self, host: Host, port: int, via: str) -> bytes:
        """Return the CONNECT request for a destination (RFC 9110 9.3.6), with the proxies that it came through."""
        authority = f"{host}:{port}".encode("ascii")
        lines = [b"CONNECT " + authority + b" HTTP/1.1", b"Host: " + authority, b"Via: " + via.encode("latin-1")]
        if self.authorization:
            lines.append(b"Proxy-Authorization: " + self.authorization)
        return b"\r\n".join([*lines, b"", b""])


def via_of(fields: Iterable[tuple[str, str]]) -> str:
    """Return the proxies that a request came through, as one list; empty where it names none."""
    return ", ".join(value for name, value in fields if name == "via" and value)


class TunnelRequest(asyncio.Protocol):
    """Asks the parent for a tunnel, and then makes room for the protocol that will use it.

    Attributes:
        opened: the bytes behind the parent's answer once the tunnel stands; ParentError where it does not.
    """

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports do not inherit from it
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Collect the answer's head."""
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > MAX_HEAD:
                self._fail("the parent proxy's answer is too long")
            return
        status = _status(bytes(head))
        if status is None or not 200 <= status < 300:
            self._fail(f"the parent proxy answered {status or 'nothing that is HTTP'}")
        elif not self.opened.done() and self._transport is not None:
            self._transport.pause_reading()
            self.opened.set_result(bytes(rest))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail a request that has not been answered."""
        self._fail(f"the parent proxy closed the connection{': ' + str(exc) if exc else ''}")

    def _fail(self, detail: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ParentError(detail))


def _status(head: bytes) -> int | None:
    """Return the status code of a response head (RFC 9112 4)."""
    version, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    if version in {b"HTTP/1.1", b"HTTP/1.0"}:
        with suppress(ValueError):
            return int(rest[:3].decode("ascii"))
    return None

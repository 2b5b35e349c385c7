"""The parent proxy: how to ask it for a tunnel, and the reading of its answer.

Owns the parent's address and credentials, which go to the parent and nowhere else: not to an origin, not to a log.
Never dials.
"""

import asyncio
import logging
import re
import time
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote_to_bytes

from outward.config.values import parent_url
from outward.core.names import Host
from outward.core.reasons import Reason

_log = logging.getLogger(__name__)

_MARK = re.compile(r"ERR_[A-Z_]{1,40}")
_QUIET = 60.0  # seconds between two lines in the log that say the same
_said: dict[str, float] = {}  # what was last logged when; the words are few

MAX_HEAD = 16_384  # octets of the parent's answer, as Node's --max-http-header-size


class ParentError(Exception):
    """The parent proxy did not open the tunnel.

    Attributes:
        reason: whether it refused, or failed.
    """

    def __init__(self, detail: str, reason: Reason = Reason.PARENT_FAILED) -> None:
        super().__init__(detail)
        self.reason = reason


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
        lines = [b"CONNECT " + authority + b" HTTP/1.1", b"Host: " + authority, *self.fields(via)]
        return b"\r\n".join([*lines, b"", b""])

    def fields(self, via: str) -> list[bytes]:
        """Return the field lines that a request to the parent has beside the client's own."""
        lines = [b"Via: " + via.encode("latin-1")]
        return [*lines, b"Proxy-Authorization: " + self.authorization] if self.authorization else lines

    def __str__(self) -> str:
        """Where it is, without credentials."""
        return f"{self.host}:{self.port}"


def answered(parent: Parent, status: int, fields: Iterable[tuple[str, str]]) -> tuple[Reason, str] | None:
    """Return what a parent says of itself in answer to a request in absolute form; None for what it passes on.

    A 407 is always the nearest proxy's (RFC 9110 15.5.8). Squid marks what it made itself.
    """
    marked = next((_MARK.match(value) for name, value in fields if name == "x-squid-error"), None)
    if status != 407 and marked is None:
        return None
    told = f"answered {status}{f' ({marked[0]})' if marked else ''}"
    complain(parent, told)
    return refusal(status), told


def complain(parent: Parent, told: str) -> None:
    """Write what is wrong with a parent to the log, the same words once a minute: every client behind it meets it."""
    now, line = time.monotonic(), f"the parent proxy {parent}: {told}"
    if now - _said.get(line, -_QUIET) >= _QUIET:
        _said[line] = now
        _log.warning("%s", line)


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
                self._fail("its answer is too long")
            return
        status = _status(bytes(head))
        if status is None or not 200 <= status < 300:
            self._fail(f"answered {status or 'nothing that is HTTP'}", refusal(status))
        elif not self.opened.done() and self._transport is not None:
            self._transport.pause_reading()
            self.opened.set_result(bytes(rest))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail a request that has not been answered."""
        self._fail(f"closed the connection{': ' + str(exc) if exc else ''}")

    def _fail(self, detail: str, reason: Reason = Reason.PARENT_FAILED) -> None:
        if not self.opened.done():
            self.opened.set_exception(ParentError(detail, reason))


def refusal(status: int | None) -> Reason:
    """Return what a parent's own answer means: 4xx refuses (RFC 9110 15.5), all else failed."""
    return Reason.PARENT_REFUSED if status is not None and 400 <= status < 500 else Reason.PARENT_FAILED


def _status(head: bytes) -> int | None:
    """Return the status code of a response head (RFC 9112 4)."""
    version, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    if version in {b"HTTP/1.1", b"HTTP/1.0"}:
        with suppress(ValueError):
            return int(rest[:3].decode("ascii"))
    return None

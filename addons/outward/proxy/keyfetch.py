"""Fetching key sets by URL as destinations are reached: the same roots, the same resolver, the same refused addresses.

Runs in the thread of the key sets; resolving and judging happen on the event loop. Always direct: no parent proxy, no
redirect, no variable of the environment.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from outward.core.addresses import Address
from outward.core.names import Host, canonical_host
from outward.cutoff import CutHttp, CutHttps, Cutoff
from outward.proxy.keysets import MAX_BYTES, KeySetError, is_url, read_file
from outward.records.text import clean

TIMEOUT = 10.0  # seconds for a reading, all of its steps together; PyJWT's client waits 30 for each
_MOST_SAID = 200  # characters of what the other side made us say
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

type Addresses = Callable[[Host, int], Awaitable[list[Address]]]


class Reply(NamedTuple):
    """An answer: its status, and its body, of which at most one byte more than a key set may have."""

    status: int
    body: bytes


class KeyReader:
    """Reads a key set's document: a file, an https URL, or an http URL on loopback."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, addresses: Addresses, context: Callable[[], ssl.SSLContext]
    ) -> None:
        """Remember the means.

        Args:
            loop: on which `addresses` is asked.
            addresses: resolves and judges a destination; raises what says why none may be dialled.
            context: makes the TLS context of a client; asked anew for each reading, so that roots may be replaced.
        """
        self._loop, self._addresses, self._context = loop, addresses, context

    def __call__(self, name: str) -> bytes:
        """Return the document's bytes, at most one more than a key set may have.

        Raises:
            KeySetError: the URL is not acceptable, or it was answered with anything but 200.
            Exception: whatever else keeps it from being read.
        """
        if not is_url(name):
            return read_file(name)
        reply = self.ask(name)
        if reply.status != 200:
            raise KeySetError(f"answered with status {reply.status}")
        return reply.body

    def ask(self, url: str, body: bytes | None = None, fields: Mapping[str, str] = MappingProxyType({})) -> Reply:
        """Return the answer to a GET, or to a POST where there is a body; bounded as a key set is.

        Raises:
            KeySetError: the URL is not acceptable, or the answer is no HTTP.
            TimeoutError: the answer is too slow.
            Exception: whatever else keeps it from being asked.
        """
        return self._asked(urlsplit(url), body, fields)

    def _asked(self, url: SplitResult, body: bytes | None, fields: Mapping[str, str]) -> Reply:
        with Cutoff(TIMEOUT) as cutoff:
            connection = (
                self._plain(url.hostname, url.port)
                if url.scheme == "http"
                else self._secure(url.hostname, url.port, cutoff)
            )
            connection.cutoff = cutoff
            try:
                target = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
                connection.request("GET" if body is None else "POST", target, body, dict(fields))
                reply = connection.getresponse()
                return Reply(reply.status, reply.read(MAX_BYTES + 1))
            except HTTPException as error:  # whose text may be what the other side said
                raise KeySetError(clean(str(error), _MOST_SAID) or type(error).__name__) from error
            finally:
                connection.close()

    def _plain(self, host: str | None, port: int | None) -> CutHttp:
        if host is None or host not in _LOOPBACK:
            raise KeySetError("keys are fetched over https, or from loopback")
        return CutHttp(host, port, timeout=TIMEOUT)

    def _secure(self, name: str | None, port: int | None, cutoff: Cutoff) -> CutHttp:
        host, port = canonical_host(name or ""), port or 443
        asked = asyncio.run_coroutine_threadsafe(_awaited(self._addresses(host, port)), self._loop)
        try:
            found = asked.result(cutoff.left())
        except TimeoutError:
            asked.cancel()
            raise
        return _Judged(host, port, found, self._context())


class _Judged(CutHttps):
    """Connects to addresses that were judged, in turn, and to nothing that a name means by then."""

    def __init__(self, host: Host, port: int, addresses: list[Address], context: ssl.SSLContext) -> None:
        super().__init__(host.name, port, timeout=TIMEOUT, context=context)
        self._means, self._tls, self._found = host.name, context, addresses

    def connect(self) -> None:
        failure: OSError | None = None
        for address in self._found:
            left = self.cutoff.left()
            try:
                sock = socket.create_connection((str(address), self.port), left)
            except OSError as error:
                failure = error
                continue
            self.cutoff.hold(sock)
            self.sock = self._tls.wrap_socket(sock, server_hostname=self._means)
            return
        raise failure or OSError("no address")


async def _awaited(addresses: Awaitable[list[Address]]) -> list[Address]:
    return await addresses


def context_of(roots: Path) -> ssl.SSLContext:
    """Return a client's context that trusts a PEM file, as strictly as towards destinations and no more."""
    context = ssl.create_default_context(cafile=roots)
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT  # clusters' own CAs often lack a key identifier
    return context

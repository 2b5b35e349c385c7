"""The proxy as an attacker sees it: how to reach it from an address, and through its lanes."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

Address = tuple[str, int]
WAIT = 60.0  # seconds; longer than every deadline of a connection that has not been judged


class Target:
    """The proxy, and what the attacks know of it.

    Attributes:
        proxy: where it listens.
        tls, plain: ports of the origins.
        scale: share of the full load.
    """

    def __init__(self, proxy: Address, ports: dict[str, int], ca: Path, scale: float) -> None:
        self.proxy = proxy
        self.tls, self.plain = ports["tls"], ports["plain"]
        self.scale = scale
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.set_alpn_protocols(["http/1.1"])

    @contextlib.asynccontextmanager
    async def open(self, source: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect from an address; aborted at the end."""
        reader, writer = await asyncio.open_connection(*self.proxy, local_addr=(source, 0))
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def inside(
        self, source: str, host: str = "tls.test"
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect, and speak TLS through the inspect lane."""
        async with self.open(source) as (reader, writer):
            writer.write(connect(host, self.tls))
            await status(reader)
            await writer.start_tls(self._context, server_hostname=host)
            yield reader, writer


def connect(host: str, port: int, *fields: str) -> bytes:
    """Return a CONNECT."""
    more = "".join(f"{field}\r\n" for field in fields)
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{more}\r\n".encode()


def request(line: str, host: str, *fields: str) -> bytes:
    """Return a request head."""
    return "".join(f"{each}\r\n" for each in (line, f"Host: {host}", *fields, "")).encode("latin-1")


async def status(reader: asyncio.StreamReader) -> str:
    """Read a head and return its status, or how else the connection ended."""
    try:
        async with asyncio.timeout(WAIT):
            return (await reader.readuntil(b"\r\n\r\n"))[9:12].decode()
    except asyncio.IncompleteReadError:
        return "closed"
    except ConnectionError:
        return "reset"


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes, seconds: float) -> str:
    """Send byte by byte until the proxy answers, or the time is over."""
    writer.write(first)
    answer = asyncio.ensure_future(status(reader))
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not answer.done():
        writer.write(b"a")
        await asyncio.wait((answer,), timeout=0.5)
    if answer.done():
        return answer.result()
    answer.cancel()
    return "carried"

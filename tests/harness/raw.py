"""A client that says exactly what a test tells it to, in the segments that the test wants."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from harness.waiting import PATIENCE


class Raw:
    """A TCP connection with Nagle's algorithm off, so that each `send` is a segment of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, data: bytes, size: int | None = None) -> None:
        """Send bytes, in pieces of `size` where one is given."""
        for at in range(0, len(data), size or max(1, len(data))):
            self.writer.write(data[at : at + (size or len(data))])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def head(self, seconds: float = PATIENCE) -> bytes:
        """Read one response head."""
        async with asyncio.timeout(seconds):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def exactly(self, count: int, seconds: float = PATIENCE) -> bytes:
        async with asyncio.timeout(seconds):
            return await self.reader.readexactly(count)

    async def rest(self, seconds: float = PATIENCE) -> bytes:
        """Read until the proxy closes; a reset counts as a close."""
        got = bytearray()
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    got += data
        return bytes(got)

    async def ask(self, data: bytes, size: int | None = None) -> bytes:
        """Send, and read until the proxy closes."""
        await self.send(data, size)
        return await self.rest()

    async def tls(self, context: ssl.SSLContext, name: str | None) -> None:
        """Speak TLS from now on."""
        async with asyncio.timeout(PATIENCE):
            await self.writer.start_tls(context, server_hostname=name or "")


@contextlib.asynccontextmanager
async def raw(address: tuple[str, int], source: str | None = None) -> AsyncIterator[Raw]:
    """Connect a client, from an address of this machine; it is aborted at the end."""
    here = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(*address, limit=2**20, local_addr=here)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def client_hello(name: str | None, alpn: tuple[str, ...] = ()) -> bytes:
    """Return a real ClientHello record of this machine's OpenSSL."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()

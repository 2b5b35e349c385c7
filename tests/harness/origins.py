"""Origins that record every connection and every byte: the witnesses of what left the proxy."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import trustme


class Origin:
    """A server on loopback.

    Attributes:
        address: where it listens.
        accepts: connections accepted so far.
        received: bytes of each connection, in the order of accepting.
        open: connections that have not ended.
        greeting: sent on accept, before anything is read.
        reply: sent for whatever is read; None echoes.
        reading: cleared to stop reading.
        ended: how many connections saw the end of the client's direction.
    """

    def __init__(self) -> None:
        self.address = ("", 0)
        self.accepts = 0
        self.received: list[bytearray] = []
        self.open = 0
        self.greeting = b""
        self.reply: bytes | None = None
        self.reading = asyncio.Event()
        self.reading.set()
        self.ended = 0

    @property
    def bytes(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(bytes(each) for each in self.received)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepts += 1
        self.open += 1
        got = bytearray()
        self.received.append(got)
        try:
            writer.write(self.greeting)
            while True:
                await self.reading.wait()
                data = await reader.read(65536)
                if not data:
                    self.ended += 1
                    break
                got += data
                writer.write(data if self.reply is None else self.reply)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            writer.close()


@contextlib.asynccontextmanager
async def origin(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Origin]:
    """Run an origin on a free port."""
    subject = Origin()
    server = await asyncio.start_server(subject.serve, host, 0, ssl=tls)
    subject.address = server.sockets[0].getsockname()[:2]
    try:
        yield subject
    finally:
        subject.reading.set()
        server.close()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return a server's TLS context with a certificate for the names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """Return a client's TLS context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context

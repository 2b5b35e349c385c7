"""Origins that misbehave by path, and a name server that knows nobody, in a process of their own."""

import asyncio
import contextlib
import functools
import multiprocessing
import ssl
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import trustme
import uvloop

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
_PIECE = bytes(65_536)


@functools.cache
def _bomb() -> bytes:
    """256 MiB of spaces, squeezed: a JSON document that never begins."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * 2**20) for _ in range(256)) + packer.flush()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until either side has enough."""
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ssl.SSLError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            await _ANSWERS.get(path, _answer)(head, reader, writer)
            await writer.drain()
    writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a piece; a connection that is closing takes everything, and would be fed for ever, before anybody else."""
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0)
    if writer.is_closing():
        raise ConnectionResetError("the proxy has left")


async def _answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
        elif line.startswith(b"transfer-encoding:"):
            await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.write(_OK)


async def _pour(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    while True:
        await _send(writer, _PIECE)


async def _interim(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise an answer for ever."""
    while True:
        await _send(writer, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000)


async def _heading(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with a head without end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await _send(writer, b"X-Pad: " + b"a" * 8000 + b"\r\n")


async def _stall(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Neither read nor answer, until the proxy leaves."""
    while not writer.is_closing():  # noqa: ASYNC110 - nothing tells a writer's end to one who does not read
        await asyncio.sleep(1)


async def _squeezed(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    fields = b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d" % len(_bomb())
    writer.write(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" + _bomb())


async def _switch(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Become a WebSocket that answers every piece with an endless frame's beginning."""
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
    )
    writer.write(b"\x82\x7f\x7f" + b"\xff" * 7)
    while data := await reader.read(65_536):
        await _send(writer, data)


_ANSWERS = {
    b"/pour": _pour,
    b"/interim": _interim,
    b"/heading": _heading,
    b"/stall": _stall,
    b"/socket": _switch,
    b"/res/v1/web/search": _squeezed,
}


class _NoSuchName(asyncio.DatagramProtocol):
    """A name server that answers NXDOMAIN."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        end = data.index(b"\0", 12) + 5
        self._transport.sendto(data[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + data[12:end], addr)  # type: ignore[attr-defined]


async def _run(pipe: Connection, certificate: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    tls = await asyncio.start_server(_serve, "127.0.0.1", 0, ssl=certificate, ssl_handshake_timeout=3600, backlog=4096)
    plain = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=4096)
    names, _ = await loop.create_datagram_endpoint(_NoSuchName, ("127.0.0.1", 0))
    ports = [tls.sockets[0], plain.sockets[0], names.get_extra_info("socket")]
    pipe.send(dict(zip(("tls", "plain", "dns"), (each.getsockname()[1] for each in ports), strict=True)))
    await loop.run_in_executor(None, pipe.recv)


def _main(pipe: Connection, folder: Path) -> None:
    _bomb()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "origins.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("tls.test", "search.test", "plain.test", "*.wild.test").configure_cert(context)
    uvloop.run(_run(pipe, context))


def start(folder: Path) -> tuple[dict[str, int], Callable[[], None]]:
    """Start the origins; returns their ports, and what ends them."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_main, args=(theirs, folder), daemon=True)
    process.start()
    ports = ours.recv()

    def end() -> None:
        process.kill()
        process.join(10)
        ours.close()

    return ports, end

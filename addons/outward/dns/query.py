"""One exchange with one name server: both address questions over UDP, and TCP where an answer was truncated.

Owns ids, sockets and the wait for the two answers. Every question has a fresh random id and a fresh kernel-chosen
port on a socket connected to the server, so that only the server is heard (RFC 5452). Never retries, never caches.
"""

import asyncio
import secrets
import socket
from collections.abc import Mapping

from outward.dns.message import DnsAnswer, MessageError, RecordType, read_answer, wire_name, write_question

type Server = tuple[str, int]
"""Address text and port of a name server."""

SECOND_FAMILY = 0.05  # seconds that one family waits for the other, RFC 8305 3
MAX_DATAGRAM = 4096  # bytes; without EDNS servers send at most 512 (RFC 1035 4.2.1)
MAX_STREAM = 16_384  # bytes: a thousand addresses; RFC 1035 4.2.2 allows 65,535, which no answer needs


async def ask(server: Server, name: str, timeout: float) -> Mapping[RecordType, DnsAnswer]:  # noqa: ASYNC109 - a part of the caller's deadline
    """Ask one server for a name's IPv4 and IPv6 addresses.

    Args:
        server: where to ask.
        name: canonical name; it is asked as an absolute name.
        timeout: seconds.

    Returns:
        What came in time: both answers, or one answer with addresses when the other is late.

    Raises:
        TimeoutError: nothing usable came in time.
        OSError: the server cannot be reached.
        MessageError: it answered over TCP with something else than an answer.
    """
    wire = wire_name(name)
    async with asyncio.timeout(timeout):
        answers = await _ask_datagram(server, wire)
        for kind, answer in answers.items():
            if answer.truncated:
                answers[kind] = await _ask_stream(server, wire, kind)
    return answers


class _Pair:
    """Both questions on one socket."""

    def __init__(self, sock: socket.socket, name: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._name = name
        self._idents: dict[RecordType, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.answers: dict[RecordType, DnsAnswer] = {}
        self.done: asyncio.Future[None] = self._loop.create_future()

    def ask(self) -> None:
        for kind in RecordType:
            self._idents[kind] = secrets.randbits(16)
            self._sock.send(write_question(self._idents[kind], self._name, kind))
        self._loop.add_reader(self._sock, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        if self._timer is not None:
            self._timer.cancel()

    def _readable(self) -> None:
        try:
            self._take(self._sock.recv(MAX_DATAGRAM))
        except BlockingIOError:
            return
        except OSError as error:
            if not self.done.done():
                self.done.set_exception(error)
        if len(self.answers) == len(RecordType):
            self._finish()
        elif self._timer is None and any(answer.addresses for answer in self.answers.values()):
            self._timer = self._loop.call_later(SECOND_FAMILY, self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _take(self, data: bytes) -> None:
        """Keep a datagram that answers an open question; any other is ignored, as it may be forged."""
        for kind, ident in self._idents.items():
            if kind not in self.answers:
                try:
                    self.answers[kind] = read_answer(data, ident, self._name, kind)
                except MessageError:
                    continue
                return


async def _ask_datagram(server: Server, name: bytes) -> dict[RecordType, DnsAnswer]:
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(server)
        pair = _Pair(sock, name)
        try:
            pair.ask()
            await pair.done
        finally:
            pair.close()
        return pair.answers


async def _ask_stream(server: Server, name: bytes, kind: RecordType) -> DnsAnswer:
    reader, writer = await asyncio.open_connection(*server)
    try:
        ident = secrets.randbits(16)
        question = write_question(ident, name, kind)
        writer.write(len(question).to_bytes(2) + question)
        length = int.from_bytes(await reader.readexactly(2))
        if length > MAX_STREAM:
            raise MessageError("an answer that is too long")
        return read_answer(await reader.readexactly(length), ident, name, kind)
    except asyncio.IncompleteReadError as error:
        raise MessageError("the server closed before its answer was complete") from error
    finally:
        writer.close()

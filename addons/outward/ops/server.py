"""The ops port's listener: a small, strict HTTP/1.1 server on the proxy's own event loop.

Owns sockets, framing, limits and timeouts; knows nothing of what is served. Written here because the frameworks at hand
cost a quarter of a second to import, half of the time that the whole proxy may take to start.
"""

import asyncio
import logging
import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

from outward.ops.web import OpsRequest, Problem, Response, as_problem

_log = logging.getLogger(__name__)

type App = Callable[[OpsRequest], Awaitable[Response]]

HEAD_BYTES = 16_384
BODY_BYTES = 64 << 10
CONNECTIONS = 256
READ_TIMEOUT = 5.0  # seconds for a head, and for a body
IDLE_TIMEOUT = 75.0  # seconds between requests
WRITE_TIMEOUT = 30.0  # seconds for a reader to take what was sent

_BACKLOG = 1024
_RETRY = 0.2  # seconds after a failed accept

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]{1,8192}) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_LENGTH = re.compile(r"[0-9]{1,10}")
_ALWAYS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Server": "outward"}


class OpsServer:
    """Serves one application on one address.

    Attributes:
        tls: what clients must speak TLS by; None for plain HTTP. Set it before `start`; it may be replaced.
    """

    def __init__(self, app: App, on_error: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            app: answers requests; what it raises apart from `Problem` becomes a 500.
            on_error: told `ops` for each such failure.
        """
        self._app = app
        self._on_error = on_error
        self._server: asyncio.Server | None = None
        self._name: tuple[str, int] | None = None
        self.tls: ssl.SSLContext | None = None
        self._receiver: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], str] = {}  # and for which client, the longest waiting first

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; known once it does."""
        if self._name is None:
            raise RuntimeError("the ops port is not open")
        return self._name

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be bound.
        """
        if self.tls is None:
            self._server = await asyncio.start_server(self._connected, host, port, limit=HEAD_BYTES, backlog=_BACKLOG)
            self._name = self._server.sockets[0].getsockname()[:2]
            return
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        listener.setblocking(False)
        self._name = listener.getsockname()[:2]
        self._receiver = asyncio.get_running_loop().create_task(self._receive(listener))

    async def _receive(self, listener: socket.socket) -> None:
        """Accept for TLS: by hand, because a server counts no connection before its handshake is done."""
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    sock, peer = await loop.sock_accept(listener)
                except OSError as error:  # no descriptors are left, for one
                    _log.warning("a connection to the ops port could not be accepted: %s", error.strerror)
                    await asyncio.sleep(_RETRY)
                    continue
                if not self._has_room():
                    sock.close()
                    continue
                task = loop.create_task(self._shake(sock))
                self._tasks.add(task)
                self._waiting[task] = str(peer[0])
                task.add_done_callback(self._forget)

    async def _shake(self, sock: socket.socket) -> None:
        """Do a handshake; what is served then has a task of its own."""
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(HEAD_BYTES), self._connected)
        try:
            await loop.connect_accepted_socket(lambda: protocol, sock, ssl=self.tls, ssl_handshake_timeout=READ_TIMEOUT)
        except (OSError, asyncio.CancelledError):  # `ssl.SSLError`, a timeout and a lost connection are
            sock.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting.pop(task, None)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        if self._receiver is not None:
            self._receiver.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or not self._has_room():
            writer.close()
            return
        self._tasks.add(task)
        name = writer.get_extra_info("peername")
        peer = str(name[0]) if name else ""
        try:
            await self._serve(task, peer, reader, writer)
            self._waiting[task] = peer
            writer.close()
            async with asyncio.timeout(WRITE_TIMEOUT):
                await writer.wait_closed()
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass  # the client is gone or too slow, has made room, or the server closes
        finally:
            self._forget(task)
            writer.transport.abort()  # what it did not take by now, it never will

    def _has_room(self) -> bool:
        """Tell whether a connection may be taken; where all places are, one that waits for its client makes room.

        It is the one that dawdles longest, of the address that has most of them. Answers that are worked on make none,
        but are far fewer than places (see `Health` and `Places`). So neither strangers nor readers of exports keep a
        probe from learning that the proxy is well.
        """
        if len(self._tasks) < CONNECTIONS:
            return True
        if not self._waiting:
            return False
        [(crowd, _)] = Counter(self._waiting.values()).most_common(1)
        task = next(task for task, peer in self._waiting.items() if peer == crowd)
        task.cancel()
        self._tasks.discard(task)
        del self._waiting[task]
        return True

    async def _serve(
        self, task: asyncio.Task[None], peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        wait = READ_TIMEOUT
        while True:
            self._waiting[task] = peer
            try:
                request, keep = await _read(reader, peer, wait, secure=self.tls is not None)
            except Problem as problem:
                await _write(writer, as_problem(problem), keep=False, head=False)
                return
            if request is None:
                return
            self._waiting.pop(task, None)
            response = await self._respond(request)
            try:
                if isinstance(response.body, bytes):
                    self._waiting[task] = peer
                else:
                    keep = False
                await _write(writer, response, keep=keep, head=request.method == "HEAD")
                if not isinstance(response.body, bytes) and request.method != "HEAD":
                    await _stream(reader, writer, response.body)
            finally:
                response.done()
            self._waiting.pop(task, None)
            if not keep:
                return
            wait = IDLE_TIMEOUT

    async def _respond(self, request: OpsRequest) -> Response:
        try:
            return await self._app(request)
        except Problem as problem:
            return as_problem(problem)
        except Exception:  # noqa: BLE001 - a bug in one page must not end the port
            _log.exception("a request to the ops port failed")
            self._on_error("ops")
            return as_problem(Problem(500, "this is our fault; the log has more"))


async def _read(
    reader: asyncio.StreamReader, peer: str, wait: float, *, secure: bool
) -> tuple[OpsRequest | None, bool]:
    """Read one request and whether the connection may be kept; None at the end of the stream."""
    try:
        async with asyncio.timeout(wait):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Problem(400, "the head is not complete") from error
        return None, False
    except asyncio.LimitOverrunError as error:
        raise Problem(431, "the head is too large") from error
    request, version = _parse(head[:-4], peer)
    length = _content_length(request)
    body = b""
    if length:
        async with asyncio.timeout(READ_TIMEOUT):
            body = await reader.readexactly(length)
    keep = version == 1 and "close" not in (request.header("connection") or "").lower()
    return OpsRequest(request.method, request.target, request.headers, body, peer, secure), keep


def _parse(head: bytes, peer: str) -> tuple[OpsRequest, int]:
    line, *fields = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Problem(400, "the request line is malformed")
    headers = []
    for text in fields:
        found = _FIELD.fullmatch(text)
        if found is None:
            raise Problem(400, "a field is malformed")
        headers.append((found[1].decode("ascii").lower(), found[2].decode("latin-1")))
    return OpsRequest(match[1].decode(), match[2].decode(), tuple(headers), b"", peer), int(match[3])


def _content_length(request: OpsRequest) -> int:
    """Return the length of the body; only a plain Content-Length is understood."""
    if request.header("transfer-encoding") is not None:
        raise Problem(411, "send a Content-Length")
    text = request.header("content-length")
    if text is None:
        return 0
    if not _LENGTH.fullmatch(text):
        raise Problem(400, "the Content-Length is malformed")
    if int(text) > BODY_BYTES:
        raise Problem(413, "the body is too large")
    return int(text)


async def _gone(reader: asyncio.StreamReader) -> None:
    """Wait until a client closes, or is lost; what it still sends is not for us."""
    with suppress(OSError):
        while await reader.read(HEAD_BYTES):
            pass


async def _write(writer: asyncio.StreamWriter, response: Response, *, keep: bool, head: bool) -> None:
    """Send an answer; of one that is streamed, the head."""
    body = response.body
    headers = {**_ALWAYS, "Content-Type": response.content_type, **response.headers}
    headers["Connection"] = "keep-alive" if keep else "close"
    if isinstance(body, bytes):
        headers["Content-Length"] = str(len(body))
    else:
        headers["Transfer-Encoding"] = "chunked"
    lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}", *(f"{k}: {v}" for k, v in headers.items())]
    lines += [f"Set-Cookie: {cookie}" for cookie in response.cookies]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))
    if isinstance(body, bytes):
        writer.write(b"" if head else body)
        await _drain(writer)


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunks: AsyncIterator[bytes]) -> None:
    """Send a body in chunks as they come; ends at once when the client goes away."""
    gone = asyncio.ensure_future(_gone(reader))
    try:
        await _drain(writer)
        while (chunk := await _next(chunks, gone)) is not None:
            if chunk:
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await _drain(writer)
        writer.write(b"0\r\n\r\n")
        await _drain(writer)
    except Problem as problem:  # the status is sent already: a body that ends early tells
        raise ConnectionAbortedError(problem.detail) from problem
    finally:
        gone.cancel()
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def _next(chunks: AsyncIterator[bytes], gone: asyncio.Future[None]) -> bytes | None:
    """Return the next chunk, or None at the end; raises ConnectionResetError when the client goes before that."""

    async def step() -> bytes | None:
        return await anext(chunks, None)

    task = asyncio.ensure_future(step())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ConnectionResetError("the client is gone")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def _drain(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT):
        await writer.drain()


def _phrase(status: int) -> str:
    with suppress(ValueError):
        return HTTPStatus(status).phrase
    return "Unknown"

"""What hostile clients do to the proxy, each from an address of its own.

Each attack is a coroutine that is run again and again, by as many workers as its line in `ATTACKS` says. It returns what
became of it, which is counted: an attack that got what it was after says so by an `AssertionError`, and is counted as won.
"""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable

from harness.raw import client_hello
from harness.soak.target import WAIT, Target, connect, request, status, trickle

_numbers = itertools.count()
_HELLO = client_hello("tls.test")  # made once: it costs more than all that an attack does with it


# Heads ------------------------------------------------------------------------------------------------------------------


async def slow_head(target: Target) -> str:
    """A head that trickles ends at its deadline."""
    async with target.open("127.0.1.1") as (reader, writer):
        outcome = await trickle(reader, writer, b"GET http://plain.test/ HTTP/1.1\r\nX: ", 40)
        assert outcome != "carried", "a head trickled for 40 seconds"
        return outcome


async def head_bomb(target: Target) -> str:
    """A head beyond its bounds is refused."""
    head = f"GET http://plain.test:{target.plain}/ HTTP/1.1\r\nHost: plain.test:{target.plain}\r\n".encode()
    bomb = random.choice((b"X: " + b"a" * 4_000_000, b"X: a\r\n" * 100_000, b"X" * 200_000))
    async with target.open("127.0.1.2") as (reader, writer):
        writer.write(head + bomb)
        outcome = await status(reader)
        assert outcome != "200", "an oversized head was carried"
        return outcome


async def unfinished_handshake(target: Target) -> str:
    """A ClientHello that stops half way is given up, in either lane."""
    async with target.open(random.choice(("127.0.1.3", "127.2.1.3"))) as (reader, writer):
        writer.write(connect("tls.test", target.tls))
        await status(reader)
        writer.write(_HELLO[:100])
        async with asyncio.timeout(WAIT):
            await reader.read()
        return "closed"


# Bodies -----------------------------------------------------------------------------------------------------------------


async def slow_body(target: Target) -> str:
    """A body that trickles costs one connection."""
    authority = f"plain.test:{target.plain}"
    head = request(f"POST http://{authority}/ HTTP/1.1", authority, "Content-Length: 1000000")
    async with target.open("127.0.2.1") as (reader, writer):
        return await trickle(reader, writer, head, 30)


async def body_bomb(target: Target) -> str:
    """Bodies that nobody takes, and bodies without end, hold their sender back or are refused."""
    host, path = random.choice((("tls.test", "/stall"), ("search.test", "/res/v1/web/search")))
    async with target.inside("127.0.2.2", host) as (reader, writer):
        fields = ("Transfer-Encoding: chunked", "Content-Type: application/json")
        writer.write(request(f"POST {path} HTTP/1.1", f"{host}:{target.tls}", *fields))
        answer = asyncio.ensure_future(status(reader))
        ends = time.monotonic() + 10
        sent = 0
        while time.monotonic() < ends and not answer.done() and not writer.is_closing():
            writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
            sent += 1
            await asyncio.sleep(0)  # a lost connection takes all at once, until its loss has been heard of
            try:
                async with asyncio.timeout(1):
                    await writer.drain()
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert sent < 2_000, "more than 128 MiB went where nobody reads"
        answer.cancel()
        return answer.result() if answer.done() and not answer.cancelled() else "held back"


async def bomb_from_origin(target: Target) -> str:
    """A governed answer that inflates to 256 MiB is not passed on as one."""
    async with target.inside("127.0.2.3", "search.test") as (reader, writer):
        fields = ("Accept-Encoding: gzip", "Connection: close")
        writer.write(request("GET /res/v1/web/search?q=a HTTP/1.1", f"search.test:{target.tls}", *fields))
        outcome = await status(reader)
        body = 0
        while data := await reader.read(65_536):
            body += len(data)
        assert body < 65_536, f"{body} bytes of a bomb were passed on"
        return outcome


async def endless_answer(target: Target) -> str:
    """An answer without end, to a client that does not read, holds the origin back."""
    async with target.inside("127.0.2.4") as (reader, writer):
        reader._limit = 1
        writer.write(request("GET /pour HTTP/1.1", f"tls.test:{target.tls}"))
        await asyncio.sleep(20)
        return "held back"


async def endless_head(target: Target) -> str:
    """Interim answers and heads without end become a denial."""
    path = random.choice(("/interim", "/heading"))
    async with target.inside("127.0.2.5") as (reader, writer):
        writer.write(request(f"GET {path} HTTP/1.1", f"tls.test:{target.tls}"))
        outcome = await status(reader)
        assert outcome in ("502", "504"), f"{path}: {outcome}"
        return outcome


_CHUNKS = (
    b"5;" + b"x" * 2_000_000 + b"\r\nhello\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\nhello",
    b"5\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhelloX0\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n",
)


async def chunk_tricks(target: Target) -> str:
    """Chunked bodies that are broken are refused; those that are merely silly are carried."""
    authority = f"plain.test:{target.plain}"
    body = random.choice(_CHUNKS)
    async with target.open("127.0.2.6") as (reader, writer):
        writer.write(request(f"POST http://{authority}/ HTTP/1.1", authority, "Transfer-Encoding: chunked") + body)
        outcome = await status(reader)
        assert body is _CHUNKS[-1] or outcome != "200", f"{body[:40]!r} was carried"
        return outcome


async def websocket_frames(target: Target) -> str:
    """Frames that announce exabytes are carried as bytes, as fast as they are read."""
    async with target.inside("127.0.2.7") as (reader, writer):
        fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        writer.write(request("GET /socket HTTP/1.1", f"tls.test:{target.tls}", *fields, key))
        outcome = await status(reader)
        for _ in range(40):
            writer.write(b"\x82\xff\x7f" + b"\xff" * 11 + os.urandom(16_384))
            await writer.drain()
            await reader.read(65_536)
        return outcome


# Floods -----------------------------------------------------------------------------------------------------------------


async def blocked_hosts(target: Target) -> str:
    """Distinct hosts, conversations and credentials are refused, one event each."""
    number = next(_numbers)
    field = random.choice(
        ("Accept: */*", f"Outward-Conversation: c{number}", f"Proxy-Authorization: Basic {number:032x}")
    )
    async with target.open("127.0.3.1") as (reader, writer):
        writer.write(connect(f"host-{number}.blocked.test", 443, field))
        outcome = await status(reader)
        assert outcome in ("403", "407"), outcome
        return outcome


async def certificate_names(target: Target) -> str:
    """Every name under a wildcard gets a certificate; few are kept."""
    host = f"name-{next(_numbers)}.wild.test"
    async with target.inside("127.0.3.2", host):
        return "shown"


async def names_to_resolve(target: Target) -> str:
    """Every name under a wildcard is asked for; few answers are kept."""
    async with target.open("127.2.3.3") as (reader, writer):
        writer.write(connect(f"name-{next(_numbers)}.wild.test", target.tls))
        outcome = await status(reader)
        assert outcome in ("502", "504"), outcome
        return outcome


# Idleness ---------------------------------------------------------------------------------------------------------------


async def greed(target: Target) -> str:
    """One address gets as many connections as one client may have."""
    reader, writer = await asyncio.open_connection(*target.proxy, local_addr=("127.0.9.9", 0))
    try:
        return await status(reader)
    finally:
        writer.transport.abort()


async def idle(target: Target) -> str:
    """A connection that says nothing, or next to nothing, is closed at its deadline."""
    source = f"127.0.{random.randint(20, 59)}.1"
    async with target.open(source) as (reader, writer):
        if random.random() < 0.5:
            writer.write(b"CONNECT ")
        return await status(reader)


async def idle_tunnel(target: Target) -> str:
    """A tunnel that carries nothing costs its two connections."""
    async with target.open(f"127.2.{random.randint(20, 39)}.1") as (reader, writer):
        writer.write(connect("tls.test", target.tls))
        await status(reader)
        writer.write(_HELLO)
        await reader.read(65_536)
        await asyncio.sleep(3600)
        return "kept"


async def idle_plain(target: Target) -> str:
    """A kept-alive connection costs its two connections."""
    authority = f"plain.test:{target.plain}"
    async with target.open(f"127.0.{random.randint(60, 69)}.1") as (reader, writer):
        writer.write(request(f"GET http://{authority}/ HTTP/1.1", authority))
        await status(reader)
        await asyncio.sleep(3600)
        return "kept"


async def idle_inspected(target: Target) -> str:
    """An inspected connection between requests costs its two connections and their TLS."""
    async with target.inside(f"127.0.{random.randint(60, 69)}.1") as (reader, writer):
        writer.write(request("GET / HTTP/1.1", f"tls.test:{target.tls}"))
        await status(reader)
        await asyncio.sleep(3600)
        return "kept"


Attack = Callable[[Target], Awaitable[str]]
# Workers at full load, and the seconds that each rests between two runs.
ATTACKS: dict[Attack, tuple[int, float]] = {
    slow_head: (50, 0),
    head_bomb: (2, 1),
    unfinished_handshake: (200, 0),
    slow_body: (50, 0),
    body_bomb: (4, 1),
    bomb_from_origin: (2, 2),
    endless_answer: (10, 1),
    endless_head: (4, 1),
    chunk_tricks: (2, 0.5),
    websocket_frames: (5, 1),
    blocked_hosts: (2, 0.01),
    certificate_names: (1, 0.1),
    names_to_resolve: (1, 0.02),
    greed: (1_200, 20),
    idle: (3_000, 0),
    idle_tunnel: (4_000, 0),
    idle_plain: (2_000, 0),
    idle_inspected: (1_000, 0),
}

"""A grid of mutated messages: whatever the proxy let through, no origin may read more, or other, requests than it judged.

Each message goes through the real proxy to an origin that keeps the raw bytes. Those are then read by three parsers that
disagree with each other about broken framing: h11 (strict), one that believes Transfer-Encoding first, and one that
believes Content-Length first, both lenient about line ends, blanks and numbers. All three must find exactly the requests
that the proxy recorded as allowed.
"""

import asyncio
import contextlib
import itertools
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import pytest

from harness.inspection import World, inspecting
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.model import LaneChoice

LINES = [
    "POST {target} HTTP/1.1",
    "GET {target} HTTP/1.1",
    "POST {target} HTTP/1.0",
    "POST  {target} HTTP/1.1",
    "POST {target} HTTP/1.1 ",
    "POST {target}\tHTTP/1.1",
    "\r\nPOST {target} HTTP/1.1",
    "POST {target} http/1.1",
]
FRAMINGS = [
    [],
    ["Content-Length: 5"],
    ["Content-Length: 0"],
    ["Content-Length: 44"],
    ["Content-Length: 5", "Content-Length: 5"],
    ["Content-Length: 5", "Content-Length: 44"],
    ["Content-Length: 5, 5"],
    ["Content-Length: +5"],
    ["Content-Length: -5"],
    ["Content-Length: 0x5"],
    ["Content-Length: 05"],
    ["Content-Length: 5 "],
    ["Content-Length:5"],
    ["Content-Length : 5"],
    [" Content-Length: 5"],
    ["Content-Length: 5\x0b"],
    ["Content-Length: 5\x00"],
    ["Content-Length:\r\n 5"],
    ["Content-Length: 5_0"],
    ["Content_Length: 5"],
    ["X: y\rContent-Length: 5"],
    ["X: y\nContent-Length: 5"],
    ["Transfer-Encoding: chunked"],
    ["transfer-encoding: Chunked"],
    ["Transfer-Encoding:chunked"],
    ["Transfer-Encoding: chunked "],
    ["Transfer-Encoding:\tchunked"],
    ["Transfer-Encoding : chunked"],
    [" Transfer-Encoding: chunked"],
    ["Transfer-Encoding: \x0bchunked"],
    ["Transfer-Encoding: chunked\x00"],
    ["Transfer-Encoding:\r\n chunked"],
    ["Transfer-Encoding: xchunked"],
    ["Transfer-Encoding: chunked, identity"],
    ["Transfer-Encoding: identity, chunked"],
    ["Transfer-Encoding: chunked, chunked"],
    ["Transfer-Encoding: gzip, chunked"],
    ["Transfer-Encoding: chunked;q=1"],
    ['Transfer-Encoding: "chunked"'],
    ["Transfer-Encoding: "],
    ["Transfer-Encoding: identity"],
    ["Transfer_Encoding: chunked"],
    ["Transfer.Encoding: chunked"],
    ["X: y\nTransfer-Encoding: chunked"],
    ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
    ["Transfer-Encoding: chunked", "Content-Length: 5"],
    ["Content-Length: 5", "Transfer-Encoding: chunked"],
    ["Content-Length: 44", "Transfer-Encoding: xchunked"],
    ["Connection: Content-Length", "Content-Length: 5"],
    ["Connection: Transfer-Encoding", "Transfer-Encoding: chunked"],
    ["Expect: 100-continue", "Content-Length: 5"],
    ["Upgrade: h2c", "Connection: Upgrade", "Content-Length: 5"],
    ["Trailer: Content-Length", "Transfer-Encoding: chunked"],
]
_SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
BODIES = [
    "",
    "hello",
    "hello" + _SMUGGLED,
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n" + _SMUGGLED,
    "5;x=y\r\nhello\r\n0\r\n\r\n",
    '5;x="\r\n"\r\nhello\r\n0\r\n\r\n',
    "5\nhello\n0\n\n" + _SMUGGLED,
    "05\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nContent-Length: 44\r\n\r\n" + _SMUGGLED,
    "5\r\nhello\r\n0\r\nX y\r\n\r\n" + _SMUGGLED,
    "0\r\n\r\n" + _SMUGGLED,
    "100000000000000005\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n",
]


def messages() -> list[tuple[str, list[str], str]]:
    return list(itertools.product(LINES, FRAMINGS, BODIES))


class RawOrigin:
    """Answers whatever looks like a request and keeps each connection's bytes."""

    def __init__(self) -> None:
        self.port = 0
        self.streams: list[bytearray] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = bytearray()
        self.streams.append(stream)
        answered = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                stream += data
                whole = len(requests_by_h11(bytes(stream)))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * (whole - answered))
                answered = max(answered, whole)
                await writer.drain()
        writer.close()


def requests_by_h11(data: bytes) -> list[str]:
    """Return the request targets that h11 finds complete."""
    found: list[str] = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    target = ""
    with contextlib.suppress(h11.RemoteProtocolError):
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                target = event.target.decode()
            elif isinstance(event, h11.EndOfMessage):
                found.append(target)
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                with contextlib.suppress(h11.LocalProtocolError):
                    connection.start_next_cycle()
                    continue
                break
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                break
    return found


def requests_leniently(data: bytes, *, length_first: bool) -> list[str]:
    """Return the targets that a lenient server finds: any line end, any blanks, numbers as far as they go."""
    found, at = [], 0
    while match := re.compile(rb"\s*(\S+)[ \t]+(\S+)[ \t]*([^\r\n]*)\r?\n(.*?)\r?\n\r?\n", re.DOTALL).match(
        data + b"", at
    ):
        if not match[3].lower().strip().startswith(b"http"):
            break
        found.append(match[2].decode("latin-1"))
        fields = re.findall(rb"(?im)^[ \t]*([a-z]+[-_.][a-z]+)[ \t]*:[ \t\x0b]*([^\r\n]*)", match[4])
        names = [
            (name.lower().replace(b"_", b"-").replace(b".", b"-"), value.strip(b" \t\x0b\x00"))
            for name, value in fields
        ]
        lengths = [
            int(n[1]) for name, value in names if name == b"content-length" and (n := re.match(rb"\+?(\d+)", value))
        ]
        chunked = any(name == b"transfer-encoding" and b"chunked" in value.lower() for name, value in names)
        at = match.end()
        if lengths and (length_first or not chunked):
            at += lengths[0]
        elif chunked:
            at = _after_chunks(data, at)
        if at > len(data):
            found.pop()
            break
    return found


def _after_chunks(data: bytes, at: int) -> int:
    while match := re.compile(rb"[ \t]*(?:0x|\+)?([0-9a-fA-F]+)[^\r\n]*\r?\n").match(data, at):
        size = int(match[1], 16)
        if size == 0:
            end = re.compile(rb"(?:[^\r\n]+\r?\n)*\r?\n").match(data, match.end())
            return end.end() if end else len(data) + 1
        following = re.compile(rb"\r?\n").match(data, match.end() + size)
        at = following.end() if following else match.end() + size
    return len(data) + 1


@contextlib.asynccontextmanager
async def raw_origin(world: World) -> AsyncIterator[RawOrigin]:
    subject = RawOrigin()
    server = await asyncio.start_server(subject.serve, "127.0.0.1", 0)
    subject.port = server.sockets[0].getsockname()[1]
    world.dns.add("allowed.test", "A", "127.0.0.1")
    try:
        yield subject
    finally:
        server.close()


async def check(world: World, origin: RawOrigin, number: int, message: tuple[str, list[str], str]) -> list[str]:
    """Send one message on a connection of its own and compare what was judged with what arrived."""
    line, framing, body = message
    host = f"allowed.test:{origin.port}"
    world.events.clear()
    origin.streams.clear()
    head = [line.replace("{target}", f"http://{host}/m{number}"), f"Host: {host}", *framing]
    data = ("\r\n".join([*head, "", ""]) + body.replace("{host}", host)).encode("latin-1")
    async with raw(world.address) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(data)
            client.writer.write_eof()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await client.rest(3.0)
    await until(lambda: world.gate.connections == 0)
    allowed = [event.path for event in world.events if event.verdict]
    arrived = [bytes(stream) for stream in origin.streams if stream]
    readings = {
        "h11": [target for data in arrived for target in requests_by_h11(data)],
        "transfer-encoding first": [t for data in arrived for t in requests_leniently(data, length_first=False)],
        "content-length first": [t for data in arrived for t in requests_leniently(data, length_first=True)],
    }
    return [
        f"{message}: judged {allowed}, {parser} reads {targets} in {arrived}"
        for parser, targets in readings.items()
        if not _within(targets, allowed)
    ]


def _within(targets: list[str], allowed: list[str | None]) -> bool:
    """Tell whether an origin found no request that was not judged, in order."""
    judged = iter(allowed)
    return all(any(target == path for path in judged) for target in targets)


async def run(chosen: list[tuple[int, tuple[str, list[str], str]]], state: Path) -> None:
    wrong: list[str] = []
    async with (
        inspecting(policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT)), state) as world,
        raw_origin(world) as origin,
    ):
        for number, message in chosen:
            wrong += await check(world, origin, number, message)
        passed = await check(world, origin, 0, (LINES[0], ["Content-Length: 5"], "hello"))
        assert passed == []
        assert [event.path for event in world.events if event.verdict] == ["/m0"], "the control did not pass"
    assert wrong == []


@pytest.mark.timeout(120)
@on_loop
async def test_a_sample_of_the_grid_agrees(tmp_path: Path) -> None:
    everything = list(enumerate(messages()))
    sample = [each for each in everything if each[1][0] == LINES[0] and each[1][2] in BODIES[2:5]]
    await run(sample + random.Random(7).sample(everything, 150), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@on_loop
async def test_the_whole_grid_agrees(tmp_path: Path) -> None:
    await run(list(enumerate(messages())), tmp_path)


def test_the_three_parsers_see_a_smuggled_request() -> None:
    """The grid can only fail if its parsers disagree where real servers do."""
    both = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    assert requests_leniently(both, length_first=False) == ["/a", "/smuggled"]
    assert requests_leniently(both, length_first=True) == []
    folded = b"POST /a HTTP/1.1\r\nHost: x\r\nContent_Length: 5\r\n\r\nhelloGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    assert requests_leniently(folded, length_first=True) == ["/a", "/smuggled"]
    assert requests_by_h11(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n") == ["/a", "/b"]
    assert not _within(["/a", "/smuggled"], ["/a"])

"""What reading a searching SSE stream costs: latency beside plain mitmdump, and memory with many open streams.

    python tests/bench/search_bench.py [--no-memory]

The stub vendor writes into each event when it was sent, on the clock that all processes of a machine share. All streams
carry one search with its results and then text. mitmdump streams without reading; Outward narrows the request and reads
every event. Compare figures of one run only: on a shared machine they differ between runs.
"""

import argparse
import asyncio
import json
import multiprocessing
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import trustme
from python_build import described

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.process import Served

HOST = "api.anthropic.com"
STREAMS, EVENTS, GAP = 60, 50, 0.004  # of the latency phase; seconds between events
OPEN, SECONDS, SLOW = 200, 30, 0.5  # of the memory phase; seconds between events
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
RESULT = {
    "type": "web_search_result",
    "url": "https://docs.example.com/cve",
    "title": "CVE",
    "encrypted_content": "x" * 500,
}
_CONFIG = """\
version: 1
server: {{listen: "127.0.0.1:0", ops: "127.0.0.1:0", state: "{state}"}}
upstream: {{trust: ["{trust}"], dns: {{hosts: {{{host}: [127.0.0.1]}}}}, internal: [127.0.0.1/32]}}
groups:
  dev: {{allow: ["{host}:{port}", docs.example.com], web_search: {{enabled: true, opt_in: assumed}}}}
clients:
  - {{group: dev, anyone: true}}
"""


@dataclass
class Figures:
    """Seconds: from request to first event, and from an event's writing to its arrival."""

    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)


def events(count: int) -> Iterator[dict[str, object]]:
    """Yield a search, its result, and text."""
    use = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    yield {"type": "content_block_start", "index": 0, "content_block": use}
    delta = {"type": "input_json_delta", "partial_json": '{"query": "CVE"}'}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [RESULT] * 10}
    yield {"type": "content_block_start", "index": 1, "content_block": found}
    yield {"type": "content_block_stop", "index": 1}
    yield {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": ""}}
    for _ in range(count):
        yield {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "word " * 4}}
    yield {"type": "message_stop"}


def vendor(pipe: Connection, folder: str) -> None:
    """Serve streams in a process of its own; the path says how many events, and how far apart."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/vendor.pem")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
                _, count, gap = head.split(b" ", 2)[1].split(b"=")
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                for event in events(int(count)):
                    data = json.dumps({**event, "at": time.monotonic_ns()}).encode()
                    data = b"event: x\ndata: " + data + b"\n\n"
                    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                    await writer.drain()
                    await asyncio.sleep(float(gap))
                writer.write(b"0\r\n\r\n")
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


class Client:
    """One kept-alive connection to the vendor, straight or through a proxy."""

    def __init__(self, port: int, tls: ssl.SSLContext, proxy: tuple[str, int] | None, target: str) -> None:
        self._port, self._tls, self._proxy, self._target = port, tls, proxy, target

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(*(self._proxy or ("127.0.0.1", self._port)))
        if self._proxy is not None:
            self._writer.write(
                f"CONNECT {self._target}:{self._port} HTTP/1.1\r\nHost: {self._target}:{self._port}\r\n\r\n".encode()
            )
            head = await self._reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head, head
        await self._writer.start_tls(self._tls, server_hostname=HOST)

    async def stream(self, count: int, gap: float) -> AsyncIterator[float]:
        """Ask once and yield, for each event, the seconds that it was under way."""
        body = json.dumps({"model": "m", "max_tokens": 9, "stream": True, "messages": [], "tools": [SEARCH]})
        head = f"POST /v1/messages?n={count}={gap} HTTP/1.1\r\nHost: {self._target}:{self._port}\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = await self._reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in answer, answer
        held = b""
        while size := int(await self._reader.readline(), 16):
            held += await self._reader.readexactly(size)
            await self._reader.readline()
            *whole, held = held.split(b"\n\n")
            now = time.monotonic_ns()
            for event in whole:
                yield (now - json.loads(event.partition(b"data: ")[2])["at"]) / 1e9
        await self._reader.readline()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def measure(client: Client) -> Figures:
    """Stream one after another on one connection; the first is not counted."""
    figures = Figures()
    await client.open()
    for number in range(STREAMS + 1):
        began, first = time.monotonic(), True
        async for late in client.stream(EVENTS, GAP):
            if number and first:
                figures.first.append(time.monotonic() - began)
            elif number:
                figures.each.append(late)
            first = False
    client.close()
    return figures


async def hold(clients: list[Client], pid: int) -> tuple[float, float]:
    """Return resident MiB before, and the highest while all streams are open."""
    before = peak = resident(pid)

    async def one(client: Client) -> None:
        await client.open()
        async for _ in client.stream(int(SECONDS / SLOW) - 8, SLOW):
            pass
        client.close()

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(client)) for client in clients]
        while not all(task.done() for task in running):
            peak = max(peak, resident(pid))
            await asyncio.sleep(0.5)
    return before, peak


def resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def mitmdump(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run plain mitmdump that streams responses and does nothing else."""
    script = folder / "streaming.py"
    script.write_text("def responseheaders(flow):\n    flow.response.stream = True\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--listen-host", "127.0.0.1", "-p", str(port), "--set", f"confdir={folder}", "--ssl-insecure", "-q"]
    process = subprocess.Popen([Path(sys.executable).with_name("mitmdump"), *options, "-s", script])
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "mitmdump does not start"
            time.sleep(0.1)
        yield process, port
    finally:
        process.terminate()
        process.wait(10)


def tell(name: str, figures: Figures) -> None:
    """Print percentiles in milliseconds."""
    cells = []
    for values in (figures.first, figures.each):
        cuts = statistics.quantiles(values, n=100)
        cells += [f"{cuts[49] * 1e3:8.2f}", f"{cuts[98] * 1e3:8.2f}"]
    print(f"{name:10} first event p50 {cells[0]} p99 {cells[1]} ms | per event p50 {cells[2]} p99 {cells[3]} ms")


def main() -> None:
    """Run both phases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-memory", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name), trustme.CA()
        root.cert_pem.write_to_path(folder / "root.pem")
        root.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(folder / "vendor.pem")
        pipe, other = multiprocessing.Pipe()
        stub = multiprocessing.get_context("spawn").Process(target=vendor, args=(other, name), daemon=True)
        stub.start()
        port = pipe.recv()
        config = folder / "outward.yaml"
        config.write_text(_CONFIG.format(state=folder / "state", trust=folder / "root.pem", host=HOST, port=port))
        served = Served(config)
        ours = ssl.create_default_context(cafile=folder / "state" / "ca.pem")
        loose = ssl.create_default_context()
        loose.check_hostname, loose.verify_mode = False, ssl.CERT_NONE
        try:
            with mitmdump(folder) as (peer, peer_port):
                proxy = ("127.0.0.1", peer_port)
                tell("straight", asyncio.run(measure(Client(port, loose, None, HOST))))
                tell("mitmdump", asyncio.run(measure(Client(port, loose, proxy, "127.0.0.1"))))
                tell("outward", asyncio.run(measure(Client(port, ours, served.proxy, HOST))))
                if asked.no_memory:
                    return
                for title, pid, make in (
                    ("mitmdump", peer.pid, lambda: Client(port, loose, proxy, "127.0.0.1")),
                    ("outward", served.process.pid, lambda: Client(port, ours, served.proxy, HOST)),
                ):
                    before, peak = asyncio.run(hold([make() for _ in range(OPEN)], pid))
                    print(f"{title:10} {OPEN} streams of {SECONDS} s: {before:.0f} MiB before, {peak:.0f} MiB at most")
        finally:
            served.end()
            stub.terminate()


if __name__ == "__main__":
    print(described())
    main()

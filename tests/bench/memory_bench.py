"""Resident memory of `outward serve`: idle with the engine loaded, and for each open connection of either lane.

    python tests/bench/memory_bench.py [CONNECTIONS]

The proxy, the origin and the clients are processes of their own. An inspected connection has had one request answered, and
waits for the next; of the connections to the destination only those stand that are kept for anybody's next request.
"""

import asyncio
import multiprocessing
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from multiprocessing.connection import Connection
from pathlib import Path

import trustme
import yaml
from python_build import described

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.raw import client_hello

NAME = "origin.test"
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of one connection."""
    while await reader.read(65536):
        writer.write(ANSWER)


def origin(pipe: Connection, certificate: str) -> None:
    """Serve plain TCP, which a tunnel is content with, and TLS."""

    async def serve() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        plain = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        secret = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024, ssl=context)
        pipe.send([server.sockets[0].getsockname()[1] for server in (plain, secret)])
        await asyncio.Event().wait()

    asyncio.run(serve())


async def connect(proxy: int, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a tunnel."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    writer.write(b"CONNECT %b:%d HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % ((NAME.encode(), port) * 2))
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head:
        raise RuntimeError(head.decode("latin-1"))
    return reader, writer


async def hold(proxy: int, port: int, *, inspected: bool) -> asyncio.StreamWriter:
    """Open one connection and use it once."""
    reader, writer = await connect(proxy, port)
    if inspected:
        await writer.start_tls(TLS, server_hostname=NAME)
        writer.write(b"GET / HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (NAME.encode(), port))
    else:
        writer.write(client_hello(NAME))
    await reader.read(65536)
    return writer


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def configuration(folder: Path, lane: str, ports: list[int], listen: tuple[int, int]) -> Path:
    """Write a policy that sends everything into one lane."""
    document = {
        "version": 1,
        "server": {
            "listen": f"127.0.0.1:{listen[0]}", "ops": f"127.0.0.1:{listen[1]}", "state": str(folder / lane),
            "limits": {"connections_per_client": 10_000},
        },
        "upstream": {
            "trust": [str(folder / "ca.pem")], "dns": {"hosts": {NAME: ["127.0.0.1"]}}, "internal": ["127.0.0.1/32"],
        },
        "groups": {"all": {"lane": lane, "allow": [{"host": NAME, "ports": ports}]}},
        "clients": [{"group": "all", "anyone": True}],
    }  # fmt: skip
    path = folder / f"{lane}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


async def fill(pid: int, proxy: int, port: int, count: int, *, inspected: bool) -> tuple[float, float]:
    """Open connections and return the resident memory before and with them."""
    held = [await hold(proxy, port, inspected=inspected)]
    await asyncio.sleep(3)  # the engine loads in the background where nothing waits for it
    idle = resident(pid)
    held += [await hold(proxy, port, inspected=inspected) for _ in range(count)]
    return idle, resident(pid)


def measure(folder: Path, lane: str, ports: list[int], count: int) -> None:
    """Print the figures of one lane."""
    listen = free_port(), free_port()
    command = [
        Path(sys.executable).with_name("outward"),
        "serve",
        "--config",
        configuration(folder, lane, ports, listen),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as proxy:
        try:
            ready(listen[1])
            inspected = lane == "inspect"
            idle, full = asyncio.run(fill(proxy.pid, listen[0], ports[inspected], count, inspected=inspected))
        finally:
            proxy.terminate()
    each = (full - idle) * 1024 / count
    print(f"{lane:8} idle {idle:6.1f} MiB   with {count} connections {full:6.1f} MiB   {each:6.1f} KiB for each")


def ready(port: int) -> None:
    """Wait until the proxy is."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the proxy does not become ready")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def main() -> None:
    """Print the figures of both lanes."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        authority.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(folder / "origin.pem")
        near, far = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=origin, args=(far, str(folder / "origin.pem")))
        server.start()
        ports = near.recv()
        try:
            for lane in ("tunnel", "inspect"):
                measure(folder, lane, ports, count)
        finally:
            server.terminate()
            server.join()


if __name__ == "__main__":
    print(described())
    main()

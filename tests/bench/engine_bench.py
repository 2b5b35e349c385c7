"""CPU of the inspect lane beside plain mitmdump: per kept-alive GET, per new connection, per plain GET.

    python tests/bench/engine_bench.py [--profile] [--no-peer] [--secrets N [--elsewhere]]

Both proxies run in processes of their own, whose CPU clocks are read around each phase, so that the load generator and
the origin do not count. Compare figures of one run only: on a shared machine they differ by a quarter between runs.
"""

import argparse
import asyncio
import cProfile
import multiprocessing
import os
import pstats
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from multiprocessing.connection import Connection
from pathlib import Path

import trustme
import uvloop
from python_build import described

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.gates import connect
from harness.policies import group, policy, rule
from outward.config.settings import Limits, SecretEntry
from outward.core.addresses import Own
from outward.core.model import LaneChoice
from outward.core.secrets import Injection
from outward.dns.resolver import Resolver
from outward.ops.metrics import Metrics
from outward.proxy.ca import Authority
from outward.proxy.dial import Dialer
from outward.proxy.engine import Engine
from outward.proxy.judge import Judge
from outward.proxy.listener import ProxyListener
from outward.records.events.values import Event

NAME = "localhost"  # mitmdump asks the system for it
KEPT, NEW, PLAIN = 2_000, 200, 2_000
BODY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024
FIELDS = "User-Agent: bench/1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nCookie: session=0123456789abcdef\r\n"


class Nowhere:
    """Takes events."""

    def settle(self, event: Event) -> None:
        pass

    def withdraw(self, _event: Event) -> bool:
        return True

    def record(self, _event: Event) -> None:
        """Drop it."""


async def serve(pipe: Connection, state: Path, profile: bool, secrets: int, elsewhere: bool) -> None:
    """Run a gate with its engine until the pipe says so."""
    names = [f"key{number}" for number in range(secrets)]
    inject = Injection("authorization", "Bearer {key0}") if names and not elsewhere else None
    rules = policy(group(replace(rule(NAME), inject=inject), lane=LaneChoice.INSPECT))
    rules = replace(rules, secrets=frozenset(names))
    metrics, limits = Metrics(), Limits()
    metrics.use_policy(rules)
    judge = Judge(rules, Nowhere(), metrics, Own())
    judge.secrets.use([SecretEntry(name, name, None, ()) for name in names], {name: f"value-{name}" for name in names})
    resolver = Resolver((("127.0.0.1", 9),), {NAME: (ip_address("127.0.0.1"),)}, 1.0)
    dialer = Dialer(resolver, judge, limits, None)
    engine = Engine(judge, dialer, Authority(state / "ca"), limits, state / "roots.pem")
    await engine.load()
    gate = ProxyListener(judge, dialer, engine, limits)
    await gate.start("127.0.0.1", 0)
    judge.own = replace(judge.own, listeners=frozenset({(ip_address("127.0.0.1"), gate.address[1])}))
    done, profiler = asyncio.Event(), cProfile.Profile(time.process_time)
    pipe.send(gate.address[1])
    asyncio.get_running_loop().add_reader(pipe.fileno(), done.set)
    if profile:
        profiler.enable()
    await done.wait()
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    gate.close()


def child(pipe: Connection, state: Path, profile: bool, secrets: int, elsewhere: bool) -> None:
    """Run the proxy's process."""
    uvloop.run(serve(pipe, state, profile, secrets, elsewhere))


def origin(context: ssl.SSLContext | None) -> int:
    """Start a web server thread that answers every head alike; return its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def talk(conn: socket.socket) -> None:
        try:
            with context.wrap_socket(conn, server_side=True) if context else conn as sock:
                while sock.recv(65536):
                    sock.sendall(BODY)
        except OSError:
            pass

    def run() -> None:
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=talk, args=(conn,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return int(listener.getsockname()[1])


def tunnel(port: int, target: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Open a connection inside TLS inside a CONNECT."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(connect(NAME, target))
    if b" 200 " not in sock.recv(65536):
        raise RuntimeError("the tunnel was refused")
    return context.wrap_socket(sock, server_hostname=NAME)


def ask(sock: socket.socket, head: bytes) -> None:
    """Send a request and read the 1 KiB response."""
    sock.sendall(head)
    got = b""
    while not got.endswith(b"x" * 1024):
        data = sock.recv(65536)
        if not data:
            raise RuntimeError("the connection was closed")
        got += data


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(pid: int, count: int, phase: Callable[[], None]) -> float:
    """Return microseconds of CPU for each of `count` operations, best of three rounds."""
    best = float("inf")
    for _ in range(3):
        before = cpu(pid)
        phase()
        best = min(best, (cpu(pid) - before) / count)
    return best * 1e6


def figures(pid: int, port: int, ca: Path, tls_port: int, plain_port: int) -> list[float]:
    """Measure one proxy."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["http/1.1"])
    inner = f"GET /index.html HTTP/1.1\r\nHost: {NAME}:{tls_port}\r\n{FIELDS}\r\n".encode()
    outer = f"GET http://{NAME}:{plain_port}/index.html HTTP/1.1\r\nHost: {NAME}:{plain_port}\r\n{FIELDS}\r\n".encode()

    def kept() -> None:
        with tunnel(port, tls_port, context) as sock:
            for _ in range(KEPT):
                ask(sock, inner)

    def new() -> None:
        for _ in range(NEW):
            with tunnel(port, tls_port, context) as sock:
                ask(sock, inner)

    def plain() -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(PLAIN):
                ask(sock, outer)

    new()
    return [measured(pid, KEPT, kept), measured(pid, NEW, new), measured(pid, PLAIN, plain)]


def mitmdump(state: Path, ports: tuple[int, int]) -> list[float]:
    """Measure plain mitmdump."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = [f"confdir={state / 'mitm'}", f"ssl_verify_upstream_trusted_ca={state / 'roots.pem'}"]
    command = [str(Path(sys.executable).with_name("mitmdump")), "-q", "-p", str(port)]
    with subprocess.Popen(command + [part for each in options for part in ("--set", each)]) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.2)
        try:
            return figures(process.pid, port, state / "mitm" / "mitmproxy-ca-cert.pem", *ports)
        finally:
            process.terminate()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--secrets", type=int, default=0, help="that there are; the first is set on each request")
    parser.add_argument("--elsewhere", action="store_true", help="none of them is set on any of these requests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state, pki = Path(folder), trustme.CA()
        (state / "roots.pem").write_bytes(pki.cert_pem.bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki.issue_cert(NAME).configure_cert(context)
        pipe, far = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=child, args=(far, state, options.profile, options.secrets, options.elsewhere)
        )
        process.start()
        port = pipe.recv()
        ports = origin(context), origin(None)
        ours = figures(process.pid or 0, port, state / "ca" / "ca.pem", *ports)
        pipe.send(None)
        process.join()
        peer = [float("nan")] * 3 if options.no_peer else mitmdump(state, ports)
    print(f"{'CPU microseconds':32} {'outward':>9} {'mitmdump':>9}")
    names = ("kept-alive GET inside TLS", "new connection, TLS, one GET", "kept-alive plain GET")
    for name, mine, other in zip(names, ours, peer, strict=True):
        print(f"{name:32} {mine:9.0f} {other:9.0f}")


if __name__ == "__main__":
    print(described())
    main()

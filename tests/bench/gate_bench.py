"""CPU of the gate alone: per refused CONNECT, per tunnel, per byte.

    python tests/bench/gate_bench.py [--profile]

The gate runs in a process of its own; its CPU clock is read around each phase, so the load generator does not count. Events
are taken and dropped: the cost of records is measured with the recorder. Compare figures of one run only.
"""

import argparse
import asyncio
import cProfile
import multiprocessing
import os
import pstats
import resource
import socket
import sys
import threading
from collections.abc import Callable
from ipaddress import ip_address
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from python_build import described

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.gates import StandInEngine, connect
from harness.policies import group, policy, rule
from harness.raw import client_hello
from outward.config.settings import Limits
from outward.core.addresses import Own
from outward.core.model import LaneChoice
from outward.dns.resolver import Resolver
from outward.ops.metrics import Metrics
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge
from outward.proxy.listener import ProxyListener
from outward.records.events.values import Event

REFUSALS, TUNNELS, BULK = 20_000, 4_000, 2 << 30
HELLO = client_hello("allowed.test")


class Nowhere:
    """Takes events."""

    def settle(self, event: Event) -> None:
        pass

    def withdraw(self, _event: Event) -> bool:
        return True

    def record(self, _event: Event) -> None:
        """Drop it."""


async def serve(pipe: Connection, profile: bool) -> None:
    """Run a gate, and answer each line on the pipe with the CPU seconds so far."""
    rules = policy(group(rule("allowed.test"), rule("*.wild.test"), lane=LaneChoice.TUNNEL))
    metrics, limits = Metrics(), Limits(connections_per_client=10_000)
    metrics.use_policy(rules)
    judge = Judge(rules, Nowhere(), metrics, Own())
    resolver = Resolver((("127.0.0.1", 9),), {"allowed.test": (ip_address("127.0.0.1"),)}, 1.0)
    gate = ProxyListener(judge, Dialer(resolver, judge, limits, None), StandInEngine(), limits)
    await gate.start("127.0.0.1", 0)
    bare = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, backlog=1024)
    pipe.send((gate.address, bare.sockets[0].getsockname()))
    done, profiler = asyncio.Event(), cProfile.Profile()
    if profile:
        profiler.enable()

    def answer() -> None:
        if pipe.recv() is None:
            done.set()
            return
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send((usage.ru_utime + usage.ru_stime, usage.ru_maxrss))

    asyncio.get_running_loop().add_reader(pipe.fileno(), answer)
    await done.wait()
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    gate.close()


class Bare(asyncio.Protocol):
    """The yardstick: answers whatever comes with a constant, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, _data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.transport.close()


def child(pipe: Connection, profile: bool) -> None:
    """Run the gate's process."""
    uvloop.run(serve(pipe, profile))


def one_refusal(address: tuple[str, int], sent: bytes) -> None:
    """Send a CONNECT and read its refusal."""
    with socket.create_connection(address) as sock:
        sock.sendall(sent)
        while sock.recv(65536):
            pass


def one_tunnel(address: tuple[str, int], port: int) -> None:
    """Open a tunnel, say a hello, read one byte of the echo, close."""
    with socket.create_connection(address) as sock:
        sock.sendall(connect("allowed.test", port))
        sock.recv(65536)
        sock.sendall(HELLO)
        sock.recv(65536)


def bulk(address: tuple[str, int], port: int) -> None:
    """Pull bytes through one tunnel."""
    with socket.create_connection(address) as sock:
        sock.sendall(connect("allowed.test", port))
        sock.recv(65536)
        sock.sendall(HELLO)
        buffer, left = bytearray(1 << 18), BULK
        while left > 0:
            left -= sock.recv_into(buffer)


def sink(pour: int) -> int:
    """Start a server thread that answers the first bytes with `pour` bytes, and return its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    block = bytes(1 << 18)

    def run() -> None:
        while True:
            conn, _ = listener.accept()
            conn.recv(65536)
            left = pour
            try:
                while left > 0:
                    left -= conn.send(block[: min(left, len(block))])
            except OSError:
                pass
            conn.close()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def cpu(pipe: Connection) -> float:
    """Return the gate's CPU seconds."""
    pipe.send("cpu")
    seconds, _ = pipe.recv()
    return seconds


def measure(pipe: Connection, count: int, operation: Callable[[int], object]) -> float:
    """Return the gate's CPU seconds for each of `count` operations, best of three rounds."""
    best = float("inf")
    for _ in range(3):
        before = cpu(pipe)
        for index in range(count):
            operation(index)
        best = min(best, (cpu(pipe) - before) / count)
    return best


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="store_true")
    profile = parser.parse_args().profile
    pipe, far = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(far, profile))
    process.start()
    address, bare = pipe.recv()
    same = connect("evil.test", 443, "User-Agent: bench/1", "Proxy-Connection: keep-alive")
    one_refusal(address, same)
    figure = measure(pipe, REFUSALS, lambda _: one_refusal(bare, same))
    print(f"yardstick: accept, 403, close   {figure * 1e6:8.1f} us CPU")
    figure = measure(pipe, REFUSALS, lambda _: one_refusal(address, same))
    print(f"refused CONNECT, one host       {figure * 1e6:8.1f} us CPU")
    figure = measure(pipe, REFUSALS // 4, lambda n: one_refusal(address, connect(f"h{n}-{os.urandom(3).hex()}.test")))
    print(f"refused CONNECT, ever new hosts {figure * 1e6:8.1f} us CPU")
    small, large = sink(1), sink(BULK)
    figure = measure(pipe, TUNNELS, lambda _: one_tunnel(address, small))
    print(f"tunnel set-up with ClientHello  {figure * 1e6:8.1f} us CPU")
    figure = measure(pipe, 1, lambda _: bulk(address, large))
    print(f"bulk through a tunnel           {BULK / figure / 1e6:8.0f} MB per CPU second")
    pipe.send("rss")
    print(f"peak resident                   {pipe.recv()[1] / 1024:8.1f} MiB")
    pipe.send(None)
    process.join()


if __name__ == "__main__":
    print(described())
    main()

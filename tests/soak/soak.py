"""Minutes of mixed attack and load on a real `outward serve`, and what it costs everybody else.

    python tests/soak/soak.py [--minutes 10] [--load 1.0]

A well-behaved client asks all the while: plain HTTP, through a tunnel, and through the inspect lane. Prints the figures
beside their bounds; exits 1 when a bound is broken. Full load holds about 10,000 connections, for which each process
needs 20,000 open files.
"""

import argparse
import http.client
import resource
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.soak import attackers, origins
from harness.soak.stage import CACHE_BOUNDS, Stage, configuration
from harness.soak.target import connect, request

CONNECTIONS, PER_CLIENT = 12_000, 1_000
LANES = {"plain": "127.0.100.1", "tunnel": "127.2.100.1", "inspected": "127.0.100.2"}
_INTERVAL = 0.2  # seconds between two requests of the good client in a lane
_PATIENCE = 30.0  # seconds


@dataclass(frozen=True)
class Bounds:
    """What is promised, whatever the attackers do.

    Attributes:
        memory: MiB resident, at full load.
        threads: of the process.
        series: of metrics.
        disk: MiB of records and keys, for each minute of a flood of refusals.
        p99, worst: seconds for a request of the good client, connections and TLS included.
    """

    memory: float = 1024
    threads: float = 40
    series: float = 600
    disk: float = 40
    p99: float = 5
    worst: float = 20


class GoodClient(threading.Thread):
    """Asks in one lane, on a new connection each time.

    Attributes:
        seconds: that each served request took.
        errors: what became of the others.
    """

    def __init__(self, lane: str, stage: Stage, ports: dict[str, int], ca: Path) -> None:
        super().__init__(name=lane)
        self.seconds: list[float] = []
        self.errors: Counter[str] = Counter()
        self._source = (LANES[lane], 0)
        self._proxy = stage.proxy
        self._host = "plain.test" if lane == "plain" else "tls.test"
        self._authority = f"{self._host}:{ports['plain' if lane == 'plain' else 'tls']}"
        self._context = None if lane == "plain" else ssl.create_default_context(cafile=str(ca))
        self._stopping = threading.Event()

    def run(self) -> None:
        """Ask until told to stop."""
        while not self._stopping.wait(_INTERVAL):
            began = time.monotonic()
            try:
                self._ask()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.errors[f"{type(error).__name__}: {error}"[:90]] += 1
            else:
                self.seconds.append(time.monotonic() - began)

    def _ask(self) -> None:
        with socket.create_connection(self._proxy, _PATIENCE, self._source) as sock:
            if self._context is None:
                self._get(sock, f"http://{self._authority}/")
                return
            sock.sendall(connect(*self._authority.rsplit(":", 1)))  # type: ignore[arg-type]
            assert b" 200 " in sock.recv(4096), "the CONNECT was refused"
            with self._context.wrap_socket(sock, server_hostname=self._host) as inner:
                self._get(inner, "/")

    def _get(self, sock: socket.socket, target: str) -> None:
        sock.sendall(request(f"GET {target} HTTP/1.1", self._authority, "Connection: close"))
        got = b""
        while not got.endswith(b"hello") and (data := sock.recv(4096)):
            got += data
        assert got.endswith(b"hello"), f"got {got[:100]!r}"

    def stop(self) -> None:
        """Stop after the request under way."""
        self._stopping.set()


@dataclass
class Figure:
    """A line of the table; `bound` is None where nothing is promised."""

    name: str
    value: float
    bound: float | None = None

    @property
    def broken(self) -> bool:
        """Whether the promise is."""
        return self.bound is not None and self.value > self.bound

    def __str__(self) -> str:
        bound = "" if self.bound is None else f"<= {self.bound:g}"
        return f"{self.name:34} {self.value:>12,.2f}  {bound:12} {'BROKEN' if self.broken else ''}".rstrip()


@dataclass
class Report:
    """What came of a soak."""

    figures: list[Figure]
    outcomes: Counter[str]
    errors: Counter[str]

    @property
    def broken(self) -> list[str]:
        """What was promised, and is not so."""
        won = [name for name in self.outcomes if "WON" in name]
        return [str(each) for each in self.figures if each.broken] + won

    def __str__(self) -> str:
        lines = [str(each) for each in self.figures]
        lines += ["", "attacks, by what became of them:"]
        lines += [f"  {name:60} {count:>8,}" for name, count in sorted(self.outcomes.items())]
        lines += [f"  the good client's error: {name} {count}" for name, count in self.errors.items()]
        return "\n".join(lines)


def soak(folder: Path, minutes: float, load: float, bounds: Bounds) -> Report:
    """Run a soak and return what came of it.

    Args:
        folder: for the proxy's state.
        minutes: for which the attacks go on.
        load: share of the full load.
        bounds: what is promised.
    """
    ports, end_origins = origins.start(folder)
    stage = Stage(folder, configuration(folder, ports, CONNECTIONS, max(10, round(PER_CLIENT * load))))
    try:
        clients = {
            lane: GoodClient(lane, stage, ports, stage.ca if lane == "inspected" else folder / "origins.pem")
            for lane in LANES
        }
        clients["inspected"]._ask()
        idle = stage.rss()
        stage.watch()
        for client in clients.values():
            client.start()
        end_attacks = attackers.start(stage.proxy, ports, stage.ca, load)
        time.sleep(minutes * 60)
        outcomes = end_attacks()
        for client in clients.values():
            client.stop()
            client.join(_PATIENCE)
        counters = stage.counters()
    finally:
        alive = stage.end()
        end_origins()
    figures = [
        Figure("the proxy died", float(not alive), 0),
        Figure("ready, s", stage.ready),
        Figure("idle, MiB", idle),
    ]
    figures += _costs(stage.peak, bounds, max(1.0, minutes))
    figures += [Figure(name, value) for name, value in sorted(counters.items())]
    figures.append(Figure("internal errors", counters.get("internal_errors_total", 0), 0))
    figures.append(Figure("records lost", counters.get("records_dropped_total", 0), 0))
    for client in clients.values():
        figures += _service(client, bounds)
    return Report(figures, outcomes, sum((each.errors for each in clients.values()), Counter()))


def _costs(peak: dict[str, float], bounds: Bounds, minutes: float) -> list[Figure]:
    """Return the peaks beside what is promised of them."""
    promised: dict[str, float] = {
        "memory, MiB": bounds.memory,
        "threads": bounds.threads,
        "metric series": bounds.series,
        "disk, MiB": bounds.disk * minutes,
        "open files": 2 * CONNECTIONS,
        "cache: connections": CONNECTIONS + 512,
        "cache: sessions": CONNECTIONS,
        **{f"cache: {name}": bound for name, bound in CACHE_BOUNDS.items()},
    }
    missing = promised.keys() - peak.keys()
    return [
        Figure("figures that nobody took", len(missing), 0),
        *(Figure(f"peak {name}", value, promised[name]) for name, value in peak.items()),
    ]


def _service(client: GoodClient, bounds: Bounds) -> list[Figure]:
    """Return how the good client was served in a lane."""
    served = sorted(client.seconds)
    lines = [
        Figure(f"{client.name}: served", len(served)),
        Figure(f"{client.name}: not served", client.errors.total(), 0),
        Figure(f"{client.name}: nobody was", float(not served), 0),
    ]
    if served:
        lines += [
            Figure(f"{client.name}: median, s", statistics.median(served)),
            Figure(f"{client.name}: p99, s", served[int(len(served) * 0.99)], bounds.p99),
            Figure(f"{client.name}: worst, s", served[-1], bounds.worst),
        ]
    return lines


def main() -> None:
    """Run a soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--load", type=float, default=1.0)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), options.minutes, options.load, Bounds())
    print(report)
    for each in report.broken:
        print(f"BROKEN: {each}")
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()

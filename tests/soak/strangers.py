"""Strangers flood a real `outward serve` at full speed while ten groups are denied now and then: no denial of theirs is lost.

    python tests/soak/strangers.py [--seconds 60] [--bytes 8388608]

Each group asks for a new host, and for it once more, twice a second. Prints the figures; exits 1 where an id that a client
of a group was told is in no row, where a count is wrong, or where the store grew past its bound.
"""

import argparse
import multiprocessing
import os
import signal
import socket
import sqlite3
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.gates import connect, decision_id
from harness.process import Served

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

GROUPS, FLOODERS = 10, 2
_EVERY = 0.5  # seconds between two new hosts of a group
_PAGE = os.sysconf("SC_PAGE_SIZE")
_BESIDE = 12 << 20  # bytes of a store beside its events: the summary, at most 20,000 lines of strangers, and free pages


@dataclass
class Figures:
    """What came of a flood.

    Attributes:
        answered: refusals that strangers read, as far as they were counted.
        counted: refusals of strangers in the summary.
        asked: denials of groups.
        lost: ids that a group's client was told and no row has.
        miscounted: groups whose rows do not add up to what was asked.
        rows: events in the store, by group; "" for strangers.
        size: bytes of the store on disk.
        memory: MiB resident at the end.
        pruned: events of strangers that went.
        pruned_of_groups: events of groups that went.
        slowest: seconds, of a group's denial.
        log: lines of the proxy about its records.
    """

    answered: int
    counted: int
    asked: int
    lost: int
    miscounted: list[str]
    rows: dict[str, int]
    size: int
    memory: float
    pruned: float
    pruned_of_groups: float
    slowest: float
    log: list[str] = field(default_factory=list)


class Group(threading.Thread):
    """A group whose client is denied now and then, and keeps what it was told."""

    def __init__(self, number: int, proxy: tuple[str, int], stopping: threading.Event) -> None:
        super().__init__(name=f"g{number}")
        self.told: Counter[str] = Counter()
        self.slowest = 0.0
        self._source, self._proxy, self._stopping = (f"127.1.{number}.1", 0), proxy, stopping

    def run(self) -> None:
        """Ask until told to stop."""
        for number in count():
            if self._stopping.wait(_EVERY):
                return
            for _ in range(2):
                began = time.monotonic()
                with socket.create_connection(self._proxy, 60, self._source) as sock:
                    sock.sendall(connect(f"h{number}.{self.name}.example"))
                    self.told[decision_id(_read(sock))] += 1
                self.slowest = max(self.slowest, time.monotonic() - began)


def _read(sock: socket.socket) -> bytes:
    got = b""
    while data := sock.recv(65536):
        got += data
    return got


def flood(proxy: tuple[str, int], seed: int, answered: "Synchronized[int]") -> None:
    """Ask as fast as one process can, for another host each time, from one of many addresses."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in count():
        source = (f"127.9.{number % 61}.{1 + number % 251}", 0)
        with suppress(OSError), socket.create_connection(proxy, 30, source) as sock:
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # no port is left in TIME_WAIT
            sock.sendall(connect(f"{seed}-{number}.flood.example"))
            if b"Outward-Decision" in _read(sock):
                answered.value += 1


def soak(folder: Path, seconds: float, max_bytes: int) -> Figures:
    """Run a flood and return what came of it."""
    groups = "".join(f"  g{number}: {{allow: [allowed.example]}}\n" for number in range(GROUPS))
    clients = "".join(f"  - {{source: 127.1.{number}.0/24, group: g{number}}}\n" for number in range(GROUPS))
    config = folder / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{folder}/state'}}\n"
        f"records: {{max_bytes: {max_bytes}, spill_bytes: {max_bytes}}}\ngroups:\n{groups}clients:\n{clients}"
    )
    served = Served(config)
    answered = [multiprocessing.Value("Q", 0) for _ in range(FLOODERS)]
    flooders = [
        multiprocessing.Process(target=flood, args=(served.proxy, seed, one), daemon=True)
        for seed, one in enumerate(answered)
    ]
    stopping = threading.Event()
    asking = [Group(number, served.proxy, stopping) for number in range(GROUPS)]
    try:
        for each in (*flooders, *asking):
            each.start()
        stopping.wait(seconds)
        stopping.set()
        for group in asking:
            group.join()
        for flooder in flooders:
            flooder.kill()
        return _figures(served, folder / "state", asking, sum(one.value for one in answered))
    finally:
        served.end()


def _figures(served: Served, state: Path, asking: list[Group], answered: int) -> Figures:
    pages = int(Path(f"/proc/{served.process.pid}/statm").read_text().split()[1])
    metrics = served.get("/metrics")[1].splitlines()
    pruned = [_pruned(metrics, of) for of in ("strangers", "groups")]
    served.signal(signal.SIGTERM)
    served.wait(60)
    size = sum(each.stat().st_size for each in state.glob("records.sqlite*"))
    with sqlite3.connect(state / "records.sqlite") as store:
        kept = dict(store.execute("SELECT id, count FROM events WHERE group_path <> ''"))
        counted = store.execute("SELECT SUM(count) FROM blocked_sums WHERE group_path = ''").fetchone()[0]
        rows = dict(store.execute("SELECT COALESCE(group_path, ''), COUNT(*) FROM events GROUP BY 1"))
    told = {group.name: group.told for group in asking}
    wrong = [name for name, ids in told.items() if any(kept.get(ident) != times for ident, times in ids.items())]
    return Figures(
        answered,
        counted or 0,
        sum(ids.total() for ids in told.values()),
        sum(ident not in kept for ids in told.values() for ident in ids),
        wrong,
        rows,
        size,
        pages * _PAGE / 2**20,
        *pruned,
        max(group.slowest for group in asking),
        [line for line in served.log.splitlines() if "store" in line or "spill" in line or "lost" in line],
    )


def _pruned(metrics: list[str], of: str) -> float:
    """Return how many events of a kind went for their size."""
    found = [line for line in metrics if line.startswith("outward_records_pruned_total{")]
    return sum(float(line.split()[-1]) for line in found if f'of="{of}"' in line and 'why="size"' in line)


def main() -> int:
    """Run it from a command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bytes", type=int, default=8 << 20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="outward-strangers-") as name:
        found = soak(Path(name), arguments.seconds, arguments.bytes)
    for what, value in vars(found).items():
        print(f"{what:18} {value}")
    lost = found.lost or found.miscounted or found.pruned_of_groups or found.counted < found.answered
    return 1 if lost or found.size > arguments.bytes + _BESIDE else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Long lists: seconds and MiB to load, microseconds of a look-up, and what a reload costs whoever works beside it.

    python tests/bench/lists_bench.py [NAMES]

The loop beside the reload asks for 1 ms of rest at a time: how much later it goes on is what a request would wait each
time that it waits for the network.
"""

import gc
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from python_build import described

from outward.config.load import load
from outward.core.names import canonical_host

POLICY = "groups: {g: {allow: ['*'], deny: ['@blocked']}}\nclients: [{group: g, anyone: true}]\n"


def _memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def _late(stop: threading.Event, found: list[float]) -> None:
    while not stop.is_set():
        begun = time.perf_counter()
        time.sleep(0.001)
        found.append(time.perf_counter() - begun - 0.001)


def _beside(work: "threading.Thread | None", seconds: float = 0.0) -> list[float]:
    """Return how late a loop goes on while a thread works, or for some seconds; in seconds, sorted."""
    found, stop = list[float](), threading.Event()
    watch = threading.Thread(target=_late, args=(stop, found))
    watch.start()
    if work is not None:
        work.start()
        work.join()
    else:
        time.sleep(seconds)
    stop.set()
    watch.join()
    return sorted(found)


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
    chance = random.Random(1)
    tops = ("com", "net", "example.org")
    names = [f"ads.host-{chance.getrandbits(40):x}.{chance.choice(tops)}" for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "outward.yaml"
        forms = ("*.", ".", "", "", "", "")
        lines = "".join(f"{chance.choice(forms)}{name}\n" for name in names)
        (Path(folder) / "names.txt").write_text(lines)
        config.write_text(f"version: 1\nsets: {{blocked: {{file: names.txt}}}}\n{POLICY}")
        before, begun, cpu = _memory(), time.perf_counter(), time.process_time()
        loaded = load(config, env={}, machine={})
        cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
        print(described())
        print(f"{count:,} names: {wall:.2f} s to load ({cpu:.2f} s CPU), {_memory() - before:.0f} MiB")
        assert loaded.policy is not None
        rules = loaded.policy.groups["g"].deny
        for what, asked in (
            ("missed", [canonical_host(f"a.b.{chance.getrandbits(40):x}.host.example.net") for _ in range(100_000)]),
            ("found", [canonical_host(f"x.{name}") for name in chance.sample(names, min(count, 100_000))]),
        ):
            cpu = time.process_time()
            hits = sum(any(True for _ in rules.for_host(host)) for host in asked)
            cpu = time.process_time() - cpu
            print(f"look-up, {what}: {cpu / len(asked) * 1e6:.2f} µs of CPU ({hits:,} hits)")
        gc.freeze()
        for what, late in (
            ("alone", _beside(None, 2.0)),
            (
                "beside a load",
                _beside(threading.Thread(target=load, args=(config,), kwargs={"env": {}, "machine": {}})),
            ),
        ):
            p99 = late[int(len(late) * 0.99)]
            print(
                f"late, {what}: median {late[len(late) // 2] * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, most {late[-1] * 1e3:.2f} ms"
            )


if __name__ == "__main__":
    main()

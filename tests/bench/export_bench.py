"""Figures of each way that a decision takes: CPU per event of SQLite, PostgreSQL, sums and OTLP; and what a receiver misses.

Run with `python tests/bench/export_bench.py [--events N] [--rate N]`. The receiver is a process of its own, from
OpenTelemetry's messages; in the last run it goes away in the middle and comes back.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from python_build import described
from records_bench import RULE

from harness.collector import Collector
from harness.postgres import BIN, SYSTEM, postgres
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.ops.metrics import Metrics
from outward.records.events.recorder import Recorder
from outward.records.events.spill import Spill
from outward.records.events.values import Event
from outward.records.sending.destination import Destination
from outward.records.sending.export import Export
from outward.records.sending.otlp import Otlp

YEAR = 365 * 86_400.0


def some_event(number: int) -> Event:
    """Make an allowed request; a thousand hosts of twenty groups."""
    return Event(
        verdict=Verdict.ALLOW,
        reason=Reason.RULE,
        group=f"acme/team-{number % 20}",
        client=f"10.1.{number % 4}.{number % 250}",
        method="CONNECT",
        host=f"h{number % 1000}.example.com",
        port=443,
        rule=RULE,
        generation="0123456789ab",
        conversation=f"chat-{number % 20_000}",
        user_agent="python-requests/2.32.5",
        status=200,
        duration_ms=0.2,
        bytes_up=1234,
        bytes_down=56_789,
    )


def receive(pipe: Any) -> None:
    """Be the receiver: go away and come back when told, and tell at the end what came."""
    collector = Collector()
    pipe.send(collector.url)
    while (said := pipe.recv()) != "end":
        collector.stop() if said == "away" else collector.start()
    seen = Counter(record["log.record.uid"] for record in collector.taken)
    pipe.send((set(seen), sum(seen.values()) - len(seen), len(collector.requests)))


def record(recorder: Recorder, events: Sequence[Event], rate: int) -> float:
    """Record events at a rate a second, and return the slowest `record` in microseconds."""
    slowest, begun = 0.0, time.perf_counter()
    for number, event in enumerate(events):
        if number % 50 == 0 and (ahead := begun + number / rate - time.perf_counter()) > 0:
            time.sleep(ahead)
        start = time.perf_counter()
        recorder.record(event)
        slowest = max(slowest, time.perf_counter() - start)
    return slowest * 1e6


def run(name: str, count: int, rate: int, url: str, *, keep: bool, outage: bool = False, otlp: bool = False) -> None:
    """Measure one way and print it."""
    metrics, context = Metrics(), multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        exports = []
        if otlp:
            receiver = context.Process(target=receive, args=(theirs,))
            receiver.start()
            spool = Spill(Path(folder) / "export")
            exports = [Export("otlp", Otlp("bench", {}), Destination(ours.recv()), spool, metrics, retries=(0.1, 1.0))]
        events = [some_event(number) for number in range(count)]
        recorder = Recorder(url, Path(folder), metrics, retention=YEAR, keep_allowed=keep, exports=exports)
        recorder.start()
        wall, cpu = time.perf_counter(), time.process_time()
        third = count // 3
        slowest = record(recorder, events[:third], rate)
        if outage:
            ours.send("away")
        slowest = max(slowest, record(recorder, events[third : 2 * third], rate))
        waiting = sum(export.waiting for export in exports)
        if outage:
            ours.send("back")
        slowest = max(slowest, record(recorder, events[2 * third :], rate))
        while len(recorder) or recorder.spilled or any(export.waiting for export in exports):
            time.sleep(0.05)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        recorder.close(60)
        print(
            f"{name:34} {count / wall:6.0f}/s  {cpu / count * 1e6:5.1f} µs of CPU an event, slowest record() {slowest:5.0f} µs",
            flush=True,
        )
        if otlp:
            ours.send("end")
            seen, doubled, requests = ours.recv()
            lost = len({event.id for event in events} - seen)
            print(
                f"    waited {waiting} bytes, lost {lost}, doubled {doubled} (same id), in {requests} requests",
                flush=True,
            )
            receiver.join()


def main() -> None:
    """Measure every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=5000)
    arguments = parser.parse_args()
    count, rate = arguments.events, arguments.rate
    run("added up (keep: denials)", count, rate, "sqlite", keep=False)
    run("SQLite, a row each", count, rate, "sqlite", keep=True)
    with postgres(SYSTEM or BIN) as server:
        run("PostgreSQL, a row each", count, rate, server.url, keep=True)
    run("added up, and OTLP", count, rate, "sqlite", keep=False, otlp=True)
    run("the same, receiver away and back", count, rate, "sqlite", keep=False, otlp=True, outage=True)


if __name__ == "__main__":
    print(described())
    main()

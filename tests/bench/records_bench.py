"""Figures of the records: cost per event, size, and how fast a million blocked events are searched.

Run with `python tests/bench/records_bench.py [--events N] [--postgres URL]`; writes to a temporary directory.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from python_build import described

from outward.core.model import Pattern, PatternKind, Place, Rule
from outward.core.reasons import Reason
from outward.ops.metrics import Metrics
from outward.records.database import Database, migrate, open_database
from outward.records.events import query, store
from outward.records.events.query import Filters
from outward.records.events.recorder import Recorder
from outward.records.events.values import Event, as_record, line

DAY = 86_400.0
RULE = Rule(Pattern(PatternKind.BELOW, "example.com"), Place("/etc/outward/outward.yaml", 12))
REASONS = (Reason.NO_RULE,) * 8 + (Reason.DENIED_BY_RULE, Reason.PORT_NOT_ALLOWED)


def some_event(number: int, total: int, now: float, rng: random.Random) -> Event:
    """Make one of a month's denials; a few hosts are asked for often, most seldom."""
    host = f"h{min(int(rng.paretovariate(0.7)), 5000)}.example.com"
    age = (1 - number / total) * 30 * DAY
    event = Event(
        group=f"acme/team-{rng.randrange(20)}",
        client=f"10.1.{rng.randrange(4)}.{rng.randrange(250)}",
        method="CONNECT",
        host=host,
        port=443,
        reason=rng.choice(REASONS),
        rule=RULE,
        generation="0123456789ab",
        conversation=f"chat-{rng.randrange(20_000)}",
        user_agent="python-requests/2.32.5",
        status=403,
        duration_ms=0.2,
    )
    event.time = now - age
    event.id = f"{int(event.time * 1000):012x}{rng.getrandbits(80):020x}"
    return event


def per_call(work: Callable[[], object], times: int) -> float:
    """Return the CPU microseconds of one call, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - start)
    return best / times * 1e6


def calls() -> None:
    """Print what the data path pays for an event."""
    metrics = Metrics()
    event = some_event(1, 1, time.time(), random.Random(1))
    record = as_record(event)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder("sqlite", Path(folder), metrics, retention=DAY, capacity=10_000_000)
        print(f"record()               {per_call(lambda: recorder.record(event), 100_000):6.2f} µs")
    print(f"as_record()            {per_call(lambda: as_record(event), 50_000):6.2f} µs")
    print(f"line()                 {per_call(lambda: line(record), 50_000):6.2f} µs")
    print(f"count_request()        {per_call(lambda: metrics.count_request(event), 100_000):6.2f} µs")
    print(f"Histogram.observe()    {per_call(lambda: metrics.dial_duration.observe(0.01), 100_000):6.2f} µs")


def whole(url: str, state: Path, events: list[Event]) -> None:
    """Print the rate from `record` to the database, through the recorder."""
    metrics = Metrics()
    recorder = Recorder(url, state, metrics, retention=365 * DAY, capacity=len(events))
    start, cpu = time.perf_counter(), time.process_time()
    recorder.start()
    for event in events:
        recorder.record(event)
    recorder.close(600)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    count = len(events)
    print(f"recorder to database   {count / wall:6.0f} events/s, {cpu / count * 1e6:.1f} µs of CPU each")


def fill(database: Database, total: int) -> None:
    """Write a month of denials."""
    rng, now = random.Random(7), time.time()
    start = time.perf_counter()
    for first in range(0, total, 5000):
        records = [as_record(some_event(number, total, now, rng)) for number in range(first, min(first + 5000, total))]
        with database.transaction():
            store.write(database, records)
    print(f"{total} denials written in {time.perf_counter() - start:.0f} s, {database.size() / total:.0f} bytes each")


def searches(database: Database) -> None:
    """Print the latency of the first screen and of every filter."""
    now = time.time()
    host, client = "h3.example.com", "10.1.2.77"
    cases = {
        "all": Filters(),
        "group": Filters(group="acme/team-3"),
        "group above": Filters(group="acme"),
        "host": Filters(host=host),
        "rare host": Filters(host="h4711.example.com"),
        "no such host": Filters(host="nowhere.example"),
        "reason": Filters(reason="port_not_allowed"),
        "client": Filters(client=client),
        "last day": Filters(since=now - DAY),
        "a day in the middle": Filters(since=now - 15 * DAY, until=now - 14 * DAY),
        "group, host, reason": Filters(group="acme/team-3", host=host, reason="no_rule"),
        "group, client": Filters(group="acme/team-3", client=client),
    }
    for name, filters in cases.items():
        page = per_query(lambda filters=filters: query.blocked(database, filters, 50))
        summed = per_query(lambda filters=filters: query.summary(database, filters, 50))
        print(f"{name:22} page {page:8.1f} ms   summary {summed:8.1f} ms")


def per_query(work: Callable[[], object]) -> float:
    """Return the milliseconds of one query, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def main() -> None:
    """Run everything on one database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--postgres", help="URL of an empty database; default: SQLite")
    arguments = parser.parse_args()
    calls()
    with tempfile.TemporaryDirectory() as folder:
        url, state = arguments.postgres or "sqlite", Path(folder)
        rng = random.Random(3)
        whole(url, state, [some_event(number, 50_000, time.time(), rng) for number in range(50_000)])
        database = open_database(url, state)
        migrate(database)
        database.execute("DELETE FROM events")
        fill(database, arguments.events)
        if arguments.postgres:
            database.execute("ANALYZE events")
        searches(database)
        database.close()


if __name__ == "__main__":
    print(described())
    main()

"""Figures of events by day on a real PostgreSQL: size and queries of a month, a table that is split, a day that is dropped.

Run with `python tests/bench/days_bench.py [--events N]`; starts a server of its own in a temporary directory. Nine tenths
of the events are denials. A recorder writes meanwhile; the slowest of its writes is what a lock costs.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from records_bench import searches

from harness.postgres import BIN, SYSTEM, postgres
from harness.records import Counts, denied
from outward.records.database import Database, migrate, open_database
from outward.records.events import days, pruning
from outward.records.events.recorder import Recorder

DAY = 86_400.0

_FILL = """
INSERT INTO events (id, time_ms, verdict, reason, stage, mode, would_deny, group_path, client, method, host, port,
    rule_file, rule_line, rule_pattern, generation, conversation, user_agent, duration_ms, status, size)
SELECT lpad(to_hex(t), 12, '0') || lpad(to_hex(n), 20, '0'), t, CASE WHEN n % 10 = 0 THEN 'allow' ELSE 'deny' END,
    CASE WHEN n % 10 < 8 THEN 'no_rule' ELSE 'port_not_allowed' END, 'connect', 'enforce', FALSE,
    'acme/team-' || n % 20, '10.1.' || n % 4 || '.' || n % 250, 'CONNECT',
    'h' || LEAST(5000, FLOOR(POWER(RANDOM(), -1.4))) || '.example.com', 443, '/etc/outward/outward.yaml', 12,
    'example.com', '0123456789ab', 'chat-' || n % 20000, 'python-requests/2.32.5', 0.2, 403, 640
FROM (SELECT n, {start} + (n * {span} / {many})::BIGINT AS t FROM generate_series(0, {many} - 1) AS n) AS made
"""


def fill(database: Database, start: datetime, length: timedelta, many: int) -> None:
    """Write denials over a time, in steps."""
    steps = max(1, many // 500_000)
    for step in range(steps):
        begin = start + length * step / steps
        values = {
            "start": int(begin.timestamp() * 1000),
            "span": (length / steps).total_seconds() * 1000,
            "many": many // steps,
        }
        with database.transaction():
            database.patient()
            database.execute(_FILL.format(**values))


class Writes:
    """A recorder under load, and how long its slowest write took."""

    def __init__(self, url: str, state: Path) -> None:
        self.counts = Counts()
        self.recorder = Recorder(url, state, self.counts, retention=1e12, max_bytes=1 << 40)
        self.slowest, self.sent, self.away = 0.0, 0, 0
        write = self.recorder._writer._write

        def timed(*arguments: object, **more: object) -> bool:
            start = time.perf_counter()
            try:
                return write(*arguments, **more)  # type: ignore[arg-type]
            finally:
                self.slowest = max(self.slowest, time.perf_counter() - start)

        self.recorder._writer._write = timed  # type: ignore[method-assign]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            for _ in range(10):
                self.recorder.record(denied(f"h{self.sent % 100}.example"))
                self.sent += 1
            self.away += self.recorder.away is not None

    def during(self, what: str, work: Callable[[], object]) -> None:
        """Print how long work takes, and the slowest write meanwhile."""
        self.slowest = 0.0
        start = time.perf_counter()
        work()
        took = time.perf_counter() - start
        print(f"{what:40} {took:7.2f} s   slowest write {self.slowest * 1e3:6.0f} ms", flush=True)

    def __enter__(self) -> Self:
        self.recorder.start()
        while self.recorder.away is not None:
            time.sleep(0.01)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.recorder.close(30)
        print(f"sent {self.sent}, written {self.counts.written}, lost {self.counts.dropped}, away {self.away} times")
        print(f"pruned {self.counts.pruned}")


def main() -> None:
    """Measure on one server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    many = parser.parse_args().events
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begin = midnight - timedelta(days=30)
    with postgres(SYSTEM or BIN) as server, tempfile.TemporaryDirectory() as folder:
        database = open_database(server.url, Path(folder))
        print("PostgreSQL", database.execute("SHOW server_version")[0][0])
        migrate(database)
        one_table(database, begin, many)
        with Writes(server.url, Path(folder) / "a") as writes:
            writes.during("nothing, for ten seconds", lambda: time.sleep(10))
            writes.during(f"a table of {many} split", lambda: days.split(database))
        searches(database)
        by_day(database, begin)
        print(f"by day: {database.size() / many:.0f} bytes each", flush=True)
        searches(database)
        with Writes(server.url, Path(folder) / "b") as writes:
            writes.during("nothing, for ten seconds", lambda: time.sleep(10))
            edge = (begin + timedelta(days=1)).timestamp()
            writes.during(f"a day of {many // 30} dropped", lambda: days.drop(database, edge))
            edge += DAY
            writes.during("the next one pruned by row", lambda: exhaust(lambda: pruning.prune_older(database, edge)))
        database.close()


def exhaust(work: Callable[[], int]) -> None:
    """Do work until there is nothing to do."""
    while work():
        pass


def one_table(database: Database, begin: datetime, many: int) -> None:
    """Fill the table; its indexes are made after its rows, which is quicker."""
    indexes = [(name, text) for name, text, primary in database.execute(days._INDEXES) if not primary]
    start = time.perf_counter()
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    fill(database, begin, timedelta(days=30), many)
    for _, text in indexes:
        with database.transaction():
            database.patient()
            database.execute(text)
    analysed(database)
    print(f"{many} events in {time.perf_counter() - start:.0f} s, {database.size() / many:.0f} bytes each", flush=True)


def by_day(database: Database, begin: datetime) -> None:
    """Share the first part of a split table out to days."""
    database.execute(f"ALTER TABLE events DETACH PARTITION {days.BEFORE}")
    for number in range(33):
        day = begin + timedelta(days=number)
        start, end, name = days._id(day), days._id(day + timedelta(days=1)), f"events_{day:%Y%m%d}"
        with database.transaction():
            database.patient()
            database.execute(f"CREATE TABLE IF NOT EXISTS {name} (LIKE events INCLUDING DEFAULTS)")
            database.execute(f"INSERT INTO {name} SELECT * FROM {days.BEFORE} WHERE id >= '{start}' AND id < '{end}'")
            if name not in days._uppers(database):
                database.execute(f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')")
    database.execute(f"DROP TABLE {days.BEFORE}")
    analysed(database)


def analysed(database: Database) -> None:
    """Add the sizes up, and let the planner know the table."""
    with database.transaction():
        database.patient()
        database.execute("DELETE FROM event_sizes")
        database.execute("INSERT INTO event_sizes SELECT COALESCE(group_path, ''), SUM(size) FROM events GROUP BY 1")
        database.execute("ANALYZE events")


if __name__ == "__main__":
    main()

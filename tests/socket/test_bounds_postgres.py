"""The bounds of the store on a real PostgreSQL: held under inserts, from the first minute on, and by the server's clock."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.postgres import Server
from harness.records import Counts, denied
from harness.waiting import wait_for
from outward.records.clocks import Clock
from outward.records.database import Database, migrate, open_database
from outward.records.events import query
from outward.records.events.query import Filters
from outward.records.events.recorder import Recorder

DAY = 86_400.0
MONTH = 30 * DAY
BOUND = 300_000  # bytes


@pytest.fixture
def database(server: Server, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(server.url, tmp_path)
    migrate(opened)
    yield opened
    opened.close()


def rows(database: Database) -> int:
    return database.execute("SELECT COUNT(*) FROM events")[0][0]


def taken(database: Database) -> int:
    return database.execute("SELECT COALESCE(SUM(bytes), 0) FROM event_sizes")[0][0]


def test_a_small_bound_is_held_over_ten_rounds(server: Server, database: Database, tmp_path: Path) -> None:
    """The store stays near its bound, never empty; the newest rows stay, and each that went is counted."""
    counts, sent = Counts(), 0
    recorder = Recorder(server.url, tmp_path, counts, retention=MONTH, max_bytes=BOUND)
    recorder.start()
    for _ in range(10):
        for _ in range(400):
            recorder.record(last := denied())
        sent += 400
        wait_for(lambda sent=sent: counts.written == sent and taken(database) <= BOUND)  # type: ignore[misc]
        assert taken(database) > BOUND * 0.5
        assert query.event(database, last.id) is not None
    recorder.close(10)
    assert counts.pruned == {("size", "groups"): sent - rows(database)}
    assert counts.dropped == {}
    assert taken(database) == database.execute("SELECT SUM(size) FROM events")[0][0]
    assert sum(row.count for row in query.summary(database, Filters(), 10)) == sent


def test_a_prune_before_the_first_analyze_does_not_time_out(server: Server, database: Database, tmp_path: Path) -> None:
    """The planner knows nothing of the table yet, and the store must not count as away for it."""
    recorder = Recorder(server.url, tmp_path, counts := Counts(), retention=MONTH)
    recorder.start()
    recorder.record(denied())
    wait_for(lambda: counts.written == 1)
    recorder.close(10)
    database.execute("ALTER TABLE events_other SET (autovacuum_enabled = off)")
    others = ", ".join(row[0] for row in database.execute(_COLUMNS) if row[0] != "id")
    with database.transaction():
        database.patient()
        database.execute(
            f"INSERT INTO events (id, {others}) SELECT lpad(to_hex(n), 32, '0'), {others}"
            f" FROM events, generate_series(1, {MANY}) AS n"
        )
        database.execute("UPDATE event_sizes SET bytes = (SELECT SUM(size) FROM events)")
    assert database.execute("SELECT reltuples FROM pg_class WHERE relname = 'events_other'")[0][0] <= 0, (
        "it was analysed"
    )
    bound = taken(database) * 7 // 8
    recorder = Recorder(server.url, tmp_path, counts := Counts(), retention=1e12, max_bytes=bound)
    recorder.start()
    recorder.record(denied())
    wait_for(lambda: taken(database) <= bound)
    assert recorder.away is None
    recorder.close(10)
    assert counts.dropped == {}
    assert rows(database) == MANY + 2 - counts.pruned["size", "groups"]


MANY = 40_000
_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = 'events' AND table_schema = 'public'"


@pytest.mark.parametrize("days", [40, -40])
def test_a_clock_that_is_forty_days_off_prunes_nothing_by_age(
    server: Server, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    counts = Counts()
    recorder = Recorder(server.url, tmp_path, counts, retention=MONTH)
    recorder.start()
    recorder.record(denied("kept.example"))
    wait_for(lambda: counts.written == 1)
    recorder.close(10)
    wrong = lambda: Clock(lambda: time.time() + days * DAY)  # noqa: E731
    monkeypatch.setattr("outward.records.events.keeper.Clock", wrong)
    recorder = Recorder(server.url, tmp_path, counts, retention=MONTH)
    recorder.start()
    wait_for(lambda: recorder.clock_problem)
    assert "differ by" in str(recorder.clock_problem)
    recorder.record(denied("again.example"))
    wait_for(lambda: counts.written == 2)
    recorder.close(10)
    assert rows(database) == 2
    assert counts.pruned == {}

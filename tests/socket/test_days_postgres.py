"""Events by day on a real PostgreSQL: made ahead, dropped whole, split and joined under load, and no row lost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.pgbouncer import PROGRAM, pgbouncer
from harness.postgres import BIN, SYSTEM, Server, postgres
from harness.records import Counts, denied
from harness.waiting import wait_for
from outward.cli.main import main
from outward.records.database import Database, StoreAwayError, migrate, open_database
from outward.records.events import days, query, store
from outward.records.events.query import Filters
from outward.records.events.recorder import Recorder
from outward.records.events.values import Event, as_record

DAY = 86_400.0
MONTH = 30 * DAY
OLD = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module", params=["pooled", "distribution"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server from a wheel, behind a pooler, and the distribution's own."""
    if request.param == "distribution" and SYSTEM is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres(BIN if request.param == "pooled" or SYSTEM is None else SYSTEM) as running:
        yield running


@pytest.fixture
def url(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[str]:
    """The URL of a server with the schema and nothing in it, or of a pooler in transaction mode before it."""
    direct = open_database(server.url, tmp_path)
    direct.execute("DROP SCHEMA public CASCADE")
    direct.execute("CREATE SCHEMA public")
    migrate(direct)
    direct.close()
    if request.node.callspec.params["server"] == "distribution":
        yield server.url
    elif PROGRAM is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    else:
        with pgbouncer(server) as pooled:
            yield pooled


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(url, tmp_path)
    yield opened
    opened.close()


def of_day(day: datetime, count: int) -> list[Event]:
    times = [day.timestamp() + number for number in range(count)]
    return [denied(id=f"{int(time * 1000):012x}{number:020x}", time=time) for number, time in enumerate(times)]


def write(database: Database, events: list[Event]) -> None:
    with database.transaction():
        store.write(database, [as_record(event) for event in events])


def parts(database: Database) -> set[str]:
    return {name for name, _ in database.execute(days._PARTS)}


def taken(database: Database) -> bool:
    """Whether the sums of sizes are those of the rows."""
    sums = dict(database.execute("SELECT group_path, bytes FROM event_sizes WHERE bytes > 0"))
    rows = database.execute("SELECT COALESCE(group_path, ''), SUM(size) FROM events GROUP BY 1")
    return sums == {group: int(size) for group, size in rows}


class Load:
    """A recorder that writes until it is told to stop."""

    def __init__(self, url: str, state: Path) -> None:
        self.counts, self.sent = Counts(), list[str]()
        self.recorder = Recorder(url, state, self.counts, retention=MONTH)
        self.away = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            event = denied(f"h{len(self.sent) % 7}.example")
            self.sent.append(event.id)
            self.recorder.record(event)
            self.away += self.recorder.away is not None

    def more(self, count: int) -> None:
        """Wait until so many more are written."""
        begun = self.counts.written
        wait_for(lambda: self.counts.written >= begun + count)


@contextmanager
def load(url: str, state: Path) -> Iterator[Load]:
    running = Load(url, state)
    running.recorder.start()
    wait_for(lambda: running.recorder.away is None)
    running._thread.start()
    try:
        running.more(1)
        yield running
    finally:
        running._stop.set()
        running._thread.join()
        running.recorder.close(10)


def test_a_new_store_keeps_events_by_day(url: str, database: Database, tmp_path: Path) -> None:
    with load(url, tmp_path / "state") as running:
        running.more(20)
    today = datetime.now(UTC)
    ahead = {f"events_{today + timedelta(days=number):%Y%m%d}" for number in range(4)}
    assert ahead | {"events_other"} <= parts(database)
    of_today = database.execute(f"SELECT COUNT(*) FROM events_{today:%Y%m%d}")[0][0]
    assert of_today == len(running.sent) or today.date() != datetime.now(UTC).date()
    assert [query.event(database, ident) is not None for ident in running.sent] == [True] * len(running.sent)
    assert taken(database)
    assert database.size() > 0


def test_a_day_is_dropped_whole_under_load(url: str, database: Database, tmp_path: Path) -> None:
    """What it held is counted and taken off the sums; writes go on meanwhile."""
    days.begin(database)
    write(database, [*of_day(OLD, 300), *of_day(OLD + timedelta(days=1), 200)])
    for number in (0, 1):  # they lay in the other one, as no proxy ran then
        day = OLD + timedelta(days=number)
        with database.transaction():
            days._make(database, f"events_{day:%Y%m%d}", days._id(day), days._id(day + timedelta(days=1)))
    assert database.execute("SELECT COUNT(*) FROM events_other") == [(0,)]
    with load(url, tmp_path / "state") as running:
        wait_for(lambda: running.counts.pruned)
        running.more(50)
    assert running.counts.pruned == {("age", "all"): 500}
    assert (running.counts.dropped, running.away) == ({}, 0)
    assert not parts(database) & {"events_20260105", "events_20260106"}
    assert database.execute("SELECT to_regclass('events_20260105')") == [(None,)]
    assert {row[0] for row in database.execute("SELECT id FROM events")} == set(running.sent)
    assert taken(database)


def test_a_day_is_made_while_its_rows_come(url: str, database: Database, tmp_path: Path) -> None:
    """Nobody made it in time, so that they lie in the other one, and more come all the time."""
    days.begin(database)
    today = f"events_{datetime.now(UTC):%Y%m%d}"
    with load(url, tmp_path / "state") as running:
        with database.transaction():
            database.execute(f"ALTER TABLE events DETACH PARTITION {today}")
            database.execute(f"INSERT INTO events SELECT * FROM {today}")
            database.execute(f"DROP TABLE {today}")
        running.more(20)
        days.make(database)
        running.more(20)
    assert today in parts(database)
    assert database.execute("SELECT COUNT(*) FROM events_other") == [(0,)]
    assert {row[0] for row in database.execute("SELECT id FROM events")} == set(running.sent)
    assert (running.counts.dropped, running.away) == ({}, 0)


def test_a_table_is_split_and_joined_while_proxies_write(url: str, database: Database, tmp_path: Path) -> None:
    """No row is lost, doubled or refused, and no writer takes the store for away."""
    write(database, old := of_day(datetime.now(UTC) - timedelta(days=9), 3000))
    with load(url, tmp_path / "state") as running:
        assert not database.by_day()  # it had rows, and nobody asked
        days.split(database)
        assert database.by_day()
        running.more(50)
        assert database.execute("SELECT COUNT(*) FROM events_before")[0][0] >= 3000
        days.split(database)  # a second time does nothing
        days.join(database)
        running.more(50)
        assert not database.by_day()
        days.begin(database)
        assert not database.by_day()  # as somebody wanted it
        days.split(database)
        running.more(50)
    everything = {event.id for event in old} | set(running.sent)
    assert {row[0] for row in database.execute("SELECT id FROM events")} == everything
    assert (running.counts.dropped, running.away) == ({}, 0)
    assert sum(row.count for row in query.summary(database, Filters(), 50)) == len(everything)
    assert taken(database)
    assert database.execute("SELECT to_regclass('events_days')") == [(None,)]


def test_a_join_that_was_ended_goes_on(url: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    days.begin(database)
    write(database, old := of_day(OLD, 30))
    monkeypatch.setattr(days, "_BATCH", 7)
    move = days._move
    monkeypatch.setattr(days, "_move", lambda *_: False)
    monkeypatch.setattr(days, "_there", lambda *_: False)
    days.join(database)
    monkeypatch.undo()
    assert database.execute("SELECT COUNT(*) FROM events") == [(0,)]
    assert move(database, days.LEFT, "ORDER BY id DESC")
    days.split(database)  # ends what was begun
    assert database.by_day()
    assert {row[0] for row in database.execute("SELECT id FROM events")} == {event.id for event in old}


def test_a_split_that_was_ended_leaves_a_table_that_takes_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it failed, or was killed and a proxy looks later."""
    write(database, of_day(OLD, 3))
    tomorrow = of_day(datetime.now(UTC) + timedelta(days=3), 1)

    def swap(*_: object) -> None:
        raise StoreAwayError("ended")

    monkeypatch.setattr(days, "_swap", swap)
    monkeypatch.setattr(days, "_TRIES", 1)
    with pytest.raises(StoreAwayError):
        days.split(database)
    assert database.execute("SELECT 1 FROM pg_constraint WHERE conname = 'by_day'") == []
    bound = "ALTER TABLE events ADD CONSTRAINT by_day CHECK (id < '{}') NOT VALID"
    later = days._id(datetime.now(UTC) + timedelta(days=2))
    database.execute(bound.format(later))
    database.tend_days(0.0)
    assert database.execute("SELECT 1 FROM pg_constraint WHERE conname = 'by_day'") == [(1,)]  # it may still run
    database.execute("ALTER TABLE events DROP CONSTRAINT by_day")
    database.execute(bound.format(days._id(datetime.now(UTC) + timedelta(hours=23))))
    database.tend_days(0.0)
    write(database, tomorrow)
    assert database.execute("SELECT COUNT(*) FROM events") == [(4,)]


def test_a_young_day_that_an_operator_detached_stays(database: Database) -> None:
    days.begin(database)
    today = f"events_{datetime.now(UTC):%Y%m%d}"
    database.execute(f"ALTER TABLE events DETACH PARTITION {today}")
    database.execute("CREATE TABLE events_20260105 (LIKE events)")  # ours, of a drop that was ended
    assert days.drop(database, 0.0) == []  # the clocks disagree
    dropped = days.drop(database, datetime.now(UTC).timestamp() - MONTH)
    assert [gone.name for gone in dropped] == ["events_20260105"]
    assert database.execute("SELECT to_regclass(?) IS NOT NULL", (today,)) == [(True,)]


def test_the_verb_splits_and_joins(url: str, tmp_path: Path) -> None:
    config = tmp_path / "outward.yaml"
    config.write_text(f"version: 1\nserver: {{state: '{tmp_path}'}}\nrecords: {{url: '{url}'}}\ngroups: {{}}\n")
    runner = CliRunner()
    for verb, by_day in (("split", True), ("join", False)):
        done = runner.invoke(main, ["records", verb, "--json", "--config", str(config)])
        assert (done.exit_code, done.output) == (0, f'{{"by_day": {str(by_day).lower()}}}\n')
    config.write_text(f"version: 1\nserver: {{state: '{tmp_path}'}}\ngroups: {{}}\n")
    done = runner.invoke(main, ["records", "split", "--config", str(config)])
    assert done.exit_code == 2
    assert "no PostgreSQL" in done.output

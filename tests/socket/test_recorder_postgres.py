"""PostgreSQL as the store of a fleet: the same schema and queries, and no row lost when the server goes away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.postgres import Server
from harness.records import Counts, denied
from harness.waiting import wait_for
from outward.records.database import Database, StoreAwayError, migrate, open_database
from outward.records.events import query
from outward.records.events.query import Filters
from outward.records.events.recorder import Recorder

MONTH = 30 * 86_400.0


@pytest.fixture
def database(server: Server, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(server.url, tmp_path)
    yield opened
    opened.close()


def count(url: str, state: Path) -> int:
    try:
        database = open_database(url, state)
    except StoreAwayError:
        return -1
    try:
        return database.execute("SELECT COUNT(*) FROM events")[0][0]
    finally:
        database.close()


def test_no_row_is_lost_when_the_server_is_stopped_and_started_under_load(
    server: Server, database: Database, tmp_path: Path
) -> None:
    """The proxy starts without its database, spills, catches up, loses it in the middle, and catches up again."""
    database.close()
    counts, sent = Counts(), []

    def send(number: int) -> None:
        for _ in range(number):
            event = denied()
            sent.append(event.id)
            recorder.record(event)

    server.stop()
    recorder = Recorder(server.url, tmp_path, counts, retention=MONTH)
    recorder.start()
    send(500)
    wait_for(lambda: any((tmp_path / "spill").glob("*")))
    assert recorder.problem is None
    server.start()
    wait_for(lambda: counts.written == 500)
    for _ in range(10):
        send(200)
    server.stop()
    for _ in range(10):
        send(200)
        wait_for(lambda: len(recorder) == 0)
    server.start()
    send(200)
    wait_for(lambda: count(server.url, tmp_path) == len(sent))
    recorder.close(10)
    again = open_database(server.url, tmp_path)
    assert {row[0] for row in again.execute("SELECT id FROM events")} == set(sent)
    assert again.execute("SELECT count FROM blocked_sums") == [(len(sent),)]
    assert counts.dropped == {}
    again.close()


def test_a_record_reads_as_it_was_written(server: Server, database: Database, tmp_path: Path) -> None:
    event = denied("a.example", ech=True, path="/x", duration_ms=1.5, bytes_up=2**40, conversation="chat-1")
    recorder = Recorder(server.url, tmp_path, counts := Counts(), retention=MONTH)
    recorder.start()
    recorder.record(event)
    wait_for(lambda: counts.written == 1)
    recorder.close(10)
    record = query.event(database, event.id)
    assert record is not None
    assert (record["host"], record["ech"], record["bytes_up"], record["would_deny"]) == (
        "a.example",
        True,
        2**40,
        False,
    )
    assert [each["id"] for each in query.blocked(database, Filters(group="acme"), 10)] == [event.id]
    assert [each.host for each in query.summary(database, Filters(), 10)] == ["a.example"]


def test_two_proxies_migrate_and_write_at_once(server: Server, database: Database, tmp_path: Path) -> None:
    counts = [Counts() for _ in range(3)]
    recorders = [Recorder(server.url, tmp_path / str(each), counts[each], retention=MONTH) for each in range(3)]
    for recorder in recorders:
        recorder.start()
    for number in range(300):
        for recorder in recorders:
            recorder.record(denied(f"h{number % 7}.example"))
    wait_for(lambda: sum(each.written for each in counts) == 900)
    for recorder in recorders:
        recorder.close(10)
    assert sum(row.count for row in query.summary(database, Filters(), 50)) == 900
    assert all(each.dropped == {} for each in counts)


def test_retention_deletes_old_rows(server: Server, database: Database, tmp_path: Path) -> None:
    migrate(database)
    old = [denied(id=f"{number:012x}{'0' * 20}", time=number / 1000) for number in range(10)]
    recorder = Recorder(server.url, tmp_path, Counts(), retention=1e12)
    recorder.start()
    for event in [*old, keep := denied("kept.example")]:
        recorder.record(event)
    wait_for(lambda: count(server.url, tmp_path) == 11)
    recorder.close(10)
    recorder = Recorder(server.url, tmp_path, Counts(), retention=MONTH)
    recorder.start()
    wait_for(lambda: count(server.url, tmp_path) == 1)
    recorder.close(10)
    assert database.execute("SELECT id FROM events") == [(keep.id,)]

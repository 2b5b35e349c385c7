"""`keep: denials`: what is allowed is counted exactly, once, and has no rows; whatever else happens has its own."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from harness.records import Counts, denied
from harness.waiting import wait_for
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.records.database import Database, migrate, open_database
from outward.records.events import query, sums
from outward.records.events.query import Filters
from outward.records.events.recorder import Recorder
from outward.records.events.sums import Sums
from outward.records.events.traffic import of_store
from outward.records.events.values import Event

MONTH = 30 * 86_400.0


def allowed(host: str = "open.example", **facts: Any) -> Event:
    return denied(host, verdict=Verdict.ALLOW, reason=Reason.RULE, bytes_up=10, bytes_down=1000, **facts)


def recorder_of(url: str, state: Path, counts: Counts) -> Recorder:
    recorder = Recorder(url, state, counts, retention=MONTH, keep_allowed=False)
    recorder.start()
    return recorder


def test_what_is_allowed_is_only_counted(url: str, tmp_path: Path) -> None:
    counts = Counts()
    recorder = recorder_of(url, tmp_path, counts)
    for number in range(300):
        recorder.record(allowed(f"h{number % 3}.example"))
    whole = [
        denied(),
        allowed("reported.example", would_deny=True, would_reason=Reason.NO_RULE),
        allowed("audited.example", told=True),
    ]
    for event in whole:
        recorder.record(event)
    wait_for(lambda: counts.written == 303)
    recorder.record(allowed("late.example"))
    recorder.close(10)
    assert counts.written == 304
    database = open_database(url, tmp_path)
    assert {row[0] for row in database.execute("SELECT id FROM events")} == {event.id for event in whole}
    assert {row.host: row.count for row in query.summary(database, Filters(allowed=True), 9)} == {
        **{f"h{number}.example": 100 for number in range(3)},
        "late.example": 1,
        "audited.example": 1,
    }
    assert database.execute("SELECT SUM(count) FROM attempt_hours WHERE outcome = 'allow'") == [(302,)]
    rows = database.execute("SELECT host, count, bytes_up, bytes_down FROM passed_hours ORDER BY host LIMIT 1")
    assert rows == [("h0.example", 100, 1000, 100_000)]
    facts = of_store(database, 0)
    assert {fact.authority: count for fact, count in facts.items() if fact.allowed}["h1.example"] == 100
    database.close()


def test_what_is_written_again_is_counted_once(url: str, tmp_path: Path) -> None:
    database = open_database(url, tmp_path)
    migrate(database)
    collected = Sums()
    for _ in range(5):
        collected.add(allowed(), 0.0)
    assert collected.due(0.9) == []
    (record,) = collected.due(1.0)
    assert len(collected) == 0
    for _ in range(2):
        with database.transaction():
            sums.write(database, record)
    assert total(database) == 5
    database.close()


def test_names_that_are_made_up_become_one_line(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "LINES", 10)
    database = open_database(url, tmp_path)
    migrate(database)
    collected = Sums()
    for number in range(40):
        for _ in range(1 + (number < 5)):
            collected.add(allowed(f"n{number}.example", time=1e9), 0.0)
    with database.transaction():
        sums.write(database, collected.due(9.0)[0])
    assert sums.merge(database) == 30
    assert sums.merge(database) == 0
    lines = dict(database.execute("SELECT host, count FROM passed_hours"))
    assert len(lines) == 11
    assert (lines[""], sum(lines.values()), lines["n0.example"]) == (30, 45, 2)
    assert database.execute("SELECT SUM(bytes_up), SUM(bytes_down) FROM passed_hours") == [(450, 45_000)]
    database.close()


def test_no_count_is_lost_while_the_database_is_locked(tmp_path: Path) -> None:
    counts = Counts()
    recorder = recorder_of("sqlite", tmp_path, counts)
    wait_for(lambda: recorder.away is None)
    lock = sqlite3.connect(tmp_path / "records.sqlite", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    for _ in range(50):
        recorder.record(allowed())
    wait_for(lambda: recorder.spilled)
    for _ in range(50):
        recorder.record(allowed())
    lock.execute("ROLLBACK")
    wait_for(lambda: counts.written == 100)
    recorder.close(10)
    database = open_database("sqlite", tmp_path)
    assert total(database) == 100
    database.close()


def total(database: Database) -> int:
    return int(database.execute("SELECT SUM(count) FROM passed_hours")[0][0])

"""Migrations: from every earlier version to the newest, once, whole or not at all."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from outward.records.database import Database, StoreAwayError, migrate, migrations, open_database, statements
from outward.records.events.query import Filters, summary

STEPS = migrations()


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(url, tmp_path)
    yield opened
    opened.close()


def versions(database: Database) -> list[int]:
    return [row[0] for row in database.execute("SELECT version FROM schema_version ORDER BY version")]


@pytest.mark.parametrize("known", range(len(STEPS) + 1))
def test_a_database_of_any_version_is_brought_up_to_date(database: Database, known: int) -> None:
    migrate(database, STEPS[:known])
    assert migrate(database) == STEPS[-1][0]
    assert versions(database) == [number for number, _ in STEPS]
    assert migrate(database) == STEPS[-1][0]  # a second time does nothing
    for table in ("events", "blocked_totals", "blocked_sums", "passed_sums", "attempt_hours", "audit_events"):
        assert database.execute(f"SELECT COUNT(*) FROM {table}") == [(0,)]


def test_what_was_recorded_before_is_in_the_totals(database: Database) -> None:
    """What passed by host, and how much happened in which hour."""
    migrate(database, [step for step in STEPS if step[0] < 14])
    events = (
        ("1", 3_600_000, "allow", "rule", False, None, 2),
        ("2", 3_700_000, "allow", "rule", False, None, 1),
        ("3", 9_000_000, "allow", "report_only", True, "no_rule", 1),
        ("4", 9_000_000, "deny", "no_rule", False, None, 7),
    )
    for ident, time_ms, verdict, reason, would_deny, would_reason, count in events:
        database.execute(
            "INSERT INTO events (id, time_ms, verdict, reason, stage, mode, would_deny, would_reason, group_path, host,"
            " port, count) VALUES (?, ?, ?, ?, 'connect', 'enforce', ?, ?, 'acme', 'a.example', 443, ?)",
            (ident, time_ms, verdict, reason, would_deny, would_reason, count),
        )
    migrate(database)
    assert [(row.host, row.count, row.last_id) for row in summary(database, Filters(allowed=True), 9)] == [
        ("a.example", 3, "2")
    ]
    assert [(row.reason, row.count) for row in summary(database, Filters(would_deny=True), 9)] == [("no_rule", 1)]
    hours = database.execute("SELECT hour_ms, outcome, count FROM attempt_hours ORDER BY outcome")
    assert hours == [(3_600_000, "allow", 3), (7_200_000, "deny", 7), (7_200_000, "would_deny", 1)]


def test_what_was_counted_before_ports_were_told_apart_stays(database: Database) -> None:
    """With the last port that was asked for, which is all that is known."""
    migrate(database, STEPS[:5])
    for host, port, count in (("a.example", 8081, 7), ("b.example", None, 2)):
        database.execute(
            "INSERT INTO blocked_totals (group_path, host, reason, port, count, first_ms, last_ms, last_id)"
            " VALUES ('acme', ?, 'no_rule', ?, ?, 1, 2, 'x')",
            (host, port, count),
        )
    migrate(database)
    rows = summary(database, Filters(), 10)
    assert [(row.host, row.port, row.count) for row in rows] == [("a.example", 8081, 7), ("b.example", None, 2)]


def test_a_step_that_fails_leaves_nothing_behind(database: Database) -> None:
    bad = (STEPS[-1][0] + 1, "CREATE TABLE half_done (a INTEGER);\nINSERT INTO no_such_table VALUES (1);\n")
    with pytest.raises(StoreAwayError):
        migrate(database, [*STEPS, bad])
    migrate(database)
    with pytest.raises(StoreAwayError):
        database.execute("SELECT * FROM half_done")


def test_a_program_goes_on_beside_a_newer_one(database: Database) -> None:
    """A rolling upgrade and a rollback both leave an older program on a schema that has grown."""
    migrate(database, [*STEPS, (STEPS[-1][0] + 1, "ALTER TABLE events ADD COLUMN of_the_future INTEGER;\n")])
    assert migrate(database) == STEPS[-1][0]
    assert versions(database) == [*(number for number, _ in STEPS), STEPS[-1][0] + 1]


def test_a_schema_that_it_could_not_live_with_is_left_alone(database: Database) -> None:
    migrate(database, [*STEPS, (100, "DROP TABLE events;\n")])
    with pytest.raises(StoreAwayError, match="upgrade"):
        migrate(database)


def test_no_two_steps_have_one_number() -> None:
    """A step is known by its number: of two, a database would get one."""
    numbers = [number for number, _ in STEPS]
    assert sorted(set(numbers)) == numbers


def test_statements_are_split_at_line_ends_only() -> None:
    assert statements("-- a; comment\nSELECT ';';\nSELECT 2;\n") == ["SELECT ';'", "SELECT 2"]


def test_a_missing_file_is_not_made_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(StoreAwayError):
        open_database("sqlite", tmp_path / "nowhere", read_only=True)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://relative", "", "sqlite:"])
def test_other_databases_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=r"records\.url"):
        open_database(url, tmp_path)


def test_a_path_with_three_slashes_or_four_is_the_same_file(tmp_path: Path) -> None:
    migrate(first := open_database(f"sqlite://{tmp_path}/a.sqlite", tmp_path))
    first.close()
    second = open_database(f"sqlite:///{tmp_path}/a.sqlite", tmp_path, read_only=True)
    assert versions(second) == [number for number, _ in STEPS]
    second.close()
    shutil.rmtree(tmp_path)

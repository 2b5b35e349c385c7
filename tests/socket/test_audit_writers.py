"""Who writes to the audit chain: the recorder, and several processes on one database."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.records import Counts, act, append
from harness.waiting import PATIENCE, wait_for
from outward.records import sqlite
from outward.records.audit import audit_query
from outward.records.audit.audit_query import AuditFilters
from outward.records.audit.chain import Chain
from outward.records.audit.verify import ChainReport, verify
from outward.records.database import migrate, open_database
from outward.records.events.recorder import Recorder


def test_the_recorder_brings_audit_events_to_the_chain(tmp_path: Path) -> None:
    recorder = Recorder("sqlite", tmp_path, Counts(), retention=1e6)
    recorder.start()
    recorder.audit(act("chat-7", details={"vendor": "anthropic", "search_count": 2}))
    wait_for(lambda: rows_in(tmp_path) == 1)
    recorder.close(10)
    opened = open_database("sqlite", tmp_path, read_only=True)
    assert verify(opened, tmp_path).ok
    (record,) = audit_query.listed(opened, AuditFilters(target="chat-7"), 10)
    assert (record["details"]["vendor"], record["details"]["search_count"]) == ("anthropic", 2)
    opened.close()


def rows_in(state: Path) -> int:
    connection = sqlite3.connect(state / "records.sqlite")
    try:
        return connection.execute("SELECT COUNT(*) FROM audit_events").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def in_parallel(work: Callable[[int], None], times: int) -> None:
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("states", ["one state directory", "a state directory each"])
def test_several_writers_on_one_database_keep_whole_chains(
    tmp_path: Path, kind: str, states: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", PATIENCE)  # of three who write all the time, one may wait for long
    url = f"sqlite:///{tmp_path}/shared.sqlite" if kind == "sqlite" else request.getfixturevalue("server").url
    apart = states != "one state directory"

    def write(number: int) -> None:
        state = tmp_path / (str(number) if apart else "one")
        opened = open_database(url, state)
        migrate(opened)
        chain = Chain(state)
        for _ in range(20):
            append(chain, opened, act(f"writer-{number}"))
        opened.close()

    in_parallel(write, 3)
    opened = open_database(url, tmp_path)
    report: ChainReport = verify(opened, tmp_path / ("0" if apart else "one"))
    assert report.problems == []
    assert sorted(report.chains.values()) == ([20, 20, 20] if apart else [60])
    if apart:
        opened.execute("DELETE FROM audit_events WHERE chain = (SELECT MAX(chain) FROM audit_events) AND seq = 20")
        assert not verify(opened, tmp_path / "0").ok
    opened.close()

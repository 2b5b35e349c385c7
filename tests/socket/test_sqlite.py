"""SQLite shared by several connections and processes: nobody's log is taken away, and nobody is turned away at the start."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.waiting import PATIENCE
from outward.records import sqlite
from outward.records.database import migrate, open_database

OTHER = """
import sys
from pathlib import Path
from outward.records.database import open_database
database = open_database("sqlite", Path(sys.argv[1]))
print(database.execute("SELECT COUNT(*) FROM seen")[0][0])
database.close()
"""


def rows_for_another_process(state: Path) -> int:
    """Return what a process sees that opens the file, and closes it as if it were the last."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER, state], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    return int(done.stdout)


def test_a_process_that_leaves_does_not_take_another_ones_rows_with_it(tmp_path: Path) -> None:
    """A second connection must not cost the first its locks: a leaving process then deletes the log under both."""
    first = open_database("sqlite", tmp_path)
    first.execute("CREATE TABLE seen (id INTEGER)")
    second = open_database("sqlite", tmp_path)
    assert rows_for_another_process(tmp_path) == 0
    first.execute("INSERT INTO seen VALUES (1)")
    second.execute("INSERT INTO seen VALUES (2)")
    assert rows_for_another_process(tmp_path) == 2
    first.close()
    second.close()


def test_many_may_open_a_new_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As recorder, run-time state and a command line do when everything starts for the first time."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", PATIENCE)  # six times all migrations, on whatever disk this is
    for attempt in range(20):
        failures: list[BaseException] = []
        together = threading.Barrier(6)
        state = tmp_path / str(attempt)

        def start(state: Path = state, together: threading.Barrier = together) -> None:
            try:
                together.wait(PATIENCE)
                database = open_database("sqlite", state)
                migrate(database)
                database.close()
            except BaseException as error:  # noqa: BLE001 - reported below
                failures.append(error)  # noqa: B023 - the threads of this round

        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert failures == []

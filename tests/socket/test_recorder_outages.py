"""The recorder while its database, its disk or its reader is away: what is kept is written later, the rest is counted."""

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.full_disk import fill, free, small_disk
from harness.process import Served
from harness.records import MONTH, Counts, act, audited, denied, recording, stored
from harness.waiting import PATIENCE, wait_for
from outward.records.database import Database, StoreAwayError, open_database
from outward.records.events.recorder import Recorder


class Switchable:
    """Opens real databases, or fails like one that is away; may also hang."""

    def __init__(self) -> None:
        self.away = False
        self.hang = threading.Event()
        self.hang.set()

    def __call__(self, url: str, state: Path) -> Database:
        self.hang.wait(PATIENCE)
        if self.away:
            raise StoreAwayError("switched off")
        return open_database(url, state)


def test_what_is_recorded_while_the_store_is_away_is_replayed_in_order(tmp_path: Path) -> None:
    counts, switch = Counts(), Switchable()
    switch.away = True
    events = [denied() for _ in range(3000)]
    with recording(tmp_path, counts, connect=switch) as recorder:
        for event in events[:2000]:
            recorder.record(event)
        wait_for(lambda: any((tmp_path / "spill").glob("*")))
        assert recorder.problem is None
        assert stored(tmp_path) == []
        switch.away = False
        for event in events[2000:]:
            recorder.record(event)
        wait_for(lambda: counts.written == 3000)
    assert stored(tmp_path) == [event.id for event in events]
    assert counts.dropped == {}
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_full_queue_overflows_to_disk_and_is_replayed(tmp_path: Path) -> None:
    """A database that hangs cannot make the data path wait, nor memory grow, nor events vanish."""
    counts, switch = Counts(), Switchable()
    switch.hang.clear()
    with recording(tmp_path, counts, connect=switch, capacity=100) as recorder:
        for number in range(5000):
            recorder.record(denied())
            if number % 90 == 0:
                wait_for(lambda: len(recorder) <= 100)  # the disk keeps up, the database does not
        assert counts.written == 0
        switch.hang.set()
        wait_for(lambda: counts.written == 5000)
    assert len(stored(tmp_path)) == 5000
    assert counts.dropped == {}


def test_what_not_even_the_disk_takes_is_counted_logged_and_shown_as_unhealthy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory where no file can be made: the state directory's place is taken by a file."""
    state = tmp_path / "state"
    state.mkdir()
    counts = Counts()
    with recording(state, counts) as recorder:
        recorder.record(denied())
        wait_for(lambda: counts.written == 1)
        state.rename(tmp_path / "gone")
        state.write_text("in the way")
        for _ in range(10):
            recorder.record(denied())
        wait_for(lambda: counts.dropped.get("store") == 10)
        assert recorder.losing
        assert recorder.problem is None  # all that share a disk or a database would leave the service at once
        assert "records are being lost" in caplog.text
        state.unlink()
        (tmp_path / "gone").rename(state)
        wait_for(lambda: recorder.losing is None)
        recorder.record(denied())
        wait_for(lambda: counts.written == 2)


def test_a_removed_database_file_is_noticed_and_made_anew(tmp_path: Path) -> None:
    """Writing on into a file that nobody can read any more would be a silent loss."""
    counts = Counts()
    with recording(tmp_path, counts) as recorder:
        recorder.record(denied())
        wait_for(lambda: counts.written == 1)
        for path in tmp_path.glob("records.sqlite*"):
            path.unlink()
        late = denied()
        recorder.record(late)
        wait_for(lambda: stored(tmp_path) == [late.id])


FULL_DISK = """
import resource, sys
from pathlib import Path
from harness.records import Counts, denied
from harness.waiting import PATIENCE, wait_for
from outward.records.events.recorder import Recorder
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
state, counts = Path(sys.argv[1]), Counts()
recorder = Recorder("sqlite", state, counts, retention=1e6)
recorder.start()
recorder.record(denied())
wait_for(lambda: counts.written == 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
total = 1
while not counts.dropped:
    for _ in range(200):
        recorder.record(denied(path="/" + "x" * 1000))
        total += 1
    wait_for(lambda: len(recorder) == 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
wait_for(lambda: counts.written + counts.dropped["store"] == total)
wait_for(lambda: recorder.losing is None)
recorder.close(10)
print(counts.written, counts.dropped["store"], total)
"""


def test_on_a_full_disk_every_event_is_kept_or_counted_and_space_mends_it(tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: writes fail half way through."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=2 * PATIENCE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written, dropped, total = map(int, done.stdout.split())
    assert written + dropped == total
    assert len(stored(tmp_path)) == written
    assert written > 200


def test_a_full_disk_shows_for_as_long_as_it_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store that opens and takes nothing is not open: an empty transaction needs no room."""
    caplog.set_level(logging.INFO)
    counts = Counts()
    with small_disk(tmp_path / "state") as state, recording(state, counts) as recorder:
        recorder.record(denied())
        wait_for(lambda: counts.written == 1)
        fill(state)
        recorder.record(denied(path="/" + "x" * 2000))
        wait_for(lambda: recorder.losing)
        for lost in range(2, 32):  # some three seconds, in which the store is tried several times
            recorder.record(denied(path="/" + "x" * 2000))
            wait_for(lambda lost=lost: counts.dropped["store"] == lost)  # type: ignore[misc]
            assert recorder.losing == "records are being lost"
        assert caplog.text.count("the record store is open") == 1
        assert caplog.text.count("records are being lost") == 1
        free(state)
        wait_for(lambda: recorder.losing is None)


def test_a_blocked_stdout_costs_its_lines_and_nothing_else(tmp_path: Path) -> None:
    counts = Counts()
    reader, writer = os.pipe()
    recorder = Recorder("sqlite", tmp_path, counts, retention=MONTH, stdout=writer, capacity=1000)
    recorder.start()
    for number in range(4000):
        recorder.record(denied())  # would never return, if it waited for the reader
        if number % 500 == 0:
            wait_for(lambda: len(recorder) < 500)
    wait_for(lambda: counts.written == 4000)
    assert counts.dropped["stdout"] > 0
    assert "store" not in counts.dropped
    os.close(reader)  # lets the thread go
    recorder.close(5)
    os.close(writer)


def test_a_closed_stdout_is_counted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counts = Counts()
    reader, writer = os.pipe()
    os.close(reader)
    with recording(tmp_path, counts, stdout=writer) as recorder:
        for _ in range(5):
            recorder.record(denied())
            wait_for(lambda: sum(counts.dropped.values()) > 0)
        wait_for(lambda: counts.dropped == {"stdout": 5} and counts.written == 5)
    assert caplog.text.count("standard output takes no events") == 1
    os.close(writer)


def test_a_record_that_the_database_refuses_is_dropped_alone(tmp_path: Path) -> None:
    counts = Counts()
    bad = denied()
    bad.port = 2**70  # no column holds it
    with recording(tmp_path, counts) as recorder:
        for event in (denied(), bad, denied()):
            recorder.record(event)
        wait_for(lambda: counts.written == 2)
    assert counts.dropped == {"store": 1}
    assert len(stored(tmp_path)) == 2


def test_a_file_locked_by_another_process_delays_and_loses_nothing(tmp_path: Path) -> None:
    counts = Counts()
    with recording(tmp_path, counts) as recorder:
        recorder.record(denied())
        wait_for(lambda: counts.written == 1)
        other = sqlite3.connect(tmp_path / "records.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(50):
            recorder.record(denied())
        wait_for(lambda: any((tmp_path / "spill").glob("*.jsonl")))
        other.execute("COMMIT")
        other.close()
        wait_for(lambda: counts.written == 51)
    assert len(stored(tmp_path)) == 51


def test_a_store_that_is_away_shows_until_it_is_back(tmp_path: Path) -> None:
    """On the ops port: it costs nothing yet, and somebody must know before the disk is full."""
    store = tmp_path / "records.sqlite"
    store.write_bytes(b"not a database" * 1000)
    config = tmp_path / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: {tmp_path}}}\n"
        "groups: {acme: {allow: [a.example]}}\nclients: [{group: acme, anyone: true}]\n"
    )
    served = Served(config)
    try:
        served.connect("refused.example")[0].close()
        wait_for(lambda: served.metric("outward_records_spilled_bytes"))
        assert served.metric("outward_record_store_up") == 0
        assert "store is away" in served.readiness()["checks"]["store"]
        assert served.readiness()["ready"]
        store.unlink()
        wait_for(lambda: served.metric("outward_record_store_up") == 1)
        wait_for(lambda: served.metric("outward_records_spilled_bytes") == 0)
        assert served.readiness()["checks"]["store"] == "ok"
    finally:
        served.end()


def test_what_is_under_way_can_still_be_audited_when_searches_are_no_longer_let_through(tmp_path: Path) -> None:
    """The database is away and the spill fills up: it is said before the first audit event would be lost."""
    counts, switch = Counts(), Switchable()
    switch.away = True
    sent = 0
    with recording(tmp_path, counts, connect=switch, spill_bytes=1 << 20) as recorder:
        while not recorder.unaudited:
            recorder.audit(act(f"chat-{sent}", author_class="Administrator", details={"why": "x" * 2000}))
            sent += 1
            wait_for(lambda: len(recorder) < 10)
            assert sent < 1000
        assert counts.dropped == {}
        recorder.audit(act("under way", author_class="Administrator"))
        switch.away = False
        wait_for(lambda: not recorder.unaudited)
    assert counts.dropped == {}
    assert audited(tmp_path) == sent + 1


def test_traffic_does_not_keep_from_noticing_that_the_disk_has_room_again(tmp_path: Path) -> None:
    """Searches are denied until then."""
    counts, switch = Counts(), Switchable()
    switch.away = True
    spill = tmp_path / "spill"
    spill.write_text("in the way")
    with recording(tmp_path, counts, connect=switch) as recorder:
        recorder.audit(act())
        wait_for(lambda: recorder.unaudited)
        assert counts.dropped == {"audit": 1}
        spill.unlink()
        busy = threading.Event()

        def hammer() -> None:
            while not busy.wait(0.005):
                recorder.record(denied())

        client = threading.Thread(target=hammer)
        client.start()
        try:
            wait_for(lambda: not recorder.unaudited)
        finally:
            busy.set()
            client.join()

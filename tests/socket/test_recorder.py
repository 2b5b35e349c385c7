"""The recorder: whatever happens to process, disk, database or reader, nothing is lost without being counted."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.full_disk import fill, free, small_disk
from harness.records import Counts, denied, stored, wait_until
from outward.records.database import Database, StoreAwayError, open_database
from outward.records.events import Event, as_record, line
from outward.records.recorder import Recorder
from outward.records.spill import Spill, SpillFullError

MONTH = 30 * 86_400.0


@contextmanager
def recording(state: Path, counts: Counts, **options: object) -> Iterator[Recorder]:
    recorder = Recorder("sqlite", state, counts, **{"retention": MONTH, **options})  # type: ignore[arg-type]
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close(10)


class Switchable:
    """Opens real databases, or fails like one that is away; may also hang."""

    def __init__(self) -> None:
        self.away = False
        self.hang = threading.Event()
        self.hang.set()

    def __call__(self, url: str, state: Path) -> Database:
        self.hang.wait(20)
        if self.away:
            raise StoreAwayError("switched off")
        return open_database(url, state)


def test_an_event_is_on_stdout_and_in_the_store_within_a_second(tmp_path: Path) -> None:
    """Other programs look for a decision's line right after the answer; a blocked row is listed within a second."""
    reader, writer = os.pipe()
    with recording(tmp_path, Counts(), stdout=writer) as recorder:
        recorder.record(denied("warm.example"))
        assert b"warm.example" in os.read(reader, 65536)
        event, started = denied(), time.monotonic()
        recorder.record(event)
        assert json.loads(os.read(reader, 65536))["id"] == event.id
        assert time.monotonic() - started < 0.5  # 20 ms on an idle machine
        wait_until(lambda: event.id in stored(tmp_path), 1.0)
    os.close(reader)
    os.close(writer)


def test_closing_flushes_what_was_recorded(tmp_path: Path) -> None:
    counts, events = Counts(), [denied() for _ in range(5000)]
    with recording(tmp_path, counts) as recorder:
        for event in events:
            recorder.record(event)
    assert stored(tmp_path) == [event.id for event in events]
    assert (counts.written, counts.dropped) == (5000, {})


def test_recording_from_many_threads_loses_nothing(tmp_path: Path) -> None:
    counts = Counts()
    with recording(tmp_path, counts) as recorder:
        threads = [threading.Thread(target=lambda: [recorder.record(denied()) for _ in range(1000)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts.written == 8000
    assert len(stored(tmp_path)) == 8000


CHILD = """
import sys, time
from pathlib import Path
from outward.core.reasons import Reason
from outward.ops.metrics import Metrics
from outward.records.events import Event
from outward.records.recorder import Recorder
recorder = Recorder("sqlite", Path(sys.argv[1]), Metrics(), retention=1e6)
recorder.start()
while True:
    event = Event(group="acme", host="blocked.example", reason=Reason.NO_RULE)
    recorder.record(event)
    sys.stdout.write(f"{time.monotonic()} {event.id}\\n")
    sys.stdout.flush()
    time.sleep(0.0005)
"""


@pytest.mark.parametrize("database", ["at hand", "away"])
def test_killing_the_process_loses_at_most_the_last_second(tmp_path: Path, database: str) -> None:
    """Every denial that a client was told of more than a second before `kill -9` is in the store, or replayed to it."""
    if database == "away":
        (tmp_path / "records.sqlite").mkdir()  # cannot be opened: everything goes to the spill
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told: list[tuple[float, str]] = []
    while len(told) < 2 or told[-1][0] - told[0][0] < 2.5:
        moment, ident = child.stdout.readline().split()
        told.append((float(moment), ident))
    killed = time.monotonic()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    if database == "away":
        (tmp_path / "records.sqlite").rmdir()
    with recording(tmp_path, Counts()):  # the successor replays what the spill holds
        wait_until(lambda: len(stored(tmp_path)) > 100)
    kept = set(stored(tmp_path))
    due = [ident for moment, ident in told if moment < killed - 1.0]
    assert len(due) > 100
    assert [ident for ident in due if ident not in kept] == []


def test_what_is_recorded_while_the_store_is_away_is_replayed_in_order(tmp_path: Path) -> None:
    counts, switch = Counts(), Switchable()
    switch.away = True
    events = [denied() for _ in range(3000)]
    with recording(tmp_path, counts, connect=switch) as recorder:
        for event in events[:2000]:
            recorder.record(event)
        wait_until(lambda: any((tmp_path / "spill").glob("*")))
        assert recorder.problem is None
        assert stored(tmp_path) == []
        switch.away = False
        for event in events[2000:]:
            recorder.record(event)
        wait_until(lambda: counts.written == 3000)
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
                wait_until(lambda: len(recorder) <= 100)  # the disk keeps up, the database does not
        assert counts.written == 0
        switch.hang.set()
        wait_until(lambda: counts.written == 5000)
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
        wait_until(lambda: counts.written == 1)
        state.rename(tmp_path / "gone")
        state.write_text("in the way")
        for _ in range(10):
            recorder.record(denied())
        wait_until(lambda: counts.dropped.get("store") == 10)
        assert recorder.problem
        assert "records are being lost" in caplog.text
        state.unlink()
        (tmp_path / "gone").rename(state)
        wait_until(lambda: recorder.problem is None)
        recorder.record(denied())
        wait_until(lambda: counts.written == 2)


def test_a_removed_database_file_is_noticed_and_made_anew(tmp_path: Path) -> None:
    """Writing on into a file that nobody can read any more would be a silent loss."""
    counts = Counts()
    with recording(tmp_path, counts) as recorder:
        recorder.record(denied())
        wait_until(lambda: counts.written == 1)
        for path in tmp_path.glob("records.sqlite*"):
            path.unlink()
        late = denied()
        recorder.record(late)
        wait_until(lambda: stored(tmp_path) == [late.id])


FULL_DISK = """
import resource, sys
from pathlib import Path
from harness.records import Counts, denied, wait_until
from outward.records.recorder import Recorder
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
state, counts = Path(sys.argv[1]), Counts()
recorder = Recorder("sqlite", state, counts, retention=1e6)
recorder.start()
recorder.record(denied())
wait_until(lambda: counts.written == 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
total = 1
while not counts.dropped:
    for _ in range(200):
        recorder.record(denied(path="/" + "x" * 1000))
        total += 1
    wait_until(lambda: len(recorder) == 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
wait_until(lambda: counts.written + counts.dropped["store"] == total, 20)
wait_until(lambda: recorder.problem is None)
recorder.close(10)
print(counts.written, counts.dropped["store"], total)
"""


def test_on_a_full_disk_every_event_is_kept_or_counted_and_space_mends_it(tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: writes fail half way through."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=50,
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
        wait_until(lambda: counts.written == 1)
        fill(state)
        recorder.record(denied(path="/" + "x" * 2000))
        wait_until(lambda: recorder.problem)
        for lost in range(2, 32):  # some three seconds, in which the store is tried several times
            recorder.record(denied(path="/" + "x" * 2000))
            wait_until(lambda lost=lost: counts.dropped["store"] == lost)  # type: ignore[misc]
            assert recorder.problem == "records are being lost"
        assert caplog.text.count("the record store is open") == 1
        assert caplog.text.count("records are being lost") == 1
        free(state)
        wait_until(lambda: recorder.problem is None, 20)


def test_a_blocked_stdout_costs_its_lines_and_nothing_else(tmp_path: Path) -> None:
    counts = Counts()
    reader, writer = os.pipe()
    recorder = Recorder("sqlite", tmp_path, counts, retention=MONTH, stdout=writer, capacity=1000)
    recorder.start()
    slowest = 0.0
    for number in range(4000):
        started = time.perf_counter()
        recorder.record(denied())
        slowest = max(slowest, time.perf_counter() - started)
        if number % 500 == 0:
            wait_until(lambda: len(recorder) < 500)
    wait_until(lambda: counts.written == 4000)
    assert counts.dropped["stdout"] > 0
    assert "store" not in counts.dropped
    assert slowest < 0.25  # the machine's own hiccups, not a wait for the reader
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
            wait_until(lambda: sum(counts.dropped.values()) > 0)
        wait_until(lambda: counts.dropped == {"stdout": 5} and counts.written == 5)
    assert caplog.text.count("standard output takes no events") == 1
    os.close(writer)


def test_a_record_that_the_database_refuses_is_dropped_alone(tmp_path: Path) -> None:
    counts = Counts()
    bad = denied()
    bad.port = 2**70  # no column holds it
    with recording(tmp_path, counts) as recorder:
        for event in (denied(), bad, denied()):
            recorder.record(event)
        wait_until(lambda: counts.written == 2)
    assert counts.dropped == {"store": 1}
    assert len(stored(tmp_path)) == 2


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    first, second = Counts(), Counts()
    with recording(tmp_path, first) as one, recording(tmp_path, second) as two:
        for _ in range(2000):
            one.record(denied())
            two.record(denied())
        wait_until(lambda: first.written + second.written == 4000, 20)
    assert len(stored(tmp_path)) == 4000
    assert (first.dropped, second.dropped) == ({}, {})


def test_a_file_locked_by_another_process_delays_and_loses_nothing(tmp_path: Path) -> None:
    counts = Counts()
    with recording(tmp_path, counts) as recorder:
        recorder.record(denied())
        wait_until(lambda: counts.written == 1)
        other = sqlite3.connect(tmp_path / "records.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(50):
            recorder.record(denied())
        wait_until(lambda: any((tmp_path / "spill").glob("*.jsonl")))
        other.execute("COMMIT")
        other.close()
        wait_until(lambda: counts.written == 51)
    assert len(stored(tmp_path)) == 51


def test_old_events_are_deleted_in_batches_and_their_totals_with_them(tmp_path: Path) -> None:
    old = [denied(id=f"{number:012x}{'0' * 20}", time=number / 1000) for number in range(2500)]
    counts = Counts()
    with recording(tmp_path, counts) as recorder:
        for event in old:
            recorder.record(event)
        wait_until(lambda: counts.written == 2500)
    with recording(tmp_path, Counts()) as recorder:
        recorder.record(keep := denied("kept.example"))
        wait_until(lambda: stored(tmp_path) == [keep.id])
    connection = sqlite3.connect(tmp_path / "records.sqlite")
    assert connection.execute("SELECT host FROM blocked_sums").fetchall() == [("kept.example",)]
    connection.close()


def test_a_store_at_its_bound_gives_up_its_oldest_events(tmp_path: Path) -> None:
    counts = Counts()
    events = [denied(path="/" + "x" * 900) for _ in range(4000)]
    with recording(tmp_path, counts) as recorder:
        for event in events:
            recorder.record(event)
    with recording(tmp_path, Counts(), max_bytes=3 << 20):
        wait_until(lambda: 0 < len(stored(tmp_path)) <= 2000)
    assert stored(tmp_path)[-1] == events[-1].id


@pytest.mark.parametrize("cut", [1, 40])
def test_a_half_written_line_of_a_killed_process_is_left_out(tmp_path: Path, cut: int) -> None:
    lines = [line(as_record(denied())) for _ in range(3)]
    (tmp_path / "spill").mkdir()
    (tmp_path / "spill" / "spill-1.jsonl").write_bytes(b"".join(lines)[:-cut])
    with recording(tmp_path, counts := Counts()):
        wait_until(lambda: counts.written == 2)
    assert stored(tmp_path) == [json.loads(each)["id"] for each in lines[:2]]


def test_a_damaged_line_in_the_middle_is_counted_and_the_rest_replayed(tmp_path: Path) -> None:
    lines = [line(as_record(denied())), b"{not json\n", line(as_record(denied()))]
    (tmp_path / "spill").mkdir()
    (tmp_path / "spill" / "spill-1.jsonl").write_bytes(b"".join(lines))
    with recording(tmp_path, counts := Counts()):
        wait_until(lambda: counts.written == 2)
    assert counts.dropped == {"store": 1}


def test_replaying_what_was_written_before_a_crash_writes_and_counts_it_once(tmp_path: Path) -> None:
    events = [denied() for _ in range(10)]
    with recording(tmp_path, counts := Counts()) as recorder:
        for event in events:
            recorder.record(event)
        wait_until(lambda: counts.written == 10)
    (tmp_path / "spill").mkdir(exist_ok=True)
    (tmp_path / "spill" / "spill-1.jsonl").write_bytes(b"".join(line(as_record(event)) for event in events))
    with recording(tmp_path, Counts()):
        wait_until(lambda: not any((tmp_path / "spill").iterdir()))
    connection = sqlite3.connect(tmp_path / "records.sqlite")
    assert connection.execute("SELECT count FROM blocked_sums").fetchall() == [(10,)]
    assert len(stored(tmp_path)) == 10
    connection.close()


def test_the_spill_is_bounded_and_ordered_over_segments(tmp_path: Path) -> None:
    spill = Spill(tmp_path, max_bytes=1000, segment_bytes=100)
    for number in range(90):
        spill.append([b"%09d\n" % number])
    with pytest.raises(SpillFullError):
        spill.append([b"x" * 200])
    taken = []
    while lines := spill.peek(35):
        taken += lines
        spill.take(sum(map(len, lines)))
    assert taken == [b"%09d\n" % number for number in range(90)]
    assert not spill
    assert list(tmp_path.iterdir()) == []


def test_a_living_process_keeps_its_segments_to_itself(tmp_path: Path) -> None:
    mine = Spill(tmp_path)
    mine.append([b"mine\n"])
    other = Spill(tmp_path)
    assert other.peek(100) == []
    mine.close()
    other.adopt()
    assert other.peek(100) == [b"mine\n"]


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with recording(state, counts := Counts()) as recorder:
        recorder.record(denied())
        wait_until(lambda: counts.written == 1)
        Spill(state / "spill").append([b"x\n"])
        modes = {path.name: path.stat().st_mode & 0o777 for path in state.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o600}, modes
    assert state.stat().st_mode & 0o777 == 0o700


def rate_of(work: Callable[[Event], None]) -> float:
    events = [denied() for _ in range(5000)]
    started = time.thread_time()
    for event in events:
        work(event)
    return (time.thread_time() - started) / len(events)


def test_recording_costs_the_data_path_microseconds(tmp_path: Path) -> None:
    """CPU time of the calling thread, with a bound ten times what was measured."""
    with recording(tmp_path, Counts()) as recorder:
        assert rate_of(recorder.record) < 30e-6


def test_what_is_recorded_after_closing_is_counted_as_lost(tmp_path: Path) -> None:
    with recording(tmp_path, counts := Counts()) as recorder:
        pass
    recorder.record(denied())
    assert counts.dropped == {"store": 1}

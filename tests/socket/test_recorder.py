"""The recorder: whatever happens to process, disk, database or reader, nothing is lost without being counted."""

import gc
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.records import Counts, denied, recording, stored
from harness.waiting import wait_for
from outward.records.events.spill import Spill
from outward.records.events.values import Event


def test_an_event_is_on_stdout_by_itself_and_in_the_store(tmp_path: Path) -> None:
    """Other programs look for a decision's line right after the answer: nothing has to follow it."""
    reader, writer = os.pipe()
    with recording(tmp_path, Counts(), stdout=writer) as recorder:
        recorder.record(denied("warm.example"))
        assert b"warm.example" in os.read(reader, 65536)
        recorder.record(event := denied())
        assert json.loads(os.read(reader, 65536))["id"] == event.id
        wait_for(lambda: event.id in stored(tmp_path))
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
from outward.records.events.values import Event
from outward.records.events.recorder import Recorder
recorder = Recorder("sqlite", Path(sys.argv[1]), Metrics(), retention=1e6)
recorder.start()
while True:
    event = Event(group="acme", host="blocked.example", reason=Reason.NO_RULE, client=str(time.monotonic()))
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
    while len(told) < 1000 or told[-1][0] - told[0][0] < 2.5:
        moment, ident = child.stdout.readline().split()
        told.append((float(moment), ident))
    killed = time.monotonic()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    if database == "away":
        (tmp_path / "records.sqlite").rmdir()
    with recording(tmp_path, Counts()):  # the successor replays what the spill holds
        wait_for(lambda: len(stored(tmp_path)) > 100)
    kept = set(stored(tmp_path))
    stalled = max(after - before for (before, _), (after, _) in itertools.pairwise(told))  # the whole of the child
    due = [ident for moment, ident in told if moment < killed - 1.0 - stalled]
    assert len(due) > 100
    assert [ident for ident in due if ident not in kept] == []


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    first, second = Counts(), Counts()
    with recording(tmp_path, first) as one, recording(tmp_path, second) as two:
        for _ in range(2000):
            one.record(denied())
            two.record(denied())
        wait_for(lambda: first.written + second.written == 4000)
    assert len(stored(tmp_path)) == 4000
    assert (first.dropped, second.dropped) == ({}, {})


def test_old_events_are_deleted_in_batches_and_their_totals_with_them(tmp_path: Path) -> None:
    old = [denied(id=f"{number:012x}{'0' * 20}", time=number / 1000) for number in range(2500)]
    keep, counts = denied("kept.example"), Counts()
    with recording(tmp_path, counts, retention=1e12) as recorder:
        for event in [*old, keep]:
            recorder.record(event)
        wait_for(lambda: counts.written == 2501)
    with recording(tmp_path, counts):
        wait_for(lambda: stored(tmp_path) == [keep.id])
    assert counts.pruned == {("age", "all"): 2500}
    connection = sqlite3.connect(tmp_path / "records.sqlite")
    assert connection.execute("SELECT host FROM blocked_sums").fetchall() == [("kept.example",)]
    connection.close()


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with recording(state, counts := Counts()) as recorder:
        recorder.record(denied())
        wait_for(lambda: counts.written == 1)
        Spill(state / "spill").append([b"x\n"])
        modes = {path.name: path.stat().st_mode & 0o777 for path in state.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o600}, modes
    assert state.stat().st_mode & 0o777 == 0o700


def rate_of(work: Callable[[Event], None]) -> float:
    events = [denied() for _ in range(5000)]
    gc.disable()  # it would go through pytest's millions of objects
    try:
        started = time.thread_time()
        for event in events:
            work(event)
        return (time.thread_time() - started) / len(events)
    finally:
        gc.enable()


def test_recording_costs_the_data_path_microseconds(tmp_path: Path) -> None:
    """CPU time of the calling thread, with a bound ten times what was measured."""
    with recording(tmp_path, Counts()) as recorder:
        assert rate_of(recorder.record) < 30e-6


def test_what_is_recorded_after_closing_is_counted_as_lost(tmp_path: Path) -> None:
    with recording(tmp_path, counts := Counts()) as recorder:
        pass
    recorder.record(denied())
    assert counts.dropped == {"store": 1}

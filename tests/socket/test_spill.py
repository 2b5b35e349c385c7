"""The spill: what a killed process left behind is replayed whole, once and in order; half-written lines are not."""

import json
import sqlite3
from pathlib import Path

import pytest

from harness.records import Counts, denied, recording, stored
from harness.waiting import wait_for
from outward.records.events.spill import Spill, SpillFullError
from outward.records.events.values import as_record, line


@pytest.mark.parametrize("cut", [1, 40])
def test_a_half_written_line_of_a_killed_process_is_left_out(tmp_path: Path, cut: int) -> None:
    lines = [line(as_record(denied())) for _ in range(3)]
    (tmp_path / "spill").mkdir()
    (tmp_path / "spill" / "spill-1.jsonl").write_bytes(b"".join(lines)[:-cut])
    with recording(tmp_path, counts := Counts()):
        wait_for(lambda: counts.written == 2)
    assert stored(tmp_path) == [json.loads(each)["id"] for each in lines[:2]]


def test_a_damaged_line_in_the_middle_is_counted_and_the_rest_replayed(tmp_path: Path) -> None:
    lines = [line(as_record(denied())), b"{not json\n", line(as_record(denied()))]
    (tmp_path / "spill").mkdir()
    (tmp_path / "spill" / "spill-1.jsonl").write_bytes(b"".join(lines))
    with recording(tmp_path, counts := Counts()):
        wait_for(lambda: counts.written == 2)
    assert counts.dropped == {"store": 1}


def test_replaying_what_was_written_before_a_crash_writes_and_counts_it_once(tmp_path: Path) -> None:
    events = [denied() for _ in range(10)]
    with recording(tmp_path, counts := Counts()) as recorder:
        for event in events:
            recorder.record(event)
        wait_for(lambda: counts.written == 10)
    (tmp_path / "spill").mkdir(exist_ok=True)
    (tmp_path / "spill" / "spill-1.jsonl").write_bytes(b"".join(line(as_record(event)) for event in events))
    with recording(tmp_path, Counts()):
        wait_for(lambda: not any((tmp_path / "spill").iterdir()))
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

"""Repeats of a denial, on the wire and in the store: one id, one row, and nobody's flood takes another's rows."""

import itertools
import logging
import signal
import socket
import sqlite3
import ssl
from pathlib import Path

import pytest

from harness.gates import connect, decision_id, request
from harness.process import Served
from harness.records import Counts, denied, recording
from harness.waiting import PATIENCE, wait_for
from outward.core.reasons import Reason
from outward.records.events.folds import WINDOW

POLICY = """
version: 1
server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{state}'}}
groups:
  acme: {{lane: inspect, allow: [{{host: read.example, paths: [/public/**]}}]}}
clients:
  - {{group: acme, source: 127.1.0.0/16}}
"""
BEFORE = WINDOW / 2  # seconds, in which no fold ends, and the machine may be busy
_CHATS = itertools.count()


@pytest.fixture
def served(tmp_path: Path):
    config = tmp_path / "outward.yaml"
    config.write_text(POLICY.format(state=tmp_path / "state"))
    running = Served(config)
    yield running
    running.end()


def rows(state: Path) -> dict[str, int]:
    """Return the attempts that each row of the store counts."""
    with sqlite3.connect(f"{(state / 'records.sqlite').as_uri()}?mode=ro", uri=True) as store:
        return dict(store.execute("SELECT id, count FROM events"))


def ask(served: Served, said: bytes, source: str = "127.1.0.1") -> str:
    """Say something, and return the id of the denial."""
    with socket.create_connection(served.proxy, PATIENCE, (source, 0)) as sock:
        sock.sendall(said)
        return decision_id(read(sock))


def read(sock: socket.socket) -> bytes:
    got = b""
    while data := sock.recv(65536):
        got += data
    return got


def ask_inside(served: Served, state: Path) -> str:
    """Ask for a path inside TLS that no rule allows."""
    trust = ssl.create_default_context(cafile=str(state / "ca.pem"))
    with socket.create_connection(served.proxy, PATIENCE, ("127.1.0.1", 0)) as sock:
        sock.sendall(connect("read.example"))
        assert b" 200 " in sock.recv(4096)
        with trust.wrap_socket(sock, server_hostname="read.example") as inner:
            inner.sendall(request("GET /secret HTTP/1.1", "Host: read.example", "Connection: close"))
            return decision_id(read(inner))


@pytest.mark.parametrize("lane", ["plain", "connect", "inspected"])
def test_two_like_denials_have_one_id_and_one_row(served: Served, tmp_path: Path, lane: str) -> None:
    state = tmp_path / "state"

    def once() -> str:
        if lane == "inspected":
            return ask_inside(served, state)
        plain = request("GET http://blocked.example/ HTTP/1.1", "Host: blocked.example")
        return ask(served, plain if lane == "plain" else connect("blocked.example", 22))

    first, again = once(), once()
    assert first
    assert again == first
    wait_for(lambda: rows(state) == {first: 2}, BEFORE)
    served.signal(signal.SIGTERM)
    assert served.wait() == 0
    lines = served.events
    assert [each["id"] for each in lines if "id" in each] == [first]
    assert sum(each["count"] for each in lines) == 2


def test_a_kill_takes_no_more_of_open_folds_than_the_last_moment(served: Served, tmp_path: Path) -> None:
    """Repeats that are older than that are in the store, although their fold goes on."""
    state = tmp_path / "state"
    told = {ask(served, connect(f"h{number}.example", 22)): number + 2 for number in range(5)}
    for number in range(5):
        for _ in range(number + 1):
            ask(served, connect(f"h{number}.example", 22))
    wait_for(lambda: rows(state) == told, BEFORE)
    late = [ask(served, connect("h0.example", 22)) for _ in range(50)]
    served.signal(signal.SIGKILL)
    served.wait()
    kept = rows(state)
    assert set(kept) == set(told)
    assert all(told[ident] <= kept[ident] <= told[ident] + late.count(ident) for ident in told)


def stranger(host: str) -> dict[str, object]:
    return {"host": host, "group": None, "client": f"2001:db8::{next(_CHATS):x}", "reason": Reason.UNKNOWN_CLIENT}


def of_groups(state: Path) -> dict[str, int]:
    """Return how many rows each group has; "" is strangers'."""
    with sqlite3.connect(f"{(state / 'records.sqlite').as_uri()}?mode=ro", uri=True) as store:
        return dict(store.execute("SELECT COALESCE(group_path, ''), COUNT(*) FROM events GROUP BY 1"))


def taken(state: Path) -> int:
    with sqlite3.connect(f"{(state / 'records.sqlite').as_uri()}?mode=ro", uri=True) as store:
        return store.execute("SELECT SUM(bytes) FROM event_sizes").fetchone()[0] or 0


def fits(state: Path, counts: Counts, sent: int, bound: int) -> bool:
    return counts.written >= sent and taken(state) <= bound


def test_a_groups_flood_takes_no_row_of_another_group(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bound, flood = 1 << 20, 6000
    with caplog.at_level(logging.WARNING), recording(tmp_path, counts := Counts(), max_bytes=bound) as recorder:
        recorder.record(mine := denied(group="quiet"))
        wait_for(lambda: counts.written == 1)
        for _ in range(flood):
            recorder.record(denied(group="loud"))
        wait_for(lambda: fits(tmp_path, counts, flood + 1, bound))
    left = of_groups(tmp_path)
    assert left["quiet"] == 1
    assert mine.id in rows(tmp_path)
    assert counts.pruned == {("size", "groups"): flood - left["loud"]}
    assert counts.dropped == {}
    assert "of groups; the summary keeps their counts" in caplog.text


def test_strangers_go_first_and_are_bounded_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bound = 1 << 20
    with caplog.at_level(logging.WARNING), recording(tmp_path, counts := Counts(), max_bytes=bound) as recorder:
        recorder.record(first := denied(group="quiet"))
        wait_for(lambda: counts.written == 1)
        size = taken(tmp_path)
        mine = [first, *(denied(group="quiet") for _ in range(bound * 7 // 10 // size))]  # more than strangers take
        flood = bound * 4 // 10 // size
        for event in mine[1:]:
            recorder.record(event)
        for number in range(flood):
            recorder.record(denied(**stranger(f"h{number}.example")))
        wait_for(lambda: fits(tmp_path, counts, flood + len(mine), bound) and of_groups(tmp_path)[""] < flood)
    left = of_groups(tmp_path)
    assert left["quiet"] == len(mine)
    assert {event.id for event in mine} <= set(rows(tmp_path))
    assert counts.pruned == {("size", "strangers"): flood - left[""]}
    assert "of strangers; the summary keeps their counts" in caplog.text


def test_a_file_shrinks_after_a_prune(tmp_path: Path) -> None:
    with recording(tmp_path, counts := Counts()) as recorder:
        for _ in range(8000):
            recorder.record(denied(path="/" + "x" * 500))
        wait_for(lambda: counts.written == 8000)
    file = tmp_path / "records.sqlite"
    grown = file.stat().st_size
    with recording(tmp_path, Counts(), max_bytes=1 << 20) as recorder:
        recorder.record(denied())
        wait_for(lambda: taken(tmp_path) <= 1 << 20 and file.stat().st_size < grown // 3)

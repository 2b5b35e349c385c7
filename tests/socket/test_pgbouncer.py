"""Behind pgbouncer in transaction mode, where no session lasts: events, audit and settings are stored and followed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.fleet import TOKEN, call, fleet
from harness.pgbouncer import PROGRAM, pgbouncer
from harness.postgres import Server
from harness.process import Served
from harness.records import Counts, denied
from harness.waiting import wait_for
from outward.records.audit.verify import verify
from outward.records.database import open_database
from outward.records.events import query
from outward.records.events.query import Filters
from outward.records.events.recorder import Recorder

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed: apt-get install pgbouncer")

MONTH = 30 * 86_400.0


@pytest.fixture
def pooled(server: Server) -> Iterator[str]:
    """The URL of a pooler, before a server with nothing in it."""
    with pgbouncer(server) as url:
        yield url


def test_three_recorders_lose_nothing_and_prune(pooled: str, tmp_path: Path) -> None:
    """They write side by side, over fewer connections than there are clients, and hold one small bound."""
    counts = [Counts() for _ in range(3)]
    recorders = [
        Recorder(pooled, tmp_path / str(each), counts[each], retention=MONTH, max_bytes=200_000) for each in range(3)
    ]
    for recorder in recorders:
        recorder.start()
    for number in range(1000):
        for recorder in recorders:
            recorder.record(denied(f"h{number % 7}.example"))
    wait_for(lambda: sum(each.written for each in counts) == 3000)
    reader = open_database(pooled, tmp_path)
    wait_for(lambda: reader.execute("SELECT SUM(bytes) FROM event_sizes")[0][0] <= 200_000)
    for recorder in recorders:
        recorder.close(10)
    assert sum(row.count for row in query.summary(reader, Filters(), 50)) == 3000
    assert all(each.dropped == {} for each in counts)
    assert not any(recorder.spilled for recorder in recorders)
    assert reader.by_day()
    left = reader.execute("SELECT COUNT(*) FROM events")[0][0]
    assert left + sum(sum(each.pruned.values()) for each in counts) == 3000
    reader.close()


def test_what_one_proxy_is_told_the_other_follows_and_all_of_it_is_audited(pooled: str, tmp_path: Path) -> None:
    with fleet(tmp_path, pooled, 2) as (first, second):
        for wanted in (True, False, True):
            assert call(first, "PUT", "/api/v1/groups/acme/web-search", {"enabled": wanted}) == 200
            wait_for(lambda wanted=wanted: _shows(second, wanted))  # type: ignore[misc]
        for each in (first, second):
            each.answer("blocked.example")
        reader = open_database(pooled, tmp_path)
        wait_for(lambda: reader.execute("SELECT COUNT(*) FROM events WHERE host = 'blocked.example'")[0][0] == 2)
        changed = reader.execute("SELECT COUNT(*) FROM audit_events WHERE body LIKE '%web_search_%'")[0][0]
        assert changed >= 3
        report = verify(reader, tmp_path / "proxy-0" / "state")
        assert report.ok, report.problems
        assert report.rows >= changed
        reader.close()
        for each in (first, second):
            assert "is away" not in each.log
            assert each.get("/readyz")[0] == 200


def _shows(proxy: Served, wanted: bool) -> bool:
    return f'"enabled": {str(wanted).lower()}' in proxy.get("/api/v1/groups", TOKEN)[1]

"""A client with its group's own token cannot fill the audit, nor push anything out with it."""

import sqlite3
import time
from pathlib import Path

import orjson

from harness import vendors
from harness.loops import on_loop, until
from harness.records import Counts, denied, recording, stored
from harness.searching import governed
from outward.core.model import OptIn, WebSearch
from outward.records.audit.values import AuditEvent, as_record
from outward.records.audit.verify import verify
from outward.records.database import open_database

LONG = [f"{'x' * 60}.{'y' * 60}.{'z' * 60}-{number}.example" for number in range(100)]
OFF = WebSearch(enabled=False, opt_in=OptIn.ASSUMED)
ASK = {
    "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "allowed_domains": LONG}],
}  # fmt: skip


def bodies(state: Path) -> list[bytes]:
    with sqlite3.connect(f"{(state / 'records.sqlite').as_uri()}?mode=ro", uri=True) as connection:
        return [row[0].encode() for row in connection.execute("SELECT body FROM audit_events ORDER BY seq")]


def attempts(state: Path) -> int:
    return sum(orjson.loads(body)["details"]["count"] for body in bodies(state))


@on_loop
async def test_searches_that_are_stripped_over_and_over_are_few_rows_with_the_exact_count(tmp_path: Path) -> None:
    began = time.monotonic()
    with recording(tmp_path, Counts()) as recorder:
        async with governed("api.anthropic.com", tmp_path, OFF, vendors.anthropic, recorder) as desk:
            async with desk.http() as http:
                for _ in range(60):
                    assert (await http.post(f"{desk.url}/v1/messages", json=ASK)).status_code == 200
            await until(lambda: len(desk.vendor.seen) == 60)
    assert attempts(tmp_path) == 60
    windows = 2 + (time.monotonic() - began) // 10
    assert len(bodies(tmp_path)) <= 2 * windows  # a row and a count for each window of ten seconds


def test_a_flood_fills_nothing_and_pushes_nothing_out_of_a_store_that_is_small(tmp_path: Path) -> None:
    details = {"request_domains": LONG, "effective_domains": LONG, "reason": "web_search_disabled"}
    with recording(tmp_path, Counts(), max_bytes=1 << 20) as recorder:
        real = [denied() for _ in range(50)]
        for event in real:
            recorder.record(event)
        for number in range(20_000):
            recorder.audit(
                AuditEvent(event_type="web_search_blocked", group="acme", target=f"c{number}", details=details)
            )
    assert set(stored(tmp_path)) == {event.id for event in real}
    rows = bodies(tmp_path)
    assert attempts(tmp_path) == 20_000
    assert sum(map(len, rows)) < 1 << 20
    database = open_database("sqlite", tmp_path, read_only=True)
    assert verify(database, tmp_path).ok
    database.close()


def test_the_largest_row_that_a_client_can_ask_for_is_small() -> None:
    lists = ("request_domains", "effective_domains", "blocked_domains", "queries", "sources", "citations")
    details = {name: ["x" * 5000] * 5000 for name in lists}
    record = as_record(AuditEvent(event_type="web_search_blocked", details=details))
    assert len(orjson.dumps(record)) < 40_000

"""Receipts of searches are bounded: each by itself, and all together, at the cost of the group that has most."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.records import MONTH, Counts
from outward.records.database import Database, migrate, open_database
from outward.records.events.keeper import Keeper
from outward.records.events.values import new_id
from outward.records.state import receipts

SOURCE = {"url": "https://example.org/" + "x" * 400, "title": "t" * 100}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database("sqlite", tmp_path)
    migrate(database)
    yield database
    database.close()


def write(database: Database, group: str, sources: int) -> None:
    receipt = {
        "conversation": f"chat of {group}", "group": group, "searches": 1, "queries": ["q"],
        "sources": [SOURCE] * sources, "citations": [], "incomplete": False,
    }  # fmt: skip
    with database.transaction():
        receipts.write(database, receipt, time.time(), new_id())


def test_one_receipt_is_bounded_and_says_so(database: Database) -> None:
    write(database, "a", 3)
    write(database, "a", 500)
    small, large = receipts.read(database, "chat of a")
    assert (len(small["sources"]), small["incomplete"]) == (3, False)
    assert (64 <= len(large["sources"]) < 500, large["incomplete"]) == (True, True)
    assert receipts.sizes(database)["a"] < 2 * receipts.MAX_BYTES


def test_a_group_that_floods_gives_up_its_own(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    counts = Counts()
    write(database, "quiet", 5)
    for _ in range(400):
        write(database, "loud", 100)
    keeper = Keeper(counts, MONTH, 8 << 20)
    now = 1000.0
    while (delay := keeper.tend(database, now)) < 1.0:
        now += delay
    taken = receipts.sizes(database)
    assert sum(taken.values()) <= 1 << 20
    assert taken["loud"] > 900_000
    assert len(receipts.read(database, "chat of quiet")) == 1
    assert counts.pruned["size", "receipts"] == 400 - len(receipts.read(database, "chat of loud"))
    assert "loud" in caplog.text

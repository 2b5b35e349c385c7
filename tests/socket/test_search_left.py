"""A client that leaves while its search is judged: nothing of it stays, and what was reserved for it is given back."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from harness import vendors
from harness.loops import on_loop, until
from harness.searching import Desk, governed
from harness.waiting import PATIENCE
from outward.core.model import OptIn, WebSearch
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.governor import Refuse
from outward.records.database import Database, migrate, open_database
from outward.records.state.search_counts import SearchCounts, SearchReservation, read

HOST = "api.anthropic.com"
ASK: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "q" * (64 << 10)}],  # is judged in a thread
    "tools": [{"type": "web_search_20250305", "name": "web_search"}],
}


def settings(most: int = 0) -> WebSearch:
    return WebSearch(enabled=True, opt_in=OptIn.ASSUMED, max_searches=5, per_day=(("dev", most),) if most else ())


def opening(state: Path) -> Database:
    database = open_database("sqlite", state)
    migrate(database)
    return database


def counting(state: Path, kind: type[SearchCounts] = SearchCounts) -> SearchCounts:
    counts = kind(lambda: opening(state))
    counts.start()
    return counts


def spent(state: Path) -> int:
    database = opening(state)
    try:
        day = database.execute("SELECT date('now')")[0][0]
        return sum(read(database, day).get("dev", {}).values())
    finally:
        database.close()


class Door:
    """Lets a thread in, and out when it is opened."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.go.wait(PATIENCE)


class Slow(SearchCounts):
    """Says what it has reserved when its door is opened."""

    door: Door

    def reserve(self, *args: Any) -> SearchReservation:
        grant = super().reserve(*args)
        self.door.pass_through()
        return grant


def held(desk: Desk, at: int) -> Door:
    """A door before a judgement, by its number."""
    governance, door, count = desk.world.engine.parts.governor._governance, Door(), 0  # type: ignore[union-attr]
    judge = governance.judge

    def judged(request: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            door.pass_through()
        return judge(request)

    governance.judge = judged
    return door


@pytest.mark.parametrize("most", [0, 5], ids=["unlimited", "limited"])
@on_loop
async def test_of_an_exchange_that_closed_while_it_was_judged_nothing_stays(tmp_path: Path, most: int) -> None:
    """Its connection may live on for as long as the client leaves unread what was sent to it."""
    counts, exchanges, answers = counting(tmp_path), list[Exchange](), list[Any]()
    async with governed(HOST, tmp_path, settings(most), vendors.anthropic, counts=counts) as desk, desk.http() as http:
        governor: Any = desk.world.engine.parts.governor
        door, on_request = held(desk, 1), governor.on_request

        async def noted(answer: Any) -> Any:
            answers.append(await answer)
            return answers[-1]

        def watched(exchange: Exchange, body: bytes) -> Any:
            exchanges.append(exchange)
            return noted(on_request(exchange, body))

        governor.on_request = watched
        asking = asyncio.create_task(http.post(f"{desk.url}/v1/messages", json=ASK))
        await until(door.entered.is_set)
        exchanges[0].close()
        door.go.set()
        await until(lambda: answers)
        assert governor._open == {}
        assert isinstance(answers[0], Refuse)
        assert desk.vendor.seen == []
        assert desk.told.audits == []
        await until(lambda: spent(tmp_path) == 0)
        asking.cancel()
    counts.close(5)


@on_loop
async def test_what_is_reserved_for_a_client_that_has_left_meanwhile_is_given_back(tmp_path: Path) -> None:
    counts = counting(tmp_path, Slow)
    assert isinstance(counts, Slow)
    counts.door = Door()
    async with governed(HOST, tmp_path, settings(5), vendors.anthropic, counts=counts) as desk, desk.http() as http:
        asking = asyncio.create_task(http.post(f"{desk.url}/v1/messages", json=ASK))
        await until(counts.door.entered.is_set)
        assert spent(tmp_path) == 5
        asking.cancel()
        await until(lambda: bool(desk.world.events))
        counts.door.go.set()
        await until(lambda: spent(tmp_path) == 0)
        assert desk.vendor.seen == []
    counts.close(5)


@on_loop
async def test_what_was_reserved_is_given_back_if_the_client_leaves_while_it_is_judged_anew(tmp_path: Path) -> None:
    """The day leaves less than it asked for, so that it is judged once more before it is sent."""
    counts = counting(tmp_path)
    assert counts.reserve("dev", "anthropic", (("dev", 2),), 1).searches == 1
    async with governed(HOST, tmp_path, settings(2), vendors.anthropic, counts=counts) as desk, desk.http() as http:
        door = held(desk, 2)
        asking = asyncio.create_task(http.post(f"{desk.url}/v1/messages", json=ASK))
        await until(door.entered.is_set)
        assert spent(tmp_path) == 2
        asking.cancel()
        await until(lambda: bool(desk.world.events))
        door.go.set()
        await until(lambda: spent(tmp_path) == 1)
        assert desk.vendor.seen == []
    counts.close(5)

"""`per_day`: no search is made that was not counted, and none beyond the limit, whichever proxy is asked."""

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness import vendors
from harness.late import anthropic
from harness.loops import on_loop, until
from harness.postgres import Server
from harness.searching import Desk, governed
from harness.waiting import PATIENCE
from outward.core.model import OptIn, Unfilterable, Verdict, WebSearch
from outward.core.reasons import Reason
from outward.records.database import Database, StoreAwayError, migrate, open_database
from outward.records.state.search_counts import SearchCounts, SearchReservation, day_of, read, within

HOST = "api.anthropic.com"
ASK: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}
SEARCH = [{"type": "web_search_20250305", "name": "web_search"}]
NOON = 1_796_040_000.0  # 2026-11-30
DAY = day_of(NOON)


def limited(*limits: tuple[str, int], most: int | None = 5) -> WebSearch:
    return WebSearch(enabled=True, opt_in=OptIn.ASSUMED, max_searches=most, per_day=limits)


@pytest.fixture
def connect(url: str, tmp_path: Path) -> Callable[[], Database]:
    """Opens one database with nothing in it."""
    return lambda: _migrated(tmp_path, url)


def counting(connect: Callable[[], Database]) -> SearchCounts:
    counts = SearchCounts(connect)
    counts.start()
    return counts


def spent_today(connect: Callable[[], Database]) -> dict[str, dict[str, int]]:
    database = connect()
    try:
        now = database.now()
        return read(database, day_of(now) if now else database.execute("SELECT date('now')")[0][0])
    finally:
        database.close()


async def ask(desk: Desk, http: Any, **more: Any) -> Any:
    return await http.post(f"{desk.url}/v1/messages", json={**ASK, "tools": SEARCH, **more})


@on_loop
async def test_a_group_searches_as_often_as_its_day_allows_and_is_told_why_not_more(
    connect: Callable[[], Database], tmp_path: Path
) -> None:
    counts = counting(connect)
    async with governed(HOST, tmp_path, limited(("dev", 2)), vendors.anthropic, counts=counts) as desk:
        async with desk.http() as http:
            client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http, max_retries=0)
            await client.messages.create(**ASK, tools=SEARCH)
            assert desk.body()["tools"][0]["max_uses"] == 2  # of the five that the group may make in a request
            await until(lambda: spent_today(connect) == {"dev": {"anthropic": 1}})
            await client.messages.create(**ASK, tools=SEARCH)
            assert desk.body()["tools"][0]["max_uses"] == 1
            await until(lambda: spent_today(connect) == {"dev": {"anthropic": 2}})
            with pytest.raises(anthropic.PermissionDeniedError, match="the 2 searches that dev may make") as refused:
                await client.messages.create(**ASK, tools=SEARCH)
            assert "00:00 UTC" in refused.value.message
            assert refused.value.body["reason"] == "web_search_spent"  # type: ignore[index]
            assert len(desk.vendor.seen) == 2
            await client.messages.create(**ASK)  # what searches nothing goes on
            metrics = desk.world.judge.metrics.render()[0].decode()  # type: ignore[attr-defined]
            assert 'outward_group_searches_total{group="dev",vendor="anthropic"} 2.0' in metrics
        (denial,) = (event for event in desk.world.events if event.verdict is Verdict.DENY)
        assert denial.reason is Reason.WEB_SEARCH_SPENT
        assert [each.event_type for each in desk.told.audits] == ["web_search_invoked"] * 2 + ["web_search_blocked"]
    counts.close(5)


@on_loop
async def test_two_proxies_on_one_database_make_no_search_too_many(server: Server, tmp_path: Path) -> None:
    def connect() -> Database:
        return _migrated(tmp_path, server.url)

    settings = limited(("dev", 7), most=1)
    both = [counting(connect), counting(connect)]
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    async with (
        governed(HOST, one, settings, vendors.anthropic, counts=both[0]) as first,
        governed(HOST, two, settings, vendors.anthropic, counts=both[1]) as second,
        first.http() as http_one,
        second.http() as http_two,
    ):
        asked = [ask(first, http_one) for _ in range(12)] + [ask(second, http_two) for _ in range(12)]
        answers = await asyncio.gather(*asked)
        searched = [each for each in (*first.vendor.seen, *second.vendor.seen) if json.loads(each.body).get("tools")]
        assert len(searched) == 7
        assert sorted(each.status_code for each in answers) == [200] * 7 + [403] * 17
        await until(lambda: spent_today(connect)["dev"] == {"anthropic": 7})
    for each in both:
        each.close(5)


@on_loop
async def test_what_cannot_be_counted_is_not_searched(tmp_path: Path) -> None:
    def away() -> Database:
        raise StoreAwayError("the database is down")

    for counts in (SearchCounts(away), None):
        settings = limited(("dev", 9))
        async with governed(HOST, tmp_path, settings, vendors.anthropic, counts=counts) as desk, desk.http() as http:
            answer = await ask(desk, http)
            assert answer.status_code == 503
            assert "cannot be counted" in answer.json()["error"]["message"]
            assert desk.vendor.seen == []
            assert (await http.post(f"{desk.url}/v1/messages", json=ASK)).status_code == 200


@on_loop
async def test_a_request_that_the_vendor_refuses_costs_nothing(connect: Callable[[], Database], tmp_path: Path) -> None:
    async def refusing(_seen: Any, _reader: Any, writer: Any) -> None:
        await vendors.reply(writer, 529, {"type": "error", "error": {"type": "overloaded_error", "message": "later"}})

    counts = counting(connect)
    async with governed(HOST, tmp_path, limited(("dev", 5)), refusing, counts=counts) as desk, desk.http() as http:
        for _ in range(3):
            assert (await ask(desk, http)).status_code == 529
            await until(lambda: spent_today(connect) == {})
    counts.close(5)


@on_loop
async def test_a_client_that_leaves_early_has_spent_what_it_asked_for(
    connect: Callable[[], Database], tmp_path: Path
) -> None:
    gone = asyncio.Event()

    async def slow(_seen: Any, reader: Any, _writer: Any) -> None:
        gone.set()
        await reader.read()

    counts = counting(connect)
    async with governed(HOST, tmp_path, limited(("dev", 5)), slow, counts=counts) as desk, desk.http() as http:
        asking = asyncio.create_task(ask(desk, http))
        await gone.wait()
        asking.cancel()
        await until(lambda: bool(desk.world.events))
        answer = await ask(desk, http)
        assert answer.json()["reason"] == "web_search_spent"
    counts.close(5)


@on_loop
async def test_a_request_with_several_limits_of_its_own_is_not_halved(tmp_path: Path) -> None:
    """Each of a batch's messages would be told all of what is left."""
    counts = SearchCounts(lambda: _migrated(tmp_path))
    batch = {"requests": [{"custom_id": str(each), "params": {**ASK, "tools": SEARCH}} for each in range(3)]}
    settings = limited(("dev", 8))
    async with governed(HOST, tmp_path, settings, vendors.anthropic, counts=counts) as desk, desk.http() as http:
        answer = await http.post(f"{desk.url}/v1/messages/batches", json=batch)
        assert answer.status_code == 403
        assert "15 times, and the day leaves 8" in answer.json()["error"]["message"]
    assert counts.reserve("dev", "anthropic", (("dev", 8),), 8).searches == 8  # nothing stayed reserved
    counts.close(0)


@on_loop
async def test_a_vendor_that_cannot_be_told_is_counted_by_what_it_shows(tmp_path: Path) -> None:
    """Brave's API: each request is a search."""
    settings = WebSearch(enabled=True, opt_in=OptIn.ASSUMED, unfilterable=Unfilterable.VERIFY, per_day=(("dev", 2),))

    async def results(_seen: Any, _reader: Any, writer: Any) -> None:
        await vendors.reply(writer, 200, {"web": {"results": [{"url": "https://docs.example.com/", "title": "d"}]}})

    counts = SearchCounts(lambda: _migrated(tmp_path))
    host = "api.search.brave.com"
    async with governed(host, tmp_path, settings, results, counts=counts) as desk, desk.http() as http:
        url = f"{desk.url}/res/v1/web/search?q=one"
        assert [(await http.get(url)).status_code for _ in range(3)] == [200, 200, 403]
        assert len(desk.vendor.seen) == 2
    counts.close(0)


def _migrated(state: Path, url: str = "sqlite") -> Database:
    database = open_database(url, state)
    migrate(database)
    return database


def test_the_tightest_limit_holds_and_children_count(connect: Callable[[], Database]) -> None:
    counts = SearchCounts(connect, lambda: NOON)
    limits = (("a", 5), ("a/b", 9))
    assert counts.reserve("a/b", "openai", limits, 3).searches == 3
    assert counts.reserve("a/c", "openai", (("a", 5),), 9).searches == 2
    assert counts.reserve("a/b", "openai", limits, 1).limit == ("a", 5)
    assert counts.reserve("ab", "openai", (("ab", 1),), 1).searches == 1  # no child of `a`
    assert within(spent_of(counts, connect), "a") == {"openai": 5}
    counts.close(0)


def test_many_that_reserve_at_once_get_no_more_than_there_is(server: Server, tmp_path: Path) -> None:
    everyone = [SearchCounts(lambda: _migrated(tmp_path, server.url)) for _ in range(4)]
    together = threading.Barrier(4)

    def reserve(counts: SearchCounts) -> int:
        got = 0
        for _ in range(30):
            together.wait(PATIENCE)
            got += counts.reserve("a", "xai", (("a", 50),), 1).searches
        return got

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(reserve, everyone)) == 50
    for each in everyone:
        each.close(0)


def test_what_was_not_used_is_free_again_and_what_was_used_beyond_counts(connect: Callable[[], Database]) -> None:
    counts = SearchCounts(connect, lambda: NOON)
    limits = (("a", 5),)
    first = counts.reserve("a", "xai", limits, 4)
    counts.settle(first, 1)
    second = counts.reserve("a", "xai", limits, 9)
    assert second.searches == 4
    counts.settle(second, 11)
    counts.add("a", "mistral", 2)
    assert counts.reserve("a", "xai", limits, 1).searches == 0
    assert sum(within(spent_of(counts, connect), "a").values()) == 14
    counts.close(0)


def test_a_new_day_begins_anew_and_old_days_are_forgotten(tmp_path: Path) -> None:
    now = [NOON]
    counts = SearchCounts(lambda: _migrated(tmp_path), lambda: now[0])
    assert counts.reserve("a", "xai", (("a", 1),), 1).searches == 1
    assert counts.reserve("a", "xai", (("a", 1),), 1).searches == 0
    now[0] += 86_400
    late = counts.reserve("a", "xai", (("a", 1),), 1)
    assert (late.day, late.searches) == ("2026-12-01", 1)
    now[0] += 200 * 86_400
    counts.reserve("a", "xai", (("a", 1),), 1)
    database = _migrated(tmp_path)
    assert database.execute("SELECT COUNT(*) FROM search_counts")[0][0] == 1
    database.close()
    counts.close(0)


def test_what_is_added_while_the_database_is_away_is_counted_later(tmp_path: Path) -> None:
    away = [True]

    def connect() -> Database:
        if away[0]:
            raise StoreAwayError("down")
        return _migrated(tmp_path)

    counts = SearchCounts(connect, lambda: NOON)
    counts.add("a", "xai", 3)
    counts.settle(SearchReservation(DAY, "a", "xai", 2), 1)
    with pytest.raises(StoreAwayError):
        counts.reserve("a", "xai", (("a", 9),), 1)
    away[0] = False
    with pytest.raises(StoreAwayError, match="a moment ago"):
        counts.reserve("a", "xai", (("a", 9),), 1)
    counts._link._away_until = 0.0  # as if that moment had passed
    assert counts.reserve("a", "xai", (("a", 9),), 9).searches == 7
    counts.close(0)


def spent_of(counts: SearchCounts, connect: Callable[[], Database]) -> dict[str, dict[str, int]]:
    """What is counted on the day of the last reservation."""
    day = counts.reserve("elsewhere", "none", (), 1).day
    database = connect()
    try:
        return read(database, day)
    finally:
        database.close()

"""A fleet on one PostgreSQL server: what one proxy is told, all follow; what is refused meanwhile is never lost."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.fleet import TOKEN, Load, call, fleet, seconds_until, written
from harness.postgres import Server
from harness.process import Served
from harness.records import unaudited
from harness.waiting import wait_for
from outward.ops.principals import digest
from outward.records.database import open_database
from outward.records.state import runtime_settings
from outward.records.state.runtime_settings import StoredToken

PROMISE = 1.0  # seconds


@pytest.fixture(scope="module")
def server(postgres_server: Server) -> Server:
    """The server, emptied once for all tests of this file."""
    postgres_server.empty()
    return postgres_server


@pytest.fixture(scope="module")
def proxies(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Served]]:
    with fleet(tmp_path_factory.mktemp("fleet"), server.url, 2) as running:
        for each in running:  # the first request loads the application, up to seconds where there is no byte code
            assert each.get("/conversations/nobody", TOKEN)[0] == 200
        yield running


def report(what: str, seconds: list[float]) -> None:
    """Print the figures, and hold half of them to the promise: a busy machine may stall the others."""
    middle, last = statistics.median(seconds), max(seconds)
    print(f"{what}: median {middle * 1e3:.1f} ms, max {last * 1e3:.1f} ms of {len(seconds)}")
    assert middle < PROMISE


def test_a_toggle_reaches_the_other_proxy_within_a_second(proxies: list[Served]) -> None:
    """Set through one, in force in the other."""
    first, second = proxies
    seconds = []
    for number in range(100):
        wanted = "true" if number % 2 == 0 else "false"
        assert call(first, "PUT", "/api/v1/groups/acme/web-search", {"enabled": wanted == "true"}) == 200
        seconds.append(
            seconds_until(lambda wanted=wanted: f'"enabled": {wanted}' in second.get("/api/v1/groups", TOKEN)[1])
        )
    report("toggle", seconds)


def test_an_opt_in_and_its_withdrawal_reach_the_other_proxy_within_a_second(proxies: list[Served]) -> None:
    """The page shows what the proxy's memory holds, which is what searches are judged by."""
    first, second = proxies
    seconds = []
    for number in range(50):
        name = f"chat-{number}"
        for method, shown in (("PUT", True), ("DELETE", False)):
            assert call(first, method, f"/api/v1/conversations/{name}/opt-in", {"group": "acme"}) in (200, 204)
            seconds.append(
                seconds_until(
                    lambda name=name, shown=shown: (
                        ("the first credential" in second.get(f"/conversations/{name}", TOKEN)[1]) is shown
                    )
                )
            )
    report("opt-in", seconds)


def test_a_token_and_its_revocation_reach_every_proxy_within_a_second(
    proxies: list[Served], server: Server, tmp_path: Path
) -> None:
    """As `outward token` makes and revokes it, beside the running proxies."""
    database = open_database(server.url, tmp_path)
    seconds = []
    for number in range(5):
        secret = f"owt_token-{number}"
        runtime_settings.add_token(
            database, StoredToken(f"t{number}", digest(secret), "acme", "", 0.0, None, revoked=False), unaudited
        )
        for status in (200, 401):
            seconds += [
                seconds_until(lambda proxy=proxy: proxy.get("/api/v1/groups", secret)[0] == status)  # noqa: B023 - at once
                for proxy in proxies
            ]
            runtime_settings.revoke_token(database, f"t{number}", unaudited)
    database.close()
    report("token", seconds)


def test_changes_are_followed_again_after_the_database_was_away(server: Server, tmp_path: Path) -> None:
    """Nothing has to be restarted, and what was in force stays so meanwhile."""
    with fleet(tmp_path, server.url, 2) as (first, second):
        call(first, "PUT", "/api/v1/groups/acme/web-search", {"enabled": False})
        server.stop()
        assert call(first, "PUT", "/api/v1/groups/acme/web-search", {"enabled": True}) == 503
        assert '"enabled": false' in second.get("/api/v1/groups", TOKEN)[1]
        server.start()
        wait_for(lambda: call(first, "PUT", "/api/v1/groups/acme/web-search", {"enabled": True}) == 200)
        wait_for(lambda: '"enabled": true' in second.get("/api/v1/groups", TOKEN)[1])


def test_no_denial_is_lost_while_the_database_is_away(server: Server, tmp_path: Path) -> None:
    """Every decision that a client was told is a row in the end; `tests/bench/outage_bench.py` does it for a minute."""
    with fleet(tmp_path, server.url, 1) as (proxy,):
        load = Load(proxy.proxy, rate=200)
        for threshold, act in ((100, server.stop), (400, server.start), (600, lambda: None)):
            wait_for(lambda threshold=threshold: len(load.decisions) >= threshold)
            act()
        load.stop()
        wait_for(lambda: set(load.decisions) <= written(server.url, tmp_path))

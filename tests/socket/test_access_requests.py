"""Requests and grants in the store: folded, bounded, audited once, shared by every process, ended without a database."""

import json
import time
from dataclasses import replace

import pytest

from harness.waiting import wait_for
from outward.core.grants import Grant
from outward.core.policy import Policy
from outward.records.audit.chain import Chain
from outward.records.audit.verify import verify
from outward.records.database import StoreAwayError, migrate, open_database, open_listener
from outward.records.events.values import new_id
from outward.records.state import requests
from outward.records.state.live import State
from outward.records.state.requests import AccessRequest, RequestsQuery, SettledError, TooManyRequestsError
from outward.records.state.runtime_settings import CHANNEL

NOW = round(time.time() * 1000)
HOUR = 3_600_000


@pytest.fixture
def connect(url, tmp_path):
    database = open_database(url, tmp_path)
    migrate(database)
    database.close()
    return lambda: open_database(url, tmp_path)


@pytest.fixture
def new_state(connect, url, tmp_path):
    made = []

    def make(start=False):
        made.append(State(Policy(), connect, lambda: Chain(tmp_path), lambda: open_listener(url, CHANNEL)))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def state(new_state):
    return new_state()


def asked(host="new.test", **facts) -> AccessRequest:
    usual = {
        "id": new_id(), "group": "acme", "host": host, "port": 443, "method": None, "path": None, "clear": False,
        "reason": "no_rule", "count": 1, "first": NOW, "last": NOW, "client": "10.0.0.1", "asker": "anyone 10.0.0.1",
        "whys": ("to build",),
    }  # fmt: skip
    return AccessRequest(**usual | facts)


def grant_of(request: AccessRequest, until: int = NOW + HOUR) -> Grant:
    about = (request.group, request.host, request.port, request.method, request.path)
    return Grant(new_id(), *about, min(NOW, until - 1), until, "ada", "fine")


def approved(state: State, until: int = NOW + HOUR, **facts) -> Grant:
    """Ask and approve, and return the grant."""
    request = state.access.ask(asked(**facts), "10.0.0.1")
    grant = grant_of(request, until)
    decision = {"state": "approved", "decided_by": "ada", "decided": NOW, "until": grant.until, "grant": grant.id}
    state.access.settle(replace(request, **decision), grant)
    return grant


def told(connect) -> list[str]:
    database = connect()
    rows = database.execute("SELECT event_type FROM audit_events ORDER BY seq")
    database.close()
    return [row[0] for row in rows]


def kept(connect, **wanted) -> list[AccessRequest]:
    database = connect()
    found = requests.listed(database, RequestsQuery(**wanted), 1000)
    database.close()
    return found


def test_equal_requests_are_one_row_and_one_audit_event(state, connect):
    first = state.access.ask(asked(), "10.0.0.1")
    for number in range(20):
        again = state.access.ask(asked(last=NOW + number, client="10.0.0.2", whys=(f"why {number}",)), "10.0.0.2")
        assert again.id == first.id
    (row,) = kept(connect)
    assert (row.count, row.client, row.last) == (21, "10.0.0.2", NOW + 19)
    assert row.whys == ("to build", "why 0", "why 1", "why 2", "why 3")
    for other in ({"group": "acme/b"}, {"port": 444}, {"method": "PUT", "path": "/x"}, {"host": "other.test"}):
        assert state.access.ask(asked(**other), "10.0.0.1").id != first.id
    assert told(connect) == ["access_request_made"] * 5
    assert len(kept(connect, scope="acme")) == 5
    assert len(kept(connect, group="acme/b")) == 1
    assert kept(connect, state="denied") == []


def test_a_flood_is_bounded_by_client_and_by_group(state, connect):
    for number in range(requests.MOST_OF_CLIENT):
        state.access.ask(asked(f"h{number}.test"), "10.0.0.1")
    with pytest.raises(TooManyRequestsError, match="of this client"):
        state.access.ask(asked("more.test"), "10.0.0.1")
    assert state.access.ask(asked("h1.test"), "10.0.0.1").count == 2
    database = connect()
    with database.transaction():
        for number in range(requests.MOST_OF_GROUP - requests.MOST_OF_CLIENT):
            requests.put(database, asked(f"g{number}.test", asker=f"other {number // 10}"))
    database.close()
    with pytest.raises(TooManyRequestsError, match="of this group"):
        state.access.ask(asked("more.test", asker="a third"), "10.0.0.9")
    state.access.ask(asked("more.test", group="beside"), "10.0.0.1")


def test_what_is_old_makes_room(state, connect):
    old = NOW - 31 * 24 * HOUR
    state.access.ask(asked("old.test", first=old, last=old), "10.0.0.1")
    state.access.ask(asked(), "10.0.0.1")
    assert [each.host for each in kept(connect)] == ["new.test"]


def test_a_refusal_stands_for_a_day_and_can_still_be_changed(state, connect):
    request = state.access.ask(asked(), "10.0.0.1")
    denied = replace(request, state="denied", decided_by="ada", decided=NOW, note="use the mirror")
    state.access.settle(denied, None)
    again = state.access.ask(asked(), "10.0.0.1")
    assert (again.id, again.state, again.note) == (request.id, "denied", "use the mirror")
    later = state.access.ask(asked(last=NOW + 25 * HOUR), "10.0.0.1")
    assert later.state == "open"
    state.access.settle(replace(denied, state="approved"), None)
    state.access.settle(replace(denied, state="approved", grant="g1"), None)  # the group takes grants meanwhile
    with pytest.raises(SettledError):
        state.access.settle(denied, None)
    decided = [each for each in told(connect) if each != "access_request_made"]
    assert decided == ["access_request_denied", *["access_request_approved"] * 2]


def test_a_grant_is_in_force_in_every_process_and_after_a_restart(state, new_state, connect, url, tmp_path):
    other, heard = new_state(start=True), []
    other.access.changed = heard.append
    began = time.monotonic()
    grant = approved(state)
    wait_for(lambda: other.access.grants.get(grant.id) == grant)
    print(f"{url}: {1000 * (time.monotonic() - began):.0f} ms")
    assert state.access.grants == {grant.id: grant}
    assert heard == [(grant,)]
    again = new_state()
    again.refresh()
    assert again.access.grants == {grant.id: grant}
    assert state.access.revoke(grant.id, "ada")
    assert not state.access.revoke(grant.id, "ada")
    wait_for(lambda: other.access.grants == {})
    assert heard[-1] == ()
    assert told(connect) == ["access_request_made", "access_request_approved", "access_grant_revoked"]
    database = connect()
    assert verify(database, tmp_path).ok
    database.close()


def test_the_end_of_a_grant_is_told_once_however_many_proxies_there_are(state, new_state, connect):
    grant = approved(state, until=NOW - 1)
    others = [new_state(start=True) for _ in range(3)]
    wait_for(lambda: "access_grant_ended" in told(connect))
    wait_for(lambda: all(not each.access.grants for each in others))
    assert told(connect).count("access_grant_ended") == 1
    state.refresh()
    assert grant.id not in state.access.grants


def test_nothing_is_granted_that_cannot_be_audited(connect):
    class Full:
        def append(self, _database, _records):
            raise StoreAwayError("no room")

    subject = State(Policy(), connect, Full)
    with pytest.raises(StoreAwayError):
        subject.access.ask(asked(), "10.0.0.1")
    database = connect()
    requests.put(database, asked())
    database.close()
    (request,) = kept(connect)
    with pytest.raises(StoreAwayError):
        subject.access.settle(replace(request, state="approved"), grant_of(request))
    subject.refresh()
    assert subject.access.grants == {}
    assert kept(connect)[0].state == "open"
    subject.close()


def test_an_audit_event_holds_no_word_of_the_agent(state, connect):
    approved(state, whys=("please <a href=x>click</a>",))
    database = connect()
    bodies = [json.loads(row[0]) for row in database.execute("SELECT body FROM audit_events ORDER BY seq")]
    database.close()
    assert "click" not in json.dumps(bodies)
    assert [each["details"]["host"] for each in bodies] == ["new.test", "new.test"]
    assert bodies[1]["details"]["grant"]


def test_words_are_bounded_and_show_nothing_hidden():
    assert requests.words("  a\u202eb\nc  ") == "a\\u202eb\\u000ac"
    assert len(requests.words("x" * 10_000)) == requests.WHY

"""The admin API: requests listed and decided, grants listed and revoked; who may."""

import time
from datetime import datetime

import pytest

from harness.admin import admin, rows
from outward.config.load import load_text
from outward.core.decide import decide
from outward.core.grants import granting
from outward.core.model import Question
from outward.core.names import canonical_host
from outward.ops.principals import digest
from outward.records.database import StoreAwayError
from outward.records.state import runtime_settings
from outward.records.state.runtime_settings import StoredToken

POLICY = """
version: 1
server: {{state: "{state}"}}
groups:
  acme: {{deny: [gist.example.net]}}
  acme/open: {{grants: allowed, allow: [{{host: seen.example.net, methods: [GET]}}]}}
  acme/shut: {{allow: [docs.example.net]}}
  other: {{grants: allowed}}
clients:
  - {{group: acme, anyone: true}}
"""
REQUESTS = "/api/v1/requests"


@pytest.fixture
def running(tmp_path):
    with admin(tmp_path, policy=POLICY) as subject:
        yield subject


@pytest.fixture
def client(running):
    with running.client() as found:
        yield found


def token(running, role: str, scope: str):
    database = running.database()
    secret = f"owt_{role}-{scope}-0123456789"

    def unaudited(_database):
        pass

    runtime_settings.add_token(
        database, StoredToken(f"{role}-{scope}", digest(secret), scope, role, time.time(), None, False, role), unaudited
    )
    database.close()
    running.administration.state.refresh()
    return running.client(secret)


def ask(client, url="https://new.example.net/a?token=secret", group="acme/open", **more):
    found = client.post(REQUESTS, json={"group": group, "url": url, "why": "to build", **more})
    assert found.status_code == 200, found.text
    return found.json()


def opens(running, host="new.example.net", group="acme/open") -> bool:
    policy = granting(running.policy, running.administration.state.access.grants.values(), round(time.time() * 1000))
    return decide(policy, Question(group, canonical_host(host), 443)).allowed


def test_the_loop_from_a_request_to_its_grant_and_its_end(running, client):
    made = ask(client)
    assert (made["state"], made["whys"], made["path"]) == ("open", ["to build"], None)
    assert "secret" not in str(made)
    (row,) = rows(client.get(REQUESTS, params={"state": "open", "group": "acme"}))
    assert (row.id, row.suggestion) == (made["id"], "- new.example.net")
    assert not opens(running)
    done = client.put(f"{REQUESTS}/{made['id']}", json={"decision": "approve", "until": "2h", "note": "for the demo"})
    assert done.status_code == 200, done.text
    assert done.json()["yaml"] == "groups:\n  acme/open:\n    allow:\n      - new.example.net\n"
    assert opens(running)
    assert not opens(running, group="other")
    (grant,) = rows(client.get("/api/v1/grants"))
    assert (grant.id, grant.host, grant.note, grant.who) == (
        done.json()["grant"],
        "new.example.net",
        "for the demo",
        "environment",
    )
    assert grant.until == done.json()["until"]
    assert client.put(f"{REQUESTS}/{made['id']}", json={"decision": "deny"}).status_code == 409
    assert client.delete(f"/api/v1/grants/{grant.id}").status_code == 204
    assert client.delete(f"/api/v1/grants/{grant.id}").status_code == 404
    assert not opens(running)
    events = [row.event_type for row in rows(client.get("/api/v1/audit"))]
    assert events == ["access_grant_revoked", "access_request_approved", "access_request_made"]


def test_a_group_that_takes_no_grants_gets_the_line_alone(running, client):
    made = ask(client, group="acme/shut")
    done = client.put(f"{REQUESTS}/{made['id']}", json={"decision": "approve"}).json()
    assert (done["state"], done["grant"], done["until"]) == ("approved", None, None)
    assert "- new.example.net" in done["yaml"]
    assert not opens(running, group="acme/shut")
    assert rows(client.get("/api/v1/grants")) == []


def test_a_refusal_has_a_note(client):
    made = ask(client)
    done = client.put(f"{REQUESTS}/{made['id']}", json={"decision": "deny", "note": "use the mirror"}).json()
    assert (done["state"], done["note"], done["yaml"], done["grant"]) == ("denied", "use the mirror", None, None)
    assert ask(client)["state"] == "denied"
    assert client.get(f"{REQUESTS}/{made['id']}").json()["decided_by"] == "environment"


@pytest.mark.parametrize("until", ["0s", "31d", "2020-01-01", "2099-01-01T00:00:00Z", "never", "", "8", "1e9d"])
def test_a_grant_has_an_end_within_bounds(running, client, until):
    made = ask(client)
    done = client.put(f"{REQUESTS}/{made['id']}", json={"decision": "approve", "until": until})
    assert done.status_code in (400, 409), done.text
    assert not opens(running)
    assert client.get(f"{REQUESTS}/{made['id']}").json()["state"] == "open"


def test_the_usual_grant_is_eight_hours(client):
    made = ask(client)
    client.put(f"{REQUESTS}/{made['id']}", json={"decision": "approve"})
    (grant,) = client.get("/api/v1/grants").json()["items"]
    span = datetime.fromisoformat(grant["until"]) - datetime.fromisoformat(grant["made"])
    assert span.total_seconds() == 8 * 3600


def test_what_a_deny_rule_names_meanwhile_is_not_granted(running, client):
    made = ask(client)
    text = POLICY.format(state=running.state).replace("gist.example.net", "new.example.net")
    running.policy = running.administration.state.policy = load_text(text, env={}).policy
    done = client.put(f"{REQUESTS}/{made['id']}", json={"decision": "approve"})
    assert (done.status_code, "denied_by_rule" in done.json()["detail"]) == (409, True)
    assert client.get(f"{REQUESTS}/{made['id']}").json()["state"] == "open"


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://gist.example.net/", 409),
        ("https://192.0.2.1/", 409),
        ("https://*.example.net/", 409),
        ("https://localhost/", 409),
        ("https://seen.example.net/", 409),
    ],
)
def test_what_cannot_be_asked_for_cannot_be_asked_for_here(client, url, status):
    assert client.post(REQUESTS, json={"group": "acme/open", "url": url, "why": "x"}).status_code == status


def test_who_may(running, client):
    """Viewers see and ask; operators decide in their subtree; nobody sees another's."""
    mine, others = ask(client), ask(client, group="other")
    viewer, operator, stranger = (
        token(running, role, scope) for role, scope in (("viewer", "acme"), ("operator", "acme"), ("operator", "other"))
    )
    assert [row.id for row in rows(viewer.get(REQUESTS))] == [mine["id"]]
    assert viewer.get(f"{REQUESTS}/{others['id']}").status_code == 403
    assert viewer.put(f"{REQUESTS}/{mine['id']}", json={"decision": "approve"}).status_code == 403
    assert viewer.put("/api/v1/groups/acme/web-search", json={"enabled": True}).status_code == 403
    assert viewer.put("/api/v1/conversations/c/opt-in", json={"group": "acme"}).status_code == 403
    assert viewer.delete("/api/v1/grants/0").status_code == 403
    assert viewer.post("/api/v1/explain", json={"group": "acme", "host": "a.test"}).status_code == 200
    assert viewer.post(REQUESTS, json={"group": "other", "url": "https://x.test", "why": "x"}).status_code == 403
    assert stranger.put(f"{REQUESTS}/{mine['id']}", json={"decision": "approve"}).status_code == 403
    assert stranger.get(REQUESTS, params={"group": "acme"}).status_code == 403
    assert not opens(running)
    assert operator.put(f"{REQUESTS}/{mine['id']}", json={"decision": "approve"}).status_code == 200
    (grant,) = rows(operator.get("/api/v1/grants"))
    assert rows(stranger.get("/api/v1/grants")) == []
    assert stranger.delete(f"/api/v1/grants/{grant.id}").status_code == 403
    assert running.client(None).put(f"{REQUESTS}/{others['id']}", json={"decision": "approve"}).status_code == 401
    assert opens(running)
    assert not opens(running, group="other")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "maybe"},
        {"decision": True},
        {"decision": "approve", "host": "*"},
        {"decision": "approve", "until": 8},
    ],
)
def test_a_decision_that_is_not_understood_is_refused(client, body):
    made = ask(client)
    assert client.put(f"{REQUESTS}/{made['id']}", json=body).status_code == 400
    assert client.get(f"{REQUESTS}/{made['id']}").json()["state"] == "open"


def test_decisions_need_the_token_itself(running, client):
    """Neither a page's session nor another site's page, nor what came through a proxy."""
    made = ask(client)
    path, body = f"{REQUESTS}/{made['id']}", {"decision": "approve"}
    for headers in (
        {"Origin": "http://evil.test"},
        {"Via": "1.1 outward"},
        {"Proxy-Authorization": "Basic x"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert client.put(path, json=body, headers=headers).status_code == 403
    with running.client(None) as browser:
        browser.post("/login", data={"token": "owt_test-all-0123456789"})
        assert browser.put(path, json=body).status_code == 401
    assert not opens(running)


def test_pages_of_requests(client):
    made = [ask(client, f"https://h{number}.example.net/")["id"] for number in range(5)]
    first = client.get(REQUESTS, params={"limit": 3}).json()
    rest = client.get(REQUESTS, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert sorted(row["id"] for row in first["items"] + rest["items"]) == sorted(made)
    assert rest["next_cursor"] is None
    assert client.get(REQUESTS, params={"state": "x"}).status_code == 400


def test_a_request_of_a_group_that_is_gone_is_not_decided(running, client):
    made = ask(client)
    text = POLICY.format(state=running.state).replace("acme/open", "acme/renamed")
    running.policy = running.administration.state.policy = load_text(text, env={}).policy
    assert client.put(f"{REQUESTS}/{made['id']}", json={"decision": "approve"}).status_code == 404
    assert running.administration.state.access.grants == {}


def test_nothing_is_decided_while_the_database_is_away(running, client, monkeypatch):
    """Said, and not done by halves; what is in force stays in force."""
    made, other = ask(client), ask(client, "https://two.example.net/")
    client.put(f"{REQUESTS}/{other['id']}", json={"decision": "approve"})
    (grant,) = rows(client.get("/api/v1/grants"))

    def away(*_about):
        raise StoreAwayError("gone")

    monkeypatch.setattr(running.administration.state, "_connect", away)
    running.administration.state._database = None
    assert client.put(f"{REQUESTS}/{made['id']}", json={"decision": "approve"}).status_code == 503
    assert client.delete(f"/api/v1/grants/{grant.id}").status_code == 503
    assert (
        client.post(REQUESTS, json={"group": "acme/open", "url": "https://x.example.net", "why": "x"}).status_code
        == 503
    )
    assert not opens(running)
    assert opens(running, "two.example.net")

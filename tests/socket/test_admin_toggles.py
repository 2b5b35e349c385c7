"""The admin API: hosted search switched on and off, conversations that opt in, and their receipts."""

import pytest

from harness.admin import POLICY, admin, grant, rows
from outward.config.load import load_text
from outward.records.audit.verify import verify

CLIENTS = f"""
  - {{group: acme, certificate: runner.example, name: runner}}
  - {{group: acme, certificate: "spiffe://a/sa/*", name: mesh}}
  - {{group: acme, source: 10.1.0.0/16, name: both}}
  - {{group: acme, token_sha256: "{"0" * 64}", name: both}}
  - {{group: acme, name: gitlab, issuer: "https://gitlab.example", audience: outward, jwks: jwks.json}}
"""


def test_the_toggle_changes_at_once_is_audited_once_and_survives(running, client, tmp_path):
    """Raw slashes in the path; the same value again is no change."""
    path = "/api/v1/groups/acme/platform/web-search"
    for _ in range(2):
        found = client.put(path, json={"enabled": False})
        assert found.status_code == 200
        assert (found.json()["enabled"], found.json()["origin"]) == (False, "runtime")
    assert not running.administration.state.web_search("acme/platform/payments").enabled
    (event,) = rows(client.get("/api/v1/audit"))
    assert (event.event_type, event.entity_path) == ("web_search_setting_changed", "acme/platform")
    assert event.author_name == "environment"
    database = running.database()
    assert verify(database, tmp_path).ok
    database.close()
    with admin(tmp_path) as again, again.client() as other:
        assert not other.get("/api/v1/groups/acme/platform").json()["web_search"]["enabled"]


def test_a_locked_toggle_is_a_conflict(client):
    """Nothing changes and nothing is audited."""
    reply = client.put("/api/v1/groups/acme/locked/web-search", json={"enabled": True})
    assert reply.status_code == 409
    assert "acme/locked" in reply.json()["detail"]
    assert rows(client.get("/api/v1/audit")) == []


@pytest.mark.parametrize("body", [{}, {"enabled": 1}, {"enabled": "true"}, {"enabled": True, "x": 1}, [], None])
def test_a_toggle_body_that_is_not_understood_is_refused(client, body):
    """Only exactly `{"enabled": bool}`."""
    assert client.put("/api/v1/groups/acme/web-search", json=body).status_code == 400
    assert client.put("/api/v1/groups/none/web-search", json={"enabled": True}).status_code == 404


def test_opting_in_and_out(running, client):
    """Before the conversation is first seen; for its group only; each change one audit event."""
    state, path = running.administration.state, "/api/v1/conversations/chat%2F7 x/opt-in"
    assert client.put(path, json={"group": "acme/platform"}).status_code == 200
    assert client.put(path, json={"group": "acme/platform"}).status_code == 200
    assert state.opted_in("acme/platform", "chat/7 x", "anyone")
    assert not state.opted_in("other", "chat/7 x", "anyone")
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 204
    assert not state.opted_in("acme/platform", "chat/7 x", "anyone")
    found = rows(client.get("/api/v1/audit", params={"conversation": "chat/7 x"}))
    events = [event for event in found if event.event_type != "conversation_opt_in_bound"]  # it is, within a second
    assert [event.event_type for event in events] == ["conversation_opt_in_changed"] * 2
    assert [event.details["to"] for event in events] == [False, True]
    assert client.put(path, json={"group": "none"}).status_code == 404
    assert client.put(path, json={}).status_code == 400
    assert client.put(f"/api/v1/conversations/{'x' * 257}/opt-in", json={"group": "acme"}).status_code == 400
    assert client.put("/api/v1/conversations/a%0Ab/opt-in", json={"group": "acme"}).status_code == 400


def test_an_opt_in_may_name_the_client_that_it_is_for(running, client):
    """By the entry's name or by its credential; a JWT's entry is many clients, so the subject is named too."""
    state, path = running.administration.state, "/api/v1/conversations/chat-7/opt-in"
    state.policy = running.policy = load_text(POLICY.rstrip().format(state=running.state) + CLIENTS, env={}).policy
    group = "acme/platform"
    for body, credential in (
        ({"client": "runner"}, "certificate:runner.example"),
        ({"client": "gitlab", "subject": "project_path:a/b"}, "jwt:https://gitlab.example:project_path:a/b"),
        ({"client": "mesh", "subject": "spiffe://a/sa/bot"}, "certificate:spiffe://a/sa/bot"),
        ({"client": "token:0123456789abcdef"}, "token:0123456789abcdef"),
        ({}, "token:0123456789abcdef"),
        ({"client": "anyone"}, "anyone"),
    ):
        found = client.put(path, json={"group": group, **body})
        assert (found.status_code, found.json().get("credential")) == (200, credential), found.text
        assert state.opted_in(group, "chat-7", credential)
        assert not state.opted_in(group, "chat-7", "token:another")
    for wrong in (
        {"client": "gitlab"},
        {"client": "mesh"},
        {"client": "runner", "subject": "x"},
        {"client": "both"},
        {"client": "nobody"},
        {"client": "token:1", "subject": "x"},
        {"subject": "x"},
        {"client": 7},
        {"client": "runner", "more": "x"},
    ):
        assert client.put(path, json={"group": group, **wrong}).status_code == 400, wrong
    assert client.delete(path).status_code == 204
    client.put(path, json={"group": group})
    assert state.opted_in(group, "chat-7", "token:another")  # free again


def test_a_withdrawal_names_its_group_or_covers_the_scope(running, client):
    """A body, a parameter, or neither."""
    state = running.administration.state

    def active():
        return {each.group for each in state.opt_ins("c")}

    for group in ("acme", "acme/platform", "other"):
        client.put("/api/v1/conversations/c/opt-in", json={"group": group})
    assert client.delete("/api/v1/conversations/c/opt-in?group=acme").status_code == 204
    assert active() == {"acme/platform", "other"}
    scoped = running.client(grant(running, "platform", "acme"))
    assert scoped.delete("/api/v1/conversations/c/opt-in").status_code == 204
    assert active() == {"other"}
    assert client.request("DELETE", "/api/v1/conversations/c/opt-in", json={"group": "other"}).status_code == 204
    assert active() == set()


def test_a_receipt_merges_a_conversations_searches(running, client):
    """As JSON and as Markdown; 404 where there is none; another scope's is not shown."""
    source = {"url": "https://docs.python.org/3/", "title": "Docs <b>", "permitted": True, "reason": None}
    outside = {"url": "https://x.test/", "title": None, "permitted": False, "reason": "source_outside_allowlist"}
    base = {"conversation": "chat", "group": "acme/platform", "searches": 1}
    running.receipt(1_800_000_000.0, **base, queries=["one"], sources=[source])
    running.receipt(1_800_000_001.0, **base, queries=["two"], sources=[source, outside], citations=[source])
    found = client.get("/api/v1/conversations/chat/receipt").json()
    assert (found["searches"], found["queries"]) == (2, ["one", "two"])
    assert found["sources"] == [source, outside]
    assert not found["incomplete"]
    reply = client.get("/api/v1/conversations/chat/receipt", headers={"Accept": "text/markdown"})
    assert reply.headers["content-type"].startswith("text/markdown")
    assert "Searched the web 2 times" in reply.text
    assert "<b>" not in reply.text
    assert client.get("/api/v1/conversations/none/receipt").status_code == 404
    assert running.client(grant(running, "other", "other")).get("/api/v1/conversations/chat/receipt").status_code == 404
    (row,) = rows(client.get("/api/v1/conversations"))
    assert (row.conversation, row.searches, row.opted_in) == ("chat", 2, False)

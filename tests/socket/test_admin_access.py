"""The admin API: who may ask, from where, and for which groups."""

import socket
import time

import httpx
import pytest

from harness.admin import POLICY, TOKEN, admin, denied, grant, rows
from harness.records import unaudited
from harness.waiting import PATIENCE
from outward.records.state import runtime_settings

DECISION = "0193f0000000000000000000000000aa"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": "outward_session=x"},
        {"Cookie": "outward_session=x.1.y.z"},
    ],
)
@pytest.mark.parametrize("path", ["/blocked", "/groups", "/nothing", "/openapi.json", "/events/stream", "/groups/acme"])
def test_without_a_valid_token_every_path_answers_401(running, headers, path):
    """Whatever the path; nothing tells what exists."""
    reply = httpx.get(f"{running.url}/api/v1{path}", headers=headers, timeout=PATIENCE)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert reply.headers["content-type"] == "application/problem+json"


def test_health_needs_no_token(running):
    """Probes and scrapers have none."""
    for path in ("/healthz", "/readyz", "/metrics"):
        assert httpx.get(running.url + path, timeout=PATIENCE).status_code == 200


def test_an_expired_or_revoked_token_answers_401(running):
    """As if there had never been one."""
    grant(running, "late", "all", expires=time.time() - 1)
    grant(running, "gone", "all")
    assert running.client("late").get("/api/v1/groups").status_code == 401
    assert running.client("gone").get("/api/v1/groups").status_code == 200
    database = running.database()
    assert runtime_settings.revoke_token(database, "id-gone", unaudited)
    database.close()
    running.administration.state.refresh()
    assert running.client("gone").get("/api/v1/groups").status_code == 401


def test_a_scoped_token_sees_and_changes_its_subtree_only(running):
    """Everything else answers 403, whether or not it exists."""
    scoped = running.client(grant(running, "platform", "acme/platform"))
    running.write([
        denied(id=DECISION, group="acme"),
        denied(id=DECISION[:-1] + "b", group="acme/platform/payments"),
        denied(id=DECISION[:-1] + "c", group="acme/platformer"),
        denied(id=DECISION[:-1] + "d", group=None),
    ])  # fmt: skip
    assert [row.group for row in rows(scoped.get("/api/v1/blocked"))] == ["acme/platform/payments"]
    assert [row.path for row in rows(scoped.get("/api/v1/groups"))] == ["acme/platform", "acme/platform/payments"]
    assert [row.group for row in rows(scoped.get("/api/v1/blocked/summary"))] == ["acme/platform/payments"]
    assert scoped.get("/api/v1/groups/acme/platform").status_code == 200
    for path in ("/groups/acme", "/groups/other", "/groups/none", f"/decisions/{DECISION}", "/blocked?group=acme"):
        assert scoped.get(f"/api/v1{path}").status_code == 403, path
    assert scoped.get(f"/api/v1/decisions/{DECISION[:-1]}b").status_code == 200
    assert scoped.put("/api/v1/groups/acme/web-search", json={"enabled": True}).status_code == 403
    assert scoped.put("/api/v1/conversations/c/opt-in", json={"group": "acme"}).status_code == 403
    assert scoped.post("/api/v1/explain", json={"group": "acme", "url": "https://x.test/"}).status_code == 403
    assert scoped.get("/api/v1/events/stream?group=acme").status_code == 403
    assert scoped.get("/api/v1/audit?group=acme").status_code == 403


def test_what_came_through_a_proxy_or_from_another_site_is_refused(running, client):
    """The admin surface is no destination, and no other page's to script."""
    for headers in (
        {"Proxy-Authorization": "Basic eDp5"},
        {"Proxy-Connection": "keep-alive"},
        {"Via": "1.1 outward"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        assert client.get("/api/v1/groups", headers=headers).status_code == 403, headers
    with socket.create_connection(("127.0.0.1", running.port)) as sock:
        sock.sendall(b"GET http://127.0.0.1/api/v1/groups HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert sock.recv(64).startswith(b"HTTP/1.1 400")
    with socket.create_connection(("127.0.0.1", running.port)) as sock:
        sock.sendall(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
        assert sock.recv(64).startswith(b"HTTP/1.1 400")


def test_a_name_that_an_attacker_may_own_gets_no_page(tmp_path):
    """DNS rebinding: a browser that was led here by a foreign name has no session, and gets no form either."""
    with admin(tmp_path, policy=POLICY + 'admin: {{urls: ["http://ops.example.com"]}}\n') as running:
        for host, status in (
            ("evil.example", 421),
            ("", 421),
            ("127.0.0.1:9090", 200),
            ("localhost", 200),
            ("outward.agents.svc:9090", 200),
            ("ops.example.com", 200),
            ("[::1]:9090", 200),
        ):
            assert httpx.get(f"{running.url}/login", headers={"Host": host}, timeout=PATIENCE).status_code == status, (
                host
            )
        with running.client() as client:
            assert client.get("/api/v1/groups", headers={"Host": "anything.example"}).status_code == 200


def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(running, client):
    """Guessing is limited by address; a bearer of the right token is not locked out by a neighbour."""
    wrong = running.client("wrong")
    answers = [wrong.get("/api/v1/groups").status_code for _ in range(80)]
    assert answers[0] == 401
    assert answers[-1] == 429
    assert client.get("/api/v1/groups").status_code == 200

"""Tokens by the API and by the page: who may make which, that they end, and that an end counts everywhere at once."""

import secrets
import time
from datetime import datetime, timedelta

import httpx
import pytest

from harness.admin import TOKEN, admin, grant
from harness.waiting import PATIENCE, wait_for

NEW = {"scope": "acme/platform", "role": "operator", "name": "chat backend", "expires": "30d"}


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """Run two proxies' administrator's sides on one database."""
    folder = tmp_path_factory.mktemp("tokens")
    with admin(folder) as one, admin(folder) as other:
        yield one, other


def ask(side, token: str, path: str = "/api/v1/groups") -> int:
    return httpx.get(
        f"{side.url}{path}", headers={"Authorization": f"Bearer {token}"}, verify=False, timeout=PATIENCE
    ).status_code


def test_a_token_is_made_used_listed_and_revoked_in_every_proxy(sides):
    """Its secret is told once; the other proxy knows it, and its end, within moments."""
    one, other = sides
    with one.client() as client:
        made = client.post("/api/v1/tokens", json=NEW)
        assert made.status_code == 200, made.text
        token = made.json()
        secret = token.pop("token")
        assert token | NEW | {"expires": token["expires"]} == token
        assert (token["kind"], token["state"], token["last_used"], token["author"]) == (
            "token",
            "valid",
            None,
            "environment",
        )
        assert ask(one, secret) == 200
        wait_for(lambda: ask(other, secret) == 200)

        def row():
            return next(each for each in client.get("/api/v1/tokens").json()["items"] if each["id"] == token["id"])

        wait_for(lambda: row()["last_used"])
        assert secret not in client.get("/api/v1/tokens").text
        assert client.delete(f"/api/v1/tokens/{token['id']}").status_code == 204
        assert ask(one, secret) == 401
        wait_for(lambda: ask(other, secret) == 401)
        assert row()["state"] == "revoked"
        assert client.delete(f"/api/v1/tokens/{token['id']}").status_code == 404
        kinds = [each["event_type"] for each in client.get("/api/v1/audit").json()["items"]]
        assert kinds[:2] == ["admin_token_revoked", "admin_token_created"]


def test_a_token_ends_by_itself(sides):
    """An end is asked for, and lies within a year."""
    one, _ = sides
    with one.client() as client:
        for expires in ("0d", "367d", "2020-01-01", "never", ""):
            assert client.post("/api/v1/tokens", json={**NEW, "expires": expires}).status_code == 400, expires
        body = {name: value for name, value in NEW.items() if name != "expires"}
        assert client.post("/api/v1/tokens", json=body).status_code == 400
        secret = client.post("/api/v1/tokens", json={**NEW, "expires": "1h"}).json()["token"]
    access = one.administration._access
    assert ask(one, secret) == 200
    access._clock = lambda: time.time() + 3601
    try:
        assert ask(one, secret) == 401
    finally:
        access._clock = time.time


def test_what_a_token_makes_ends_with_it_at_the_latest(sides):
    one, _ = sides
    with one.client() as client:
        maker = client.post("/api/v1/tokens", json={**NEW, "role": "admin", "expires": "1h"}).json()
    bearer = {"Authorization": f"Bearer {maker['token']}"}
    made = [
        httpx.post(
            f"{one.url}/api/v1/tokens", json={**NEW, "expires": wanted}, headers=bearer, verify=False, timeout=PATIENCE
        ).json()
        for wanted in ("360d", "30m")
    ]
    ends = [datetime.fromisoformat(each["expires"]) for each in (maker, *made)]
    assert abs(ends[1] - ends[0]) < timedelta(seconds=1)
    assert ends[2] < ends[0]


@pytest.mark.parametrize(
    ("role", "scope", "wanted", "status"),
    [
        ("viewer", "all", NEW, 403),
        ("operator", "all", NEW, 403),
        ("admin", "acme", NEW, 200),
        ("admin", "acme", {**NEW, "role": "admin", "scope": "acme"}, 200),
        ("admin", "acme", {**NEW, "scope": "all"}, 403),
        ("admin", "acme", {**NEW, "scope": "other"}, 403),
        ("admin", "acme", {**NEW, "scope": "nothing"}, 403),
        ("admin", "acme/platform", {**NEW, "scope": "acme"}, 403),
        ("admin", "all", {**NEW, "scope": "nothing"}, 404),
        ("admin", "all", {**NEW, "role": "root"}, 400),
        ("admin", "all", {**NEW, "name": "a\nb"}, 400),
        ("admin", "all", {**NEW, "name": ""}, 400),
        ("admin", "all", {**NEW, "id": "x"}, 400),
    ],
)
def test_nobody_makes_more_than_they_have(sides, role, scope, wanted, status):
    one, _ = sides
    with one.client(grant(one, f"owt_{secrets.token_hex()}", scope, role=role)) as client:
        assert client.post("/api/v1/tokens", json=wanted).status_code == status


def test_an_admin_of_a_subtree_sees_and_revokes_its_tokens_alone(sides):
    """Others are not there, whether or not they are; nor are they for who is no admin."""
    one, _ = sides
    for name, scope in (("below", "acme/platform"), ("beside", "other"), ("above", "all"), ("near", "acmes")):
        grant(one, name, scope)
    with one.client(grant(one, "admin-of-acme", "acme")) as client:
        seen = {row["id"] for row in client.get("/api/v1/tokens").json()["items"]}
        assert {"id-below", "id-admin-of-acme"} <= seen
        assert not {"id-beside", "id-above", "id-near"} & seen
        for name in ("beside", "above", "near", "nothing"):
            assert client.delete(f"/api/v1/tokens/id-{name}").status_code == 404
        assert client.delete("/api/v1/tokens/id-below").status_code == 204
    for role in ("viewer", "operator"):
        with one.client(grant(one, f"only-{role}", "all", role=role)) as client:
            assert client.get("/api/v1/tokens").status_code == 403
            assert client.delete("/api/v1/tokens/id-beside").status_code == 403
            assert client.get("/tokens").status_code == 403
    assert ask(one, "beside") == 200


def test_the_page_makes_and_revokes_with_its_proof(sides):
    one, _ = sides
    browser = httpx.Client(base_url=one.url, headers={"Accept": "text/html"}, verify=False, timeout=PATIENCE)
    browser.post("/login", data={"token": TOKEN})
    page = browser.get("/tokens").text
    proof = page.partition('name="csrf" value="')[2].partition('"')[0]
    assert browser.post("/tokens", data=NEW).status_code == 403
    assert browser.post("/api/v1/tokens", json=NEW).status_code == 401  # a cookie changes nothing through the API
    made = browser.post("/tokens", data={**NEW, "csrf": proof})
    secret = made.text.partition("owt_")[2].partition("<")[0]
    assert ask(one, f"owt_{secret}") == 200
    page = browser.get("/tokens").text
    assert secret not in page
    ident = page.partition('action="/tokens/')[2].partition('"')[0]
    assert browser.post(f"/tokens/{ident}", data={"csrf": "x"}).status_code == 403
    assert browser.post(f"/tokens/{ident}", data={"csrf": proof}).status_code == 303
    assert ask(one, f"owt_{secret}") == 401


def test_the_list_goes_on_where_it_stopped(sides):
    one, _ = sides
    for number in range(5):
        grant(one, f"many-{number}", "other")
    with one.client() as client:
        whole = [row["id"] for row in client.get("/api/v1/tokens?limit=500").json()["items"]]
        found, cursor = [], ""
        while cursor is not None:
            answer = client.get("/api/v1/tokens", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
            found += [row["id"] for row in answer["items"]]
            cursor = answer["next_cursor"]
        assert found == whole

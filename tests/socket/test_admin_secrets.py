"""Secrets through the admin API: which there are, where they are set, who used which, whose placeholders were refused."""

import time
from collections.abc import Iterator

import pytest

from harness.admin import Admin, admin, denied, grant, rows
from outward.core.model import Pattern, PatternKind, Place, Rule
from outward.core.policy import Group
from outward.core.reasons import Reason
from outward.core.rules import Rules
from outward.core.secrets import Injection, MisdirectedError
from outward.ops.holdings import _bound
from outward.records.events.values import Event


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with admin(tmp_path_factory.mktemp("state")) as found:
        now = time.time()

        def use(secret: str, hours: float, host: str, group: str, **facts: object) -> None:
            found.used(secret, Event(group=group, host=host, port=443, client="10.0.0.1", **facts), now - hours * 3600)

        use("github", 5, "api.github.com", "acme/platform")
        use("github", 1, "api.github.com", "acme/platform", client_name="builder", conversation="chat-1")
        use("github", 2, "api.github.com", "acme/platform")
        use("github", 3, "api.github.com", "acme/platform/payments")
        granted = Rule(Pattern(PatternKind.EXACT, "example.net"), Place("grant " + "a" * 32, 0))
        use("mirror", 4, "example.net", "other", rule=granted)
        use("mirror", 24 * 40, "old.example.com", "other")
        refused = {"reason": Reason.SECRET_MISDIRECTED, "host": "api.github.com"}
        found.write([
            denied(**refused, group="acme/platform", detail=str(MisdirectedError("the field x-key", "github")), count=3),
            denied(**refused, group="acme/platform", detail=str(MisdirectedError("the URL", "github"))),
            denied(**refused, group="other", detail=str(MisdirectedError("the URL", "mirror"))),
            denied(**refused, group="other", detail=str(MisdirectedError("the field authorization", None))),
        ])  # fmt: skip
        yield found


def test_secrets_are_listed_with_where_they_are_set(running: Admin) -> None:
    with running.client() as client:
        github, mirror = rows(client.get("/api/v1/secrets"))
    assert (github.name, github.source, github.groups) == ("github", "variable GITHUB_TOKEN", ["acme/platform"])
    (rule,) = github.bound
    assert (rule["group"], rule["pattern"]) == ("acme/platform", "api.github.com")
    assert rule["sets"] == {"header": "authorization", "secrets": ["github"]}
    assert "sets authorization from github" in rule["limits"]
    assert (github.misdirected, mirror.misdirected, mirror.bound) == (4, 1, [])
    assert mirror.source.startswith("file ")


def test_rules_of_every_file_that_writes_a_path_are_listed() -> None:
    """As a team's own lie below those that the main file has for the same group."""
    inject = Injection("authorization", "Bearer {github}")
    above, own = (
        Rules([Rule(Pattern(PatternKind.EXACT, host), Place(file, 1), inject=inject)])
        for host, file in (("a.example", "outward.yaml"), ("b.example", "team.yaml"))
    )
    group = Group("acme", allow=own, parent=Group("acme", allow=above, parent=Group("", allow=above)))
    assert [row["pattern"] for row in _bound(group, "github")] == ["b.example", "a.example"]


def test_uses_are_listed_by_client_conversation_and_grant(running: Admin) -> None:
    with running.client() as client:
        found = rows(client.get("/api/v1/secrets/uses"))
        assert [(each.secret, each.group, each.client, each.conversation, each.hours) for each in found] == [
            ("github", "acme/platform", "builder", "chat-1", 1),
            ("github", "acme/platform", "10.0.0.1", None, 2),
            ("github", "acme/platform/payments", "10.0.0.1", None, 1),
            ("mirror", "other", "10.0.0.1", None, 1),
        ]
        assert found[-1].grant == "a" * 32
        assert len(rows(client.get("/api/v1/secrets/uses?since=60d"))) == 5
        for query, count in (("conversation=chat-1", 1), ("secret=mirror", 1), ("group=acme", 3), ("since=90m", 1)):
            assert len(rows(client.get(f"/api/v1/secrets/uses?{query}"))) == count, query
        first = client.get("/api/v1/secrets/uses?limit=3").json()
        rest = client.get("/api/v1/secrets/uses", params={"limit": 3, "cursor": first["next_cursor"]}).json()
        assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (3, 1, None)


@pytest.mark.parametrize(
    ("scope", "names", "uses", "misdirected"),
    [("acme/platform", ["github", "mirror"], 3, 4), ("other", ["mirror"], 1, 1), ("acme/locked", ["mirror"], 0, 0)],
)
def test_a_scope_sees_its_own(running: Admin, scope: str, names: list[str], uses: int, misdirected: int) -> None:
    """Secrets that its groups may use, and their rules; uses and refusals of its own clients; not whence values come."""
    secret = grant(running, f"owt_{scope}-0123456789abcdef", scope, role="viewer")
    with running.client(secret) as client:
        found = rows(client.get("/api/v1/secrets"))
        assert [each.name for each in found] == names
        assert {each.source for each in found} == {None}
        assert sum(each.misdirected for each in found) == misdirected
        assert len(rows(client.get("/api/v1/secrets/uses"))) == uses
        assert client.get("/api/v1/secrets?group=acme").status_code == 403
        assert client.get("/secrets?group=acme").status_code == 403
        page = client.get("/secrets").text
        assert ("GITHUB_TOKEN" in page, "mirror" in page) == (False, True)


def test_what_is_asked_for_must_be_understood(running: Admin) -> None:
    with running.client() as client:
        for path in ("/api/v1/secrets?secret=x", "/api/v1/secrets?since=never", "/api/v1/secrets/uses?limit=0"):
            assert client.get(path).status_code == 400, path
        assert client.post("/api/v1/secrets").status_code == 405
        assert client.get("/api/v1/secrets/github").status_code == 404
    with running.client(None) as client:
        assert client.get("/api/v1/secrets").status_code == 401

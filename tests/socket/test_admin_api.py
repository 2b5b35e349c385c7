"""The admin API over real sockets: what it answers, streams and exports."""

import json
import threading
import time

import httpx
import pytest

from harness.admin import denied, grant, rows
from harness.waiting import PATIENCE
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.records.events import query
from outward.records.events.query import Filters

DECISION = "0193f0000000000000000000000000aa"


def test_the_blocked_log_lists_the_newest_first_page_by_page(running, client):
    """A cursor goes on where a page ended, whatever was added meanwhile."""
    running.write(denied(time=1_800_000_000 + n, host=f"h{n}.example.net") for n in range(7))
    first = client.get("/api/v1/blocked?limit=3").json()
    running.write([denied(time=1_800_000_100, host="new.example.net")])
    second = client.get("/api/v1/blocked", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    third = client.get("/api/v1/blocked", params={"limit": 3, "cursor": second["next_cursor"]}).json()
    hosts = [item["host"] for page in (first, second, third) for item in page["items"]]
    assert hosts == [f"h{n}.example.net" for n in range(6, -1, -1)]
    assert third["next_cursor"] is None


def test_filters_choose(running, client):
    """Each alone; a host in any spelling that means it."""
    running.write([
        denied(host="a.example.net", group="acme", client="10.0.0.1", time=4_070_908_800),
        denied(host="b.example.net", group="other", reason=Reason.DENIED_BY_RULE, conversation="chat", time=4_070_908_810),
        denied(host="c.example.net", verdict=Verdict.ALLOW, reason=Reason.RULE),
    ])  # fmt: skip
    for params, hosts in (
        ({}, ["b", "a"]),
        ({"group": "acme"}, ["a"]),
        ({"host": "A.Example.NET."}, ["a"]),
        ({"reason": "denied_by_rule"}, ["b"]),
        ({"client": "10.0.0.1"}, ["a"]),
        ({"conversation": "chat"}, ["b"]),
        ({"since": "2099-01-01T00:00:05Z"}, ["b"]),
        ({"until": "2099-01-01T00:00:05Z"}, ["a"]),
        ({"since": "1h"}, ["b", "a"]),
        ({"host": "none.example"}, []),
    ):
        found = [row.host[0] for row in rows(client.get("/api/v1/blocked", params=params))]
        assert found == hosts, params


def test_who_asked_is_told_and_can_be_searched_for(running, client):
    """By address, by the policy's name, by subject: in the list, in the summary, over time, as a file and on the page."""
    known = {"client_name": "ci <1>", "subject": "project:7", "claims": (("job_id", 42), ("ref", "main"))}
    running.write([
        denied(host="a.example.net", id=DECISION, instance="pod-1", redirected_from="b.example.net", **known),
        denied(host="b.example.net", client="10.0.0.9"),
    ])  # fmt: skip
    found = client.get(f"/api/v1/decisions/{DECISION}").json()
    told = ("instance", "client_name", "subject", "claims", "redirected_from")
    assert [found[name] for name in told] == [
        "pod-1", "ci <1>", "project:7", {"job_id": 42, "ref": "main"}, "b.example.net"
    ]  # fmt: skip
    for params in ({"client": "ci <1>"}, {"subject": "project:7"}, {"client": "10.1.2.3"}):
        for path in ("blocked", "blocked/summary"):
            assert [row.host for row in rows(client.get(f"/api/v1/{path}", params=params))] == ["a.example.net"]
        counted = client.get("/api/v1/attempts", params={**params, "since": "2h"}).json()
        assert sum(row["count"] for row in counted["items"]) == 1
        page = client.get("/", params=params).text
        assert "a.example.net" in page
        assert "b.example.net" not in page
        assert client.get("/export.csv", params=params).text.count("\n") == 2
    assert rows(client.get("/api/v1/blocked", params={"subject": "project:8"})) == []
    page = client.get(f"/decisions/{DECISION}").text
    for shown in ("pod-1", "ci &lt;1&gt;", "project:7", "Claim job_id", "/?subject=project%3A7", "Redirected from"):
        assert shown in page


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=501", "limit=x", "limit=%2B5", "cursor=x", "cursor=bm90", "reason=none", "since=soon",
        "unknown=1", "limit=1&limit=2", "would_deny=yes", "since=2026-13-01T00:00:00Z",
    ],
)  # fmt: skip
def test_a_query_that_is_not_understood_is_refused(client, query):
    """Never guessed, never ignored."""
    reply = client.get(f"/api/v1/blocked?{query}")
    assert reply.status_code == 400
    assert reply.json()["detail"]


def test_the_summary_counts_each_host_once_and_suggests_the_line(running, client):
    """With the first and the last time, and the id to ask about."""
    running.write(
        [
            denied(group="other", id=DECISION, time=1_800_000_000),
            denied(group="other", time=1_800_000_050, client="10.9.9.9"),
        ]
    )
    running.write([denied(group="other", time=1_800_000_020, host="x.example.net", port=8443)])
    first, second = rows(client.get("/api/v1/blocked/summary"))
    assert (first.host, first.count, first.suggestion) == ("blocked.example.net", 2, "- blocked.example.net")
    assert (first.first_seen, first.last_seen) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:50.000Z")
    assert second.suggestion == '- "x.example.net:8443"'
    assert client.get(f"/api/v1/decisions/{first.last_id}").json()["client"] == "10.9.9.9"


def test_a_summary_by_client_counts_the_newest_events_only(running):
    """However many a client caused, its page is answered from a bounded number."""
    running.write([denied(host=f"h{number}.example", time=1e9 + number) for number in range(5)])
    database = running.database()
    wanted = Filters(client="10.1.2.3")
    assert [line.host for line in query.summary(database, wanted, 10, counted=2)] == ["h4.example", "h3.example"]
    assert query.totals(database, wanted) == (5, 5, 1)
    assert query.totals(database, Filters(client="192.0.2.1")) == (0, 0, 0)
    database.close()


def test_the_page_says_what_its_counts_are_of(running, client):
    """An attempt of long ago counts in the line of a host that was asked for again just now."""
    old = time.time() - 10 * 86_400
    running.write([denied(), denied(time=old)])
    words = {"": "of all time", "?period=all": "of all time", "?client=10.1.2.3": "newest 50,000"}
    for query_text, said in words.items():
        assert said in client.get(f"/{query_text}").text
    assert ">2<" in client.get("/").text
    assert ">1<" in client.get("/?client=10.1.2.3").text


def test_noise_is_counted_and_not_listed(running, client):
    """`ignore` of an ancestor covers its descendants; other groups still see the host."""
    running.write([
        denied(host="a.telemetry.example"), denied(host="telemetry.example"),
        denied(host="b.telemetry.example", group="other"),
    ])  # fmt: skip
    listed = {(row.host, row.group) for row in rows(client.get("/api/v1/blocked"))}
    assert listed == {("telemetry.example", "acme/platform/payments"), ("b.telemetry.example", "other")}
    assert [row.host for row in rows(client.get("/api/v1/blocked?ignored=true"))] == ["a.telemetry.example"]
    assert len(rows(client.get("/api/v1/blocked/summary"))) == 2
    (only,) = rows(client.get("/api/v1/blocked/summary?ignored=true"))
    assert (only.host, only.count) == ("a.telemetry.example", 1)


def test_a_decision_shows_its_why_and_its_cure(running, client):
    """By the id that the client was given."""
    running.write([denied(id=DECISION, group="other"), denied(id="0" * 31 + "1")])
    found = client.get(f"/api/v1/decisions/{DECISION}").json()
    assert (found["id"], found["reason"], found["title"]) == (DECISION, "no_rule", "No rule allows this host")
    assert found["suggestion"] == "- blocked.example.net"
    under_a_ceiling = client.get(f"/api/v1/decisions/{'0' * 31}1").json()
    assert under_a_ceiling["suggestion"] is None
    assert "group's own list" in under_a_ceiling["cure"]
    assert client.get(f"/api/v1/decisions/{'0' * 32}").status_code == 404
    assert client.get("/api/v1/decisions/../groups").status_code in (404, 200)


def test_a_decision_that_was_repeated_says_how_often(running, client):
    """In the list, in the totals and on its own page."""
    running.write([denied(id=DECISION, count=1234, last_seen=time.time())])
    assert client.get(f"/api/v1/decisions/{DECISION}").json()["count"] == 1234
    assert [row.count for row in rows(client.get("/api/v1/blocked/summary"))] == [1234]
    assert "1,234, the last 20" in client.get(f"/decisions/{DECISION}").text
    assert "1,234" in client.get("/").text


def test_a_group_shows_each_line_with_its_origin(client):
    """Own and inherited rules, what a ceiling or a deny takes away, and who decided about search."""
    found = client.get("/api/v1/groups/acme/platform").json()
    allow = {rule["pattern"]: rule for rule in found["allow"]}
    assert found["chain"] == ["acme/platform", "acme"]
    assert (allow["docs.python.org"]["group"], allow["docs.python.org"]["effective"]) == ("acme", True)
    assert allow["api.github.com"]["limits"] == "GET, HEAD · /repos/** · sets authorization from github"
    assert allow["db.example.com"]["limits"] == "port 5432"
    assert allow["above.example.org"]["why_not"] == "outside the ceiling of acme"
    assert [rule["pattern"] for rule in found["deny"]] == ["gist.github.com"]
    assert found["web_search"]["decided_by"] == "acme/platform"
    assert found["web_search"]["origin"] == "file"
    limits = {"group": "other", "requests_per_second": 2.5, "burst": 3, "connections": 20}
    assert (found["limits"], client.get("/api/v1/groups/other").json()["limits"]) == ([], [limits])
    assert "2.5 requests a second, 3 at once, 20 connections for all of other" in client.get("/groups/other").text
    assert client.get("/api/v1/groups/nobody").status_code == 404
    assert client.get("/api/v1/groups/acme%2Fplatform").json()["path"] == "acme/platform"


def test_explain_answers_without_traffic(client):
    """The same trace as the command line's."""
    url = "https://api.github.com/gists"
    found = client.post("/api/v1/explain", json={"group": "acme/platform", "url": url}).json()
    assert (found["verdict"], found["reason"]) == ("deny", "path_not_allowed")
    found = client.post("/api/v1/explain", json={"group": "acme", "host": "docs.python.org"}).json()
    assert (found["verdict"], found["steps"][0]["decided"]) == ("allow", True)
    assert found["closed"] is None
    found = client.post("/api/v1/explain", json={"group": "acme", "host": "169.254.169.254"}).json()
    assert (found["verdict"], found["closed"]) == ("deny", "cloud metadata")
    for body in ({}, {"group": "acme"}, {"group": "acme", "host": "a..b"}, {"group": "acme", "host": "a", "port": True},
                 {"group": "acme", "url": "https://a/", "host": "a"}, {"group": 1, "host": "a"}, {"x": 1}):  # fmt: skip
        assert client.post("/api/v1/explain", json=body).status_code == 400, body
    assert client.post("/api/v1/explain", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    twice = b'{"group": "acme", "group": "other", "host": "a"}'
    assert (
        client.post("/api/v1/explain", content=twice, headers={"Content-Type": "application/json"}).status_code == 400
    )
    assert client.post("/api/v1/explain", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415


def test_events_arrive_as_they_happen(running):
    """Only what was asked for, within the scope."""
    scoped = running.client(grant(running, "platform", "acme/platform"))
    with scoped.stream("GET", "/api/v1/events/stream?verdict=deny") as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        lines = reply.iter_lines()
        assert next(lines).startswith("retry")
        running.publish(denied(group="other"))
        running.publish(denied(verdict=Verdict.ALLOW))
        running.publish(denied(id=DECISION, host="a\nb.example"))
        got = [next(lines) for _ in range(4)]
    assert got[1] == "event: decision"
    assert got[2] == f"id: {DECISION}"
    assert json.loads(got[3].removeprefix("data: "))["group"] == "acme/platform/payments"


def test_a_reader_that_leaves_is_forgotten(running, client):
    """Its place is free again."""
    stream = running.administration.stream
    with client.stream("GET", "/api/v1/events/stream") as reply:
        lines = reply.iter_lines()
        next(lines)
        assert len(stream._watchers) == 1
    deadline = time.monotonic() + PATIENCE
    while stream._watchers:
        running.publish(denied())
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_exports_are_whole_and_no_formula(running, client):
    """CSV that a spreadsheet may open, JSON lines that a script may read; every row, over several pages."""
    running.write(denied(time=1_800_000_000 + n / 1000, host=f"h{n}.example.net") for n in range(2100))
    running.write([denied(host="=cmd|calc", user_agent="@SUM(1)", client="+1", group="acme")])
    text = client.get("/export.csv").text
    assert len(text.splitlines()) == 2102
    assert "'=cmd|calc" in text
    assert ",'@SUM(1)" in text
    assert ",'+1," in text
    lines = client.get("/export.jsonl?group=acme/platform").text.splitlines()
    assert len(lines) == 2100
    assert json.loads(lines[0])["host"] == "h2099.example.net"
    assert httpx.get(f"{running.url}/export.csv", timeout=PATIENCE).status_code == 401


def test_a_store_that_is_away_answers_503(running, client, tmp_path):
    """And does not pretend that nothing was blocked."""
    for file in tmp_path.glob("records.sqlite*"):
        file.unlink()
    assert client.get("/api/v1/blocked").status_code == 503
    assert client.get("/api/v1/groups").status_code == 200

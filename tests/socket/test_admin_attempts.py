"""What was allowed and how much happened when, through the API: counted once, by group, searched and sorted."""

import time

import pytest

from harness.admin import denied, grant, rows
from outward.core.model import Mode, Verdict
from outward.core.reasons import Reason
from outward.records.events import pruning, store
from outward.records.events.over_time import MOST, over_time
from outward.records.events.query import Filters, summary
from outward.records.events.values import as_record

PASSED = {"verdict": Verdict.ALLOW, "reason": Reason.RULE, "status": 200}
REPORTED = PASSED | {
    "reason": Reason.REPORT_ONLY,
    "would_deny": True,
    "would_reason": Reason.NO_RULE,
    "mode": Mode.REPORT,
}


def hosts(reply):
    return [row.host for row in rows(reply)]


def test_what_was_allowed_is_counted_by_host_apart_from_what_would_be_denied(running, client):
    """With the id of the last one, and within the token's scope."""
    last = denied(host="a.example", group="acme", **PASSED)
    running.write(
        [
            denied(host="a.example", group="acme", time=last.time - 9, **PASSED),
            denied(host="b.example", group="other", time=last.time - 5, **PASSED),
        ]
    )
    running.write([last, denied(host="r.example", group="other", **REPORTED), denied(host="d.example", group="other")])
    first, second = rows(client.get("/api/v1/allowed"))
    assert (first.host, first.count, first.last_id, second.host) == ("a.example", 2, last.id, "b.example")
    (reported,) = rows(client.get("/api/v1/blocked/summary?would_deny=true"))
    assert (reported.host, reported.reason, reported.suggestion) == ("r.example", "no_rule", "- r.example")
    assert hosts(client.get("/api/v1/blocked/summary")) == ["d.example"]
    with running.client(grant(running, "owt_other-0123456789", "other")) as scoped:
        assert hosts(scoped.get("/api/v1/allowed")) == ["b.example"]
        assert scoped.get("/api/v1/allowed?group=acme").status_code == 403
        assert sum(item["count"] for item in scoped.get("/api/v1/attempts?outcome=allow").json()["items"]) == 1
        assert sum(item["count"] for item in scoped.get("/api/v1/attempts").json()["items"]) == 1


@pytest.mark.parametrize("path", ["/api/v1/blocked", "/api/v1/blocked/summary", "/api/v1/blocked/summary?since=1h"])
def test_a_part_of_a_name_is_searched_as_it_is_written(running, client, path):
    """A wildcard of SQL is a character of a name; case does not count."""
    running.write(denied(host=host, group="other") for host in ("a_b.example", "axb.example", "a%c.example"))
    running.write([denied(host="a_b.example", group="acme")])
    for text, found in (("A_B", 2), ("%", 1), ("b.ex", 3), ("!", 0), ("nowhere", 0)):
        items = rows(client.get(path, params={"search": text}))
        assert len(items) == found, text
    assert client.get(path, params={"search": "x" * 257}).status_code == 400
    with running.client(grant(running, "owt_other-0123456789", "other")) as scoped:
        assert len(rows(scoped.get(path, params={"search": "a_b"}))) == 1


def test_the_summary_is_sorted_in_the_database(running, client):
    """Both ways, from the totals and from events; what is no column is refused."""
    running.write([
        *(denied(host="b.example", group="acme", time=1_800_000_000 + each) for each in range(3)),
        denied(host="a.example", group="other", time=1_800_000_100),
    ])  # fmt: skip
    for sort, first in (("host", "a"), ("-host", "b"), ("-count", "b"), ("count", "a"), ("group", "b"), ("-group", "a"),
                        ("first_seen", "b"), ("-last_seen", "a"), ("reason", "a")):  # fmt: skip
        for more in ("", "&since=2027-01-01T00:00:00Z"):
            found = hosts(client.get(f"/api/v1/blocked/summary?sort={sort}{more}"))
            assert found[0] == f"{first}.example", (sort, more)
    for text in ("last_id", "host;", "--host", "-"):
        assert client.get("/api/v1/blocked/summary", params={"sort": text}).status_code == 400


def test_attempts_over_time_are_whole_from_hours_and_from_events(running, client):
    """The same sum, whichever answers; and never more than a few spans."""
    now = time.time()
    running.write([denied(time=now - each * 1800, host=f"h{each % 3}.example", group="acme") for each in range(40)])
    for query, count in (("", 40), ("search=h", 40), ("host=h0.example", 14), ("since=7d", 40),
                         ("since=0001-01-01T00:00:00Z", 40), ("until=0001-01-02T00:00:00Z", 0),
                         ("since=2h&client=10.9.9.9", 0), ("outcome=allow", 0)):  # fmt: skip
        found = client.get(f"/api/v1/attempts?{query}").json()
        assert sum(item["count"] for item in found["items"]) == count, query
        assert found["whole"]
        assert len(found["items"]) <= MOST + 1
    for bad in ("outcome=would_deny", "outcome=allow&host=a.example", "outcome=allow&client=x", "since=soon"):
        assert client.get(f"/api/v1/attempts?{bad}").status_code == 400, bad


def test_what_is_written_again_and_what_grows_is_counted_once(running):
    """The totals and the hours, after a row was spilled and written twice, and after a fold grew."""
    database = running.database()
    passed, folded = as_record(denied(host="a.example", **PASSED)), as_record(denied(host="f.example"))
    grown = folded | {"count": 5, "added": 4, "last_seen": folded["time"]}
    for records, again in (([passed, folded], False), ([passed, folded], True), ([grown], False), ([grown], True)):
        with database.transaction():
            store.write(database, records, again=again)
    assert [row.count for row in summary(database, Filters(allowed=True), 10)] == [1]
    found = dict(database.execute("SELECT outcome, SUM(count) FROM attempt_hours GROUP BY outcome"))
    assert {name: int(count) for name, count in found.items()} == {"allow": 1, "deny": 5}
    database.close()


def test_lines_of_what_was_allowed_are_bounded_and_pruned(running, monkeypatch):
    """An agent that makes up names below a wildcard fills no table."""
    monkeypatch.setattr(pruning, "SUMMARY_LINES", 5)
    running.write(denied(host=f"h{each}.example.com", group="acme", **PASSED) for each in range(20))
    database = running.database()
    while pruning.merge_summary(database):
        pass
    found = summary(database, Filters(allowed=True), 50)
    assert len(found) <= 6
    assert sum(row.count for row in found) == 20
    pruning.prune_summary(database, time.time() + 7200)
    assert summary(database, Filters(allowed=True), 50) == []
    assert sum(over_time(database, Filters(allowed=True), None, time.time()).counts) == 0
    database.close()


def test_no_question_of_the_page_reads_all_events(running):
    """Each is answered from an index of events, or from the writer's totals."""
    database = running.database()
    asked: list[tuple[str, list]] = []
    execute = database.execute

    def noted(sql, parameters=()):
        asked.append((sql, parameters))
        return execute(sql, parameters)

    database.execute = noted
    now = time.time()
    for filters in (
        Filters(), Filters(search="x"), Filters(allowed=True, search="x"), Filters(would_deny=True),
        Filters(client="10.1.2.3", search="x"), Filters(would_deny=True, client="10.1.2.3"),
        Filters(since=now - 60, until=now, search="x", group="acme"), Filters(would_deny=True, since=now - 60, until=now),
    ):  # fmt: skip
        summary(database, filters, 10)
        over_time(database, filters, now - 3600, now)
        over_time(database, filters, now - 86_400, now)
    for sql, parameters in asked:
        plan = [row[3] for row in execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
        assert not [step for step in plan if step.startswith(("SCAN events", "SCAN attempt_hours"))], (sql, plan)
    database.close()

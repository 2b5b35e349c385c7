"""`outward replay`: recorded traffic under another policy, from the store and from the logs of other proxies."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from outward.cli.main import main
from outward.core.reasons import Reason
from outward.records.database import migrate, open_database
from outward.records.events.store import write
from outward.records.events.values import Event, as_record, line, new_id, repeats_of

POLICY = """version: 1
server: {state: state}
groups:
  dev:
    allow: [a.example, {host: b.example, methods: [GET], paths: ["/ok/**"]}]
    deny: [c.example]
clients: [{group: dev, anyone: true}]
"""
SQUID = """1761074374.646    120 10.0.0.5 TCP_TUNNEL/200 3204 CONNECT a.example:443 - HIER_DIRECT/192.0.2.1 -
1761074375.100      0 10.0.0.5 TCP_DENIED/403 3204 CONNECT a.example:443 - HIER_NONE/- text/html
1761074375.200     10 10.0.0.5 TCP_MISS/200 900 GET http://c.example/x?secret=1 - HIER_DIRECT/192.0.2.1 text/html
1761074375.300     10 10.0.0.5 TCP_MISS/200 900 GET http://c.example/x?secret=2 - HIER_DIRECT/192.0.2.1 text/html
1761074375.400      0 10.0.0.5 TCP_DENIED/407 900 CONNECT a.example:443 - HIER_NONE/- text/html
1761074375.500      0 10.0.0.5 NONE_NONE/000 0 - error:transaction-end-before-headers - HIER_NONE/- -
1761074375.600     10 10.0.0.5 TCP_MISS/200 900 POST https://b.example/ok/1 - HIER_DIRECT/192.0.2.1 text/html
this is no line of Squid's
"""
AWF = """{"_schema":"audit/v0.23.1","ts":1761074374.646,"client":"172.30.0.20","host":"a.example:443","dest":"192.0.2.1:443","method":"CONNECT","status":200,"decision":"TCP_TUNNEL","url":"a.example:443"}
{"_schema":"audit/v0.23.1","timestamp":"2026-03-23T18:35:08.910Z","event":"http_access","client":"172.30.0.20","host":"c.example:443","dest":"-:-","method":"CONNECT","status":403,"decision":"TCP_DENIED","url":"c.example:443"}
{"_schema":"audit/v0.23.1","ts":1,"client":"172.30.0.20","host":"d.example:443","dest":"-:-","method":"CONNECT","status":200,"decision":"TCP_TUNNEL","url":"d.example:443"}
"""
SMOKESCREEN = """{"allow":false,"decision_reason":"host matched rule in global deny list","enforce_would_deny":true,"msg":"CANONICAL-PROXY-DECISION","proxy_type":"connect","requested_host":"a.example:443","role":""}
{"allow":true,"decision_reason":"rule has open enforcement policy","enforce_would_deny":true,"msg":"CANONICAL-PROXY-DECISION","proxy_type":"http","requested_host":"d.example:80","role":"dev"}
{"allow":true,"decision_reason":"ok","enforce_would_deny":false,"msg":"CANONICAL-PROXY-DECISION","proxy_type":"connect","requested_host":"b.example:443","role":"dev"}
{"msg":"CANONICAL-PROXY-CN-CLOSE","requested_host":"a.example:443"}
"""


@pytest.fixture
def outward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.yaml").write_text(POLICY)

    def run(*words: str, log: str = "") -> Result:
        return CliRunner().invoke(main, ["replay", "--config", "new.yaml", *words], input=log)

    return run


def totals(result: Result) -> tuple[int, int, int]:
    return tuple(json.loads(result.output)["totals"].values())


def test_squid(outward):
    result = outward("--from", "squid", "-", "--json", log=SQUID)
    told = json.loads(result.output)
    assert totals(result) == (3, 1, 1)
    blocked, allowed = told["examples"]["newly-blocked"], told["examples"]["newly-allowed"]
    assert [(each["count"], each["host"], each["path"], each["reason"]) for each in blocked] == [
        (2, "c.example", "/x", "denied_by_rule"),
        (1, "b.example", "/ok/1", "method_not_allowed"),
    ]
    assert [(each["count"], each["host"], each["method"]) for each in allowed] == [(1, "a.example", None)]
    assert told["not_understood"] == 1
    assert "secret" not in result.output


def test_awf_and_smokescreen(outward):
    assert totals(outward("--from", "awf", "-", "--json", log=AWF)) == (1, 0, 2)
    told = json.loads(outward("--from", "smokescreen", "-", "--json", log=SMOKESCREEN).output)
    assert tuple(told["totals"].values()) == (0, 1, 2)
    assert told["now_inspected"] == 1  # b.example has methods and paths, and only the tunnel was recorded


def test_the_text_names_the_groups_and_the_requests(outward):
    result = outward("--from", "squid", "-", log=SQUID)
    assert result.output.splitlines()[0].split() == ["GROUP", "NEWLY", "BLOCKED", "NEWLY", "ALLOWED", "UNCHANGED"]
    assert ["2", "dev", "GET", "c.example:80/x", "denied_by_rule"] in [
        line.split() for line in result.output.splitlines()
    ]
    assert "not understood: 1 of the log's lines" in result.output


@pytest.mark.parametrize(("flag", "status"), [("newly-blocked", 4), ("newly-allowed", 0)])
def test_it_fails_on_what_it_is_told_to(outward, flag: str, status: int):
    assert outward("--from", "awf", "-", "--fail-on", flag, log=AWF).exit_code == status


def test_a_store_with_events_of_groups_that_are_gone_and_of_reasons_that_no_rule_cures(outward, tmp_path: Path):
    (tmp_path / "state").mkdir()
    database = open_database("sqlite", tmp_path / "state")
    migrate(database)
    now = int(time.time() * 1000)
    rows = [
        # group, host, port, method, path, scheme, verdict, would_deny, reason
        ("dev/gone", "a.example", 443, "CONNECT", None, None, "deny", False, "no_rule"),
        ("dev", "a.example", 443, "GET", "/", "https", "deny", False, "sni_mismatch"),
        ("dev", "e.example", 443, "GET", "/", "https", "allow", True, "report_only"),
        ("other", "a.example", 443, "CONNECT", None, None, "allow", False, "rule"),
        ("dev", "c.example", 443, "CONNECT", None, None, "allow", False, "rule"),
    ]
    for group, host, port, method, path, scheme, verdict, would_deny, reason in rows:
        database.execute(
            "INSERT INTO events (id, time_ms, verdict, reason, stage, mode, would_deny, group_path, method, scheme, host, port, path)"
            " VALUES (?, ?, ?, ?, 'connect', 'enforce', ?, ?, ?, ?, ?, ?, ?)",
            (new_id(), now, verdict, reason, would_deny, group, method, scheme, host, port, path),
        )
    database.close()
    told = json.loads(outward("--json").output)
    assert [(each["host"], each["reason"]) for each in told["examples"]["newly-allowed"]] == [("a.example", "rule")]
    assert [(each["host"], each["group"]) for each in told["examples"]["newly-blocked"]] == [("c.example", "dev")]
    assert told["totals"]["unchanged"] == 3


def test_repeats_count_once_from_the_store_and_from_the_lines(outward, tmp_path: Path):
    """A row counts seven attempts; its first line told of two, and the line at the end of the rest."""
    event = Event(host="a.example", port=443, group="dev", method="CONNECT", reason=Reason.NO_RULE, count=2)
    lines = [line(as_record(event)), line(repeats_of(event, 5))]
    told = outward("--from", "jsonl", "-", "--json", log=b"".join(lines).decode())
    assert totals(told) == (0, 7, 0)
    (tmp_path / "state").mkdir()
    database = open_database("sqlite", tmp_path / "state")
    migrate(database)
    with database.transaction():
        write(database, [as_record(replace(event, count=7))])
    database.close()
    assert totals(outward("--json")) == (0, 7, 0)


@pytest.mark.parametrize("count", [0, -1, "2", 1.5, None])
def test_a_line_that_counts_nothing_is_not_understood(outward, count: object):
    text = json.dumps({**as_record(Event(host="a.example", port=443, group="dev")), "count": count})
    told = json.loads(outward("--from", "jsonl", "-", "--json", log=text).output)
    assert (sum(told["totals"].values()), told["not_understood"]) == (0, 1)


def test_hosts_that_nobody_can_read_are_counted(outward):
    line = json.dumps({"verdict": "deny", "reason": "malformed_host", "host": "a..b", "port": 443, "group": "dev"})
    nowhere = json.dumps({"verdict": "deny", "reason": "unknown_client", "host": None, "port": None})
    told = json.loads(outward("--from", "jsonl", "-", "--json", log=f"{line}\n{nowhere}\n\n").output)
    assert (told["malformed_hosts"], sum(told["totals"].values())) == (1, 0)
    assert outward("--from", "jsonl", "-").output == "nothing was recorded\n"


def test_usage(outward):
    assert outward("--from", "squid").exit_code == 2
    assert outward().exit_code == 1  # no store yet


def test_what_an_expired_rule_refused_is_allowed_by_a_policy_that_renews_it(outward):
    event = {"verdict": "deny", "reason": "rule_expired", "host": "a.example", "port": 443, "group": "dev"}
    assert totals(outward("--from", "jsonl", "-", "--json", log=json.dumps(event))) == (0, 1, 0)


def test_a_policy_whose_own_tests_fail_is_replayed_and_the_failure_told(outward, tmp_path: Path):
    policy = tmp_path / "new.yaml"
    policy.write_text(policy.read_text() + "tests: [{group: dev, url: 'https://nowhere.example/', expect: allow}]\n")
    result = outward("--from", "squid", "-", "--json", log=SQUID)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["totals"]
    assert "1 of the policy's own tests fail; `outward test --config new.yaml` shows them" in result.stderr

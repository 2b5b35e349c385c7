"""`outward blocked` counts attempts: a row that repeats were counted in is not one attempt."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from outward.cli.main import main
from outward.core.reasons import Reason
from outward.records.database import migrate, open_database
from outward.records.events.store import write
from outward.records.events.values import Event, as_record

POLICY = """version: 1
server: {state: state}
groups: {dev: {allow: [a.example]}}
clients: [{group: dev, anyone: true}]
"""


@pytest.fixture
def blocked(tmp_path: Path):
    (tmp_path / "outward.yaml").write_text(POLICY)
    (tmp_path / "state").mkdir()
    now = time.time()
    rows = [
        Event(
            host="b.example", port=443, group="dev", reason=Reason.NO_RULE, time=now - 100, count=7, last_seen=now - 50
        ),
        Event(
            host="b.example", port=443, group="dev", reason=Reason.NO_RULE, time=now - 200, count=2, last_seen=now - 150
        ),
        Event(host="b.example", port=443, group="dev", reason=Reason.NO_RULE, time=now - 100),
        *(
            Event(
                host=host,
                port=port,
                group="dev",
                reason=Reason.NO_RULE,
                time=now - 90_000,
                method="CONNECT",
                scheme=scheme,
            )
            for host, port, scheme in (("pastebin.com", 443, None), ("db.example", 5432, "tcp"))
        ),
    ]
    database = open_database("sqlite", tmp_path / "state")
    migrate(database)
    with database.transaction():
        write(database, [as_record(event) for event in rows])
    database.close()

    def run(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, ["blocked", "--config", str(tmp_path / "outward.yaml"), *words])
        assert result.exit_code == status, result.output
        return result.output

    return run


def test_the_summary_adds_up_what_rows_count(blocked):
    assert [row["count"] for row in json.loads(blocked("--json"))] == [10, 1, 1]
    assert [row["count"] for row in json.loads(blocked("--since", "1h", "--json"))] == [10]


def test_a_line_is_the_one_that_the_end_of_run_and_suggest_offer(blocked):
    """None where they leave a host out; one that is enough for what is neither TLS nor HTTP."""
    rows = {row["host"]: row for row in json.loads(blocked("--json"))}
    why = "anybody can send or fetch through it (`@pastes`)"
    assert (rows["pastebin.com"]["suggestion"], rows["pastebin.com"]["left_out"]) == (None, why)
    assert rows["db.example"]["suggestion"] == '- {host: "db.example", ports: [5432], tls: false}'
    assert f"(left out: {why})" in blocked()


def test_a_row_belongs_to_the_time_of_its_last_attempt_too(blocked):
    assert [row["count"] for row in json.loads(blocked("--since", "80s", "--json"))] == [7]


def test_single_events_say_how_often(blocked):
    lines = blocked("--events").splitlines()
    assert sorted(line.rpartition("  ")[2] for line in lines if line.endswith("x")) == ["2x", "7x"]
    assert len(lines) == 5
    assert sorted(row["count"] for row in json.loads(blocked("--events", "--json"))) == [1, 1, 1, 2, 7]


def test_one_decision_is_shown_whole_by_its_id(blocked):
    """Whatever was decided and when; exit 4 tells a script that there is none."""
    (event, *_) = json.loads(blocked("--events", "--json"))
    assert json.loads(blocked("--id", event["id"], "--json")) == event
    lines = blocked("--id", event["id"]).splitlines()
    assert f"id: {event['id']}" in lines
    assert "host: b.example" in lines
    assert not [line for line in lines if line.endswith(": None")]
    assert "no decision has the id `none`" in blocked("--id", "none", status=4)
    assert blocked("--id", "none", "--json", status=4) == "null\n"


def test_without_a_configuration_the_starter_policy_says_what_would_allow_a_method(tmp_path, monkeypatch):
    """`run` printed that line a moment ago, by the same policy."""
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "OUTWARD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    state = tmp_path / ".local/state/outward/run"
    state.mkdir(parents=True)
    event = Event(
        host="www.gitlab.com", port=443, group="local", reason=Reason.METHOD_NOT_ALLOWED, time=time.time(),
        method="POST", path="/gists", scheme="https", client_name="~",
    )  # fmt: skip
    database = open_database("sqlite", state)
    migrate(database)
    with database.transaction():
        write(database, [as_record(event)])
    database.close()
    [row] = json.loads(CliRunner().invoke(main, ["blocked", "--json"]).stdout)
    assert row["suggestion"] == '- {host: "www.gitlab.com", ports: [443], methods: [POST], paths: ["/gists"]}'

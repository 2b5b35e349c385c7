"""`outward blocked` and `outward audit`: they read the store themselves and let nothing odd reach the terminal."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.full_disk import fill, free, small_disk
from harness.process import OUTWARD, environment, outward
from harness.records import Counts, denied
from harness.waiting import PATIENCE, wait_for
from outward.cli.main import main
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.records.audit.values import AuditEvent
from outward.records.events.recorder import Recorder
from outward.records.events.values import Event

POLICY = """version: 1
server: {{listen: "127.0.0.1:0", ops: "127.0.0.1:0", state: "{state}"}}
groups:
  acme: {{allow: [good.example]}}
clients:
  - {{group: acme, anyone: true}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "outward.yaml"
    path.write_text(POLICY.format(state=tmp_path))
    return path


def record(state: Path, *events: Event | AuditEvent) -> None:
    recorder = Recorder("sqlite", state, Counts(), retention=1e10)
    recorder.start()
    for event in events:
        recorder.audit(event) if isinstance(event, AuditEvent) else recorder.record(event)
    recorder.close(10)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_blocked_lists_each_group_host_and_reason_once(config: Path, tmp_path: Path) -> None:
    allowed = Event(group="acme/a", host="good.example", verdict=Verdict.ALLOW, reason=Reason.RULE)
    record(tmp_path, *[denied("often.example") for _ in range(7)], denied("once.example", port=8443), allowed)
    lines = run("blocked", "--config", config).stdout.splitlines()
    assert len(lines) == 3
    often = next(line for line in lines if "often.example" in line)
    assert "  7  " in often
    assert often.endswith("- often.example")
    assert any(line.endswith('- "once.example:8443"') for line in lines)
    assert not any("good.example" in line for line in lines)


@pytest.mark.parametrize("since", [(), ("--since", "1h")])
def test_ports_are_told_apart(config: Path, tmp_path: Path, since: tuple[str, ...]) -> None:
    """Each has a line and a suggestion of its own, whether totals answer or single events."""
    record(tmp_path, *[denied("a.example", port=port) for port in (443, 8081, 8081, 80, None)])
    found = json.loads(run("blocked", "--config", config, "--json", *since).stdout)
    assert {row["port"]: row["count"] for row in found} == {443: 1, 8081: 2, 80: 1, None: 1}
    assert next(row["suggestion"] for row in found if row["port"] == 8081) == '- "a.example:8081"'
    text = run("blocked", "--config", config, *since).stdout
    assert all(f"  a.example{port}  " in text for port in (":443", ":8081", ":80", ""))


def test_an_address_is_written_as_in_a_url(config: Path, tmp_path: Path) -> None:
    """Its colons are not taken for a port; where no host was understood, nothing is made up."""
    record(tmp_path, denied("fd00::5", port=80), denied(None, port=None))
    lines = run("blocked", "--config", config).stdout.splitlines()
    assert any("  [fd00::5]:80  " in line for line in lines)
    assert any("  -  " in line and "-:-" not in line for line in lines)


@pytest.mark.parametrize(("verb", "option"), [("blocked", "--reason"), ("audit", "--type")])
def test_an_unknown_code_is_a_usage_error_that_lists_the_known_ones(config: Path, verb: str, option: str) -> None:
    """Rather than an empty list, which reads as good news."""
    done = run(verb, "--config", config, option, "web_search_bloked")
    assert done.exit_code == 2
    assert "web_search_disabled" in done.output or "web_search_blocked" in done.output


@pytest.mark.parametrize(
    "arguments",
    [("blocked",), ("blocked", "--json"), ("audit",), ("check",), ("explain", "--group", "acme", "--search")],
    ids=" ".join,
)
@pytest.mark.parametrize("sink", ["full", "closed"])
def test_output_that_goes_nowhere_is_said_plainly(
    config: Path, tmp_path: Path, arguments: tuple[str, ...], sink: str
) -> None:
    """A full disk is named, a pipe that nobody reads ends quietly; neither is a success, and neither a traceback."""
    record(tmp_path, denied())
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        [OUTWARD, *arguments],
        env={**environment(), "OUTWARD_CONFIG": str(config)} if arguments[0] != "check" else environment(),
        cwd=tmp_path,
        stdout=full if sink == "full" else writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    os.close(writer)
    os.close(full)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "nobody has trusted" not in line]  # which `check` adds
    assert said == (["Error: the output: No space left on device"] if sink == "full" else [])


def test_blocked_as_json_has_counts_times_and_the_latest_id(config: Path, tmp_path: Path) -> None:
    events = [denied(time=1000.0 + number, id=f"{number:032x}") for number in range(3)]
    record(tmp_path, *events)
    (row,) = json.loads(run("blocked", "--config", config, "--json").stdout)
    assert (row["count"], row["first"], row["last"]) == (3, "1970-01-01T00:16:40.000Z", "1970-01-01T00:16:42.000Z")
    assert row["last_id"] == events[-1].id
    assert row["suggestion"] == "- blocked.example"


@pytest.mark.parametrize(
    ("option", "value", "hosts"),
    [
        ("--group", "acme/a", {"one.example", "three.example"}),
        ("--group", "acme", {"one.example", "two.example", "three.example"}),
        ("--group", "acme/", set()),
        ("--host", "two.example", {"two.example"}),
        ("--reason", "denied_by_rule", {"three.example"}),
        ("--client", "10.0.0.9", {"two.example"}),
        ("--client", "ci", {"two.example"}),
        ("--subject", "job:1", {"two.example"}),
        ("--since", "1h", {"one.example", "two.example"}),
        ("--until", "1h", {"three.example"}),
    ],
)
@pytest.mark.parametrize("events", [(), ("--events",)])
def test_every_filter(
    config: Path, tmp_path: Path, option: str, value: str, hosts: set[str], events: tuple[str, ...]
) -> None:
    record(
        tmp_path,
        denied("one.example"),
        denied("two.example", group="acme/b", client="10.0.0.9", client_name="ci", subject="job:1"),
        denied("three.example", reason=Reason.DENIED_BY_RULE, time=time.time() - 86_400),
    )
    found = json.loads(run("blocked", "--config", config, "--json", *events, option, value).stdout)
    assert {row["host"] for row in found} == hosts


def test_nothing_unescaped_reaches_the_terminal(config: Path, tmp_path: Path) -> None:
    """Even what somebody wrote into the database by another way: a C1 control, a bidirectional override."""
    record(
        tmp_path, denied("a\x1b[31mred\u202e.example", client="\x9b31m"), AuditEvent(event_type="e", target="\x1b]0;x")
    )
    connection = sqlite3.connect(tmp_path / "records.sqlite")
    connection.execute("UPDATE blocked_sums SET group_path = char(155) || '2J' || char(8238)")
    connection.execute("UPDATE events SET host = host || char(155)")
    connection.commit()
    connection.close()
    for arguments in (["blocked"], ["blocked", "--events"], ["blocked", "--json"], ["audit"], ["audit", "--json"]):
        text = run(*arguments, "--config", config).stdout
        assert text.replace("\n", "").isprintable(), arguments


def test_without_records_the_message_says_what_to_do(config: Path) -> None:
    result = run("blocked", "--config", config)
    assert result.exit_code == 1
    assert "has the proxy run" in result.stderr


def test_an_empty_log_says_so(config: Path, tmp_path: Path) -> None:
    record(tmp_path, Event(verdict=Verdict.ALLOW, reason=Reason.RULE))
    assert run("blocked", "--config", config).stdout == "nothing was blocked\n"
    assert json.loads(run("blocked", "--config", config, "--json").stdout) == []


@pytest.mark.parametrize("verb", ["blocked", "audit"])
def test_a_group_that_the_configuration_does_not_have_is_not_passed_over(
    config: Path, tmp_path: Path, verb: str
) -> None:
    """A misspelt group has no records; a group that was removed still has, and they are listed."""
    record(tmp_path, denied("a.example"))
    assert "no group `acne`; there are acme\n" in run(verb, "--config", config, "--group", "acne").stderr
    assert run(verb, "--config", config, "--group", "acme").stderr == ""


@pytest.mark.parametrize("verb", [["serve"], ["blocked"], ["audit"], ["audit", "verify"], ["token", "list"]])
def test_without_the_driver_of_postgresql_nothing_starts_and_the_message_says_how_to_get_it(
    config: Path, tmp_path: Path, verb: list[str]
) -> None:
    """It will not come back by waiting, as a database would: `serve` would lose what it records."""
    with config.open("a") as file:
        file.write("records: {url: postgresql://nobody@127.0.0.1:1/none}\n")
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError(\"No module named 'psycopg'\")\n")
    done = outward(*verb, "--config", config, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install --require-hashes -r requirements/postgres.txt" in done.stderr


def test_without_the_messages_of_opentelemetry_the_proxy_does_not_start(config: Path, tmp_path: Path) -> None:
    with config.open("a") as file:
        file.write("records: {export: {otlp: 'http://127.0.0.1:1'}}\n")
    (tmp_path / "opentelemetry.py").write_text("")  # a module, which has no parts
    done = outward("serve", "--config", config, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install --require-hashes -r requirements/otlp.txt" in done.stderr


def follow(config: Path, verb: str, act: Callable[[int], None], wanted: int) -> list[dict[str, object]]:
    """Run `outward VERB --follow` and return its first lines, while something is recorded."""
    command = [sys.executable, "-c", "from outward.cli.main import main; main()", verb, "--config", str(config)]
    child = subprocess.Popen([*command, "--follow", "--json"], stdout=subprocess.PIPE, text=True)
    found: list[dict[str, object]] = []
    assert child.stdout is not None
    stream = child.stdout
    reader = threading.Thread(target=lambda: found.extend(json.loads(stream.readline()) for _ in range(wanted)))
    reader.start()
    try:
        wait_for(lambda: found)
        for number in range(1, wanted):
            act(number)
        wait_for(lambda: len(found) == wanted)
    finally:
        child.terminate()
        child.wait()
        stream.close()
        reader.join(PATIENCE)
    return found


def test_follow_shows_each_denial_once_as_it_comes(config: Path, tmp_path: Path) -> None:
    record(tmp_path, denied("h0.example"))
    found = follow(config, "blocked", lambda number: record(tmp_path, denied(f"h{number}.example")), 4)
    assert [row["host"] for row in found] == [f"h{number}.example" for number in range(4)]


def test_follow_shows_each_audit_event_once_as_it_comes(config: Path, tmp_path: Path) -> None:
    def act(number: int) -> None:
        record(tmp_path, AuditEvent(event_type="web_search_invoked", target=f"c{number}"))

    act(0)
    found = follow(config, "audit", act, 3)
    assert [row["target_details"] for row in found] == ["c0", "c1", "c2"]


def test_audit_lists_filters_exports_and_verifies(config: Path, tmp_path: Path) -> None:
    events = [
        AuditEvent(event_type="web_search_invoked", group="acme/a", target="c1"),
        AuditEvent(event_type="web_search_blocked", group="acme/b", target="c2", time=time.time() + 1),
    ]
    record(tmp_path, *events)
    assert len(run("audit", "--config", config).stdout.splitlines()) == 3
    listed = json.loads(run("audit", "--config", config, "--json", "--group", "acme/b").stdout)
    assert [each["target_details"] for each in listed] == ["c2"]
    assert len(json.loads(run("audit", "--config", config, "--json", "--type", "web_search_invoked").stdout)) == 1
    exported = run("audit", "export", "--config", config).stdout.splitlines()
    assert [json.loads(each)["target_details"] for each in exported] == ["c1", "c2"]
    for arguments in (["audit", "verify", "--config", config], ["audit", "--config", config, "verify"]):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (0, "ok: 2 audit events in 1 chain\n")


def test_verify_exits_with_one_when_the_chain_is_broken(config: Path, tmp_path: Path) -> None:
    record(tmp_path, *[AuditEvent(event_type="web_search_invoked") for _ in range(3)])
    connection = sqlite3.connect(tmp_path / "records.sqlite")
    connection.execute("DELETE FROM audit_events WHERE seq = 3")
    connection.commit()
    connection.close()
    result = run("audit", "verify", "--config", config, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
    assert run("audit", "verify", "--config", config).stdout.startswith("broken: ")


@pytest.mark.parametrize("used", [False, True], ids=["new", "used before"])
def test_a_full_disk_is_named_with_its_cure_and_a_token_is_made_once_there_is_room(tmp_path: Path, used: bool) -> None:
    """Whatever SQLite calls it: a log that cannot grow is an I/O error there. No token is shown that was not kept."""
    config = tmp_path / "outward.yaml"
    config.write_text(POLICY.format(state=tmp_path / "disk"))
    with small_disk(tmp_path / "disk") as disk:
        if used:
            assert outward("token", "create", "--scope", "all", "--config", config).returncode == 0
        fill(disk)
        done = outward("token", "create", "--scope", "all", "--config", config)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"Error: the records cannot be used: {disk}/records.sqlite: ")
        assert done.stderr.endswith("; make room on that disk\n")
        free(disk)
        assert outward("token", "create", "--scope", "all", "--config", config).returncode == 0


def test_what_a_group_ignores_is_listed_apart(config: Path, tmp_path: Path) -> None:
    """The API leaves it out, and so does the command line."""
    config.write_text(
        config.read_text().replace("allow: [good.example]", "allow: [], ignore: [noise.example, .below.example]")
    )
    record(
        tmp_path,
        *(
            denied(host=host, group="acme")
            for host in ("noise.example", "a.below.example", "below.example", "b.example")
        ),
    )
    shown = [row["host"] for row in json.loads(outward("blocked", "--config", str(config), "--json").stdout)]
    assert shown == ["b.example"]
    apart = json.loads(outward("blocked", "--config", str(config), "--json", "--ignored").stdout)
    assert {row["host"] for row in apart} == {"noise.example", "a.below.example", "below.example"}


def test_a_store_in_a_file_of_its_own(config: Path, tmp_path: Path) -> None:
    """`sqlite:///path` is what the store itself reads."""
    config.write_text(config.read_text() + f"records: {{url: 'sqlite:///{tmp_path}/own.sqlite'}}\n")
    assert "no errors" in outward("check", str(config)).stdout

"""`outward suggest`: from the records to lines in the policy file, and never beyond what was asked."""

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from outward.cli import write as cli_write
from outward.cli.main import main
from outward.config.trust import INSIDE
from outward.core.reasons import Reason
from outward.records.database import migrate, open_database
from outward.records.events.store import write
from outward.records.events.values import Event, as_record

POLICY = """\
version: 1
server: {state: state}
# of the team
groups:
  dev:
    mode: report
    allow:
      - a.example  # kept
      # the end
  web: {allow: []}
include: [more/*.yaml]
clients: [{group: dev, anyone: true}, {group: web, source: 192.0.2.1}, {group: ops, source: 192.0.2.2}]
tests: [{group: web, url: "https://secret.example/", expect: deny}]
"""
MORE = "groups:\n  ops:\n    allow:\n    - b.example\n"
NOW = time.time()


def event(host: str, group: str | None = "dev", *, port: int = 443, ago: float = 60, **more: object) -> Event:
    values = {"reason": Reason.NO_RULE, "method": "CONNECT", "client": "10.0.0.1", **more}
    return Event(host=host, group=group, port=port, time=NOW - ago, **values)  # type: ignore[arg-type]


EVENTS = [
    event("n.example", count=3, last_seen=NOW - 30, client="10.0.0.9"),
    event("n.example", reason=Reason.REPORT_ONLY, would_reason=Reason.NO_RULE, would_deny=True),
    event("n.example", "ops"),
    event("web.example", "web"),
    event("old.example", ago=8 * 86400),
    event("stranger.example", None),
    event("gone.example", "gone"),
    event("broken.example", reason=Reason.UPSTREAM_FAILED),
    event("gist.github.com"),
    event("a.example"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(INSIDE, raising=False)
    (tmp_path / "outward.yaml").write_text(POLICY)
    (tmp_path / "more").mkdir()
    (tmp_path / "more/ops.yaml").write_text(MORE)
    (tmp_path / "state").mkdir()
    record(tmp_path, EVENTS)
    return tmp_path


def record(folder: Path, events: list[Event]) -> None:
    database = open_database("sqlite", folder / "state")
    migrate(database)
    with database.transaction():
        write(database, [as_record(each) for each in events])
    database.close()


def suggest(*words: str, config: str | None = "outward.yaml", log: str = "") -> Result:
    named = ["--config", config] if config else []
    return CliRunner().invoke(main, ["suggest", *named, *words], input=log)


def test_lines_with_their_evidence_by_group(folder: Path):
    told = json.loads(suggest("--json").output)
    assert [(each["group"], each["entry"], each["count"], each["clients"]) for each in told["proposals"]] == [
        ("dev", "n.example", 4, ["10.0.0.1", "10.0.0.9"]),
        ("ops", "n.example", 1, ["10.0.0.1"]),
        ("web", "web.example", 1, ["10.0.0.1"]),
    ]
    assert told["proposals"][0]["last_seen"] > told["proposals"][0]["first_seen"]
    assert [(each["host"], each["include"]) for each in told["left_out"]] == [("gist.github.com", True)]
    assert (told["allowed_by_now"], told["unknown_groups"], told["without_group"]) == (1, 1, 1)
    assert "4 requests by 10.0.0.1, 10.0.0.9, " in suggest().output
    assert [each["group"] for each in json.loads(suggest("--json", "--group", "ops").output)["proposals"]] == ["ops"]
    assert "old.example" in suggest("--since", "30d").output


def test_the_diff_is_what_write_writes_and_written_twice_changes_nothing(folder: Path):
    main_file, more = folder / "outward.yaml", folder / "more/ops.yaml"
    main_file.chmod(0o640)
    diff = suggest("--format", "diff").output
    assert suggest("--write", "outward.yaml").output == "outward.yaml: 2 entries added; not written elsewhere: ops\n"
    assert suggest("--write", "more/ops.yaml").output == "more/ops.yaml: 1 entry added\n"
    assert main_file.read_text() == POLICY.replace("# kept\n", "# kept\n      - n.example\n").replace(
        "[]", "[web.example]"
    )
    assert more.read_text() == f"{MORE}    - n.example\n"
    assert [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")] == [
        "+      - n.example", "-  web: {allow: []}", "+  web: {allow: [web.example]}", "+    - n.example",
    ]  # fmt: skip
    assert main_file.stat().st_mode & 0o777 == 0o640
    again = suggest("--write", "outward.yaml")
    assert (again.output, again.exit_code) == ("nothing to add\n", 0)
    assert CliRunner().invoke(main, ["check", "outward.yaml"]).exit_code == 0


def test_line_ends_and_byte_order_marks_stay(folder: Path):
    (folder / "outward.yaml").write_bytes(b"\xef\xbb\xbf" + POLICY.replace("\n", "\r\n").encode())
    assert suggest("--write", "outward.yaml").exit_code == 0
    data = (folder / "outward.yaml").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfversion: 1\r\n")
    assert data.count(b"\n") == data.count(b"\r\n")
    assert b"      - n.example\r\n" in data


def test_a_host_that_is_named_comes_in(folder: Path):
    assert '"entry": "gist.github.com"' in suggest("--json", "--include", "GIST.github.com").output
    assert suggest("--include", "a..b").exit_code == 2


def test_nothing_is_written_inside_a_run_or_against_a_test_or_elsewhere(folder: Path, monkeypatch):
    record(folder, [event("secret.example", "web")])
    before = (folder / "outward.yaml").read_text()
    failed = suggest("--write", "outward.yaml")
    assert (
        failed.exit_code,
        "outward.yaml:13: a test would fail: web: GET https://secret.example/" in failed.output,
    ) == (1, True)
    assert suggest("--write", "other.yaml").exit_code == 2
    assert suggest("--group", "ops", "--write", "outward.yaml").exit_code == 1
    monkeypatch.setenv(INSIDE, "1")
    assert "is for a person" in suggest("--group", "dev", "--write", "outward.yaml").output
    assert (folder / "outward.yaml").read_text() == before
    assert suggest().exit_code == 0


FOUND = "version: 1\ngroups:\n  dev:\n    allow:\n      - a.example\nclients: [{group: dev, anyone: true}]\n"
LINE = json.dumps(
    {"verdict": "deny", "reason": "no_rule", "host": "n.example", "port": 443, "group": "dev", "count": 2}
)


def test_what_the_working_tree_brings_is_written_once_it_is_trusted(folder: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "OUTWARD_CONFIG", "OUTWARD_STATE"):
        monkeypatch.delenv(name, raising=False)
    tree = folder / "tree"
    (tree / ".git").mkdir(parents=True)
    (tree / "outward.yaml").write_text(FOUND)
    monkeypatch.chdir(tree)
    words = ("--from", "jsonl", "-", "--write", "outward.yaml")
    refused = suggest(*words, config=None, log=LINE)
    assert (refused.exit_code, "nobody has trusted it" in refused.output) == (1, True)
    assert (tree / "outward.yaml").read_text() == FOUND
    assert CliRunner().invoke(main, ["trust"]).exit_code == 0
    assert suggest(*words, config=None, log=LINE).output == "outward.yaml: 1 entry added, and still trusted\n"
    assert "      - n.example\n" in (tree / "outward.yaml").read_text()
    assert CliRunner().invoke(main, ["env"]).exit_code != 3, "what a person wrote is trusted"


def test_what_somebody_changes_meanwhile_is_not_trusted(folder: Path, monkeypatch):
    """A file that the policy includes is swapped between the look and the writing."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "OUTWARD_CONFIG", "OUTWARD_STATE"):
        monkeypatch.delenv(name, raising=False)
    tree = folder / "tree"
    (tree / ".git").mkdir(parents=True)
    (tree / "outward.yaml").write_text(FOUND + "include: [more.yaml]\n")
    (tree / "more.yaml").write_text("groups: {dev/x: {allow: [x.example]}}\n")
    monkeypatch.chdir(tree)
    assert CliRunner().invoke(main, ["trust"]).exit_code == 0
    plain = cli_write.replace_file

    def swap(path: Path, data: bytes, mode: int) -> None:
        plain(path, data, mode)
        (tree / "more.yaml").write_text("groups: {dev/x: {allow: ['*']}}\n")

    monkeypatch.setattr(cli_write, "replace_file", swap)
    told = suggest("--from", "jsonl", "-", "--write", "outward.yaml", config=None, log=LINE)
    assert (told.exit_code, "other files have changed meanwhile" in told.output) == (0, True)
    assert CliRunner().invoke(main, ["env"]).exit_code == 3


def test_without_a_policy_one_is_begun(folder: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "OUTWARD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty")
    line = LINE.replace('"dev"', '"local"')
    assert "written" in suggest("--from", "jsonl", "-", "--write", "outward.yaml", config=None, log=line).output
    assert '      - n.example\n      - "@developer"\n' in (folder / "empty/outward.yaml").read_text()


def test_a_log_of_another_program_and_the_log_of_ours(folder: Path):
    squid = "1.0 0 10.0.0.5 TCP_DENIED/403 3204 CONNECT n.example:443 - HIER_NONE/- text/html\n"
    assert "- n.example" in suggest("--from", "squid", "-", log=squid).output
    stranger = LINE.replace('"dev"', "null")
    assert suggest("--from", "jsonl", "-", log=stranger).output.startswith("nothing to add\n")
    other = LINE.replace('"no_rule"', '"sni_mismatch"')
    assert suggest("--from", "jsonl", "-", log=other).output == "nothing to add\n"
    assert suggest("--from", "jsonl").exit_code == 2


def test_yaml_is_a_part_of_a_policy(folder: Path):
    text = suggest("--format", "yaml").output
    (folder / "part.yaml").write_text(f"version: 1\nclients: [{{group: dev, anyone: true}}]\n{text}")
    assert CliRunner().invoke(main, ["check", "part.yaml"]).exit_code == 0
    assert os.linesep + "      # 4 requests by 10.0.0.1, 10.0.0.9, " in text

"""Confined files on the command line: `check`, `check --as`, `explain`, `test`, and what `suggest` writes into one."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from outward.cli.main import main

MAIN = """\
version: 1
server: {state: state}
include: [{files: "teams/*.yaml", under: acme/payments, may: [grants]}]
groups:
  acme: {ceiling: ["*.ok.example", a.example]}
  acme/payments: {deny: [evil.test]}
clients: [{group: acme/payments, anyone: true}]
"""
TEAM = "groups:\n  acme/payments:\n    grants: allowed\n    allow:\n      - a.example\ntests: [{url: a.example, expect: allow}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A company with one team."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OUTWARD_CONFIG", raising=False)
    (tmp_path / "outward.yaml").write_text(MAIN)
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams/p.yaml").write_text(TEAM)
    return tmp_path


def run(*words: str, stdin: str | None = None) -> Result:
    """Run a verb."""
    return CliRunner().invoke(main, words, input=stdin)


def test_check_tells_of_confined_files_what_it_tells_of_others(folder: Path) -> None:
    """With the line and a cure, and exits with 3, although a proxy would start."""
    assert run("check", "outward.yaml").exit_code == 0
    (folder / "teams/p.yaml").write_text(TEAM.replace("grants: allowed", "mode: report"))
    result = run("check", "outward.yaml")
    assert result.exit_code == 3
    assert "error[E027]: `mode` of a group does not count in a file confined to `acme/payments`" in result.output
    assert "teams/p.yaml:3:5" in result.output
    assert "mode: report\n" in result.output
    assert "may list it under `may`" in result.output
    (finding,) = json.loads(run("check", "--json", "outward.yaml").output)["findings"]
    assert (finding["file"], finding["line"], finding["column"]) == ("teams/p.yaml", 3, 5)


def test_one_file_is_checked_by_itself(folder: Path) -> None:
    """In a team's CI it stands alone; with the main file its `may` and ceilings count; admission gives it on stdin."""
    assert run("check", "--as", "acme/payments", "teams/p.yaml").exit_code == 3
    assert run("check", "--as", "acme/payments", "--may", "grants", "teams/p.yaml").output.startswith("no errors")
    assert run("check", "--as", "acme/payments", "--config", "outward.yaml", "teams/p.yaml").exit_code == 0
    text = TEAM.replace("- a.example", "- a.example\n      - b.example")
    below = run("check", "--strict", "--as", "acme/payments", "--config", "outward.yaml", "-", stdin=text)
    assert (below.exit_code, "W108" in below.output, "<stdin>:6" in below.output) == (3, True, True)
    (folder / "teams/wide.yaml").write_text("groups: {acme/payments: {allow: ['*.google.com']}}\n")
    assert "W140" in run("check", "--as", "acme/payments", "teams/wide.yaml").output
    assert run("check", "--as", "acme/other", "--config", "outward.yaml", "teams/p.yaml").exit_code == 2
    assert run("check", "--as", "acme//x", "teams/p.yaml").exit_code == 2
    assert run("check", "--may", "grants", "teams/p.yaml").exit_code == 2
    assert run("check", "--as", "acme/payments").exit_code == 2


def test_other_verbs_go_on_and_say_what_is_kept_back(folder: Path) -> None:
    """And name the confined file as the place of its rules."""
    assert "allows  (acme/payments, teams/p.yaml:5)" in run("explain", "-c", "outward.yaml", "a.example").output
    assert "groups  acme/payments < acme (" in run("explain", "-c", "outward.yaml", "a.example").output
    assert run("test", "-c", "outward.yaml").output == "1 passed, 0 failed\n"
    (folder / "teams/p.yaml").write_text("groups: [")
    result = run("explain", "-c", "outward.yaml", "a.example")
    assert result.exit_code == 4
    assert "outward: warning: acme/payments: teams/p.yaml:2: " in result.output
    assert "everything there is denied" in result.output


def test_proposals_go_into_the_file_that_is_named_and_no_further_than_it_may(folder: Path) -> None:
    """A group that two files write can be added to in either."""
    log = json.dumps(
        {"verdict": "deny", "reason": "no_rule", "host": "n.ok.example", "port": 443, "group": "acme/payments"}
    )
    words = ("suggest", "--config", "outward.yaml", "--from", "jsonl", "-", "--write", "teams/p.yaml")
    result = run(*words, stdin=log)
    assert result.output == "teams/p.yaml: 1 entry added\n", result.output
    assert (folder / "teams/p.yaml").read_text() == TEAM.replace("a.example\n", "a.example\n      - n.ok.example\n", 1)
    assert (folder / "outward.yaml").read_text() == MAIN
    assert run("explain", "-c", "outward.yaml", "n.ok.example").exit_code == 0

"""`outward learn`: a real command, the policy that it needs, and the same command under it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import OUTWARD, environment
from harness.web import Web

POLICY = """\
version: 1 # ours
upstream: {{trust: ['{ca}'], internal: [127.0.0.1/32], dns: {{hosts: {{origin.test: [127.0.0.1], sentry.test: [127.0.0.1]}}}}}}
clients: [{{group: dev, anyone: true}}]
groups:
  dev: # of this team
    allow:
      - example.com # was here
"""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    site = Web(tmp_path_factory.mktemp("origin"))
    (site.root / "index.html").write_text("the page")
    yield site
    site.close()


def outward(folder: Path, *words: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [OUTWARD, *words],
        env={**environment(), "HOME": str(folder), "OUTWARD_DNS_SERVERS": "127.0.0.1:1", **env},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_policy_learns_what_a_command_needs_and_then_holds_it_to_that(tmp_path: Path, web: Web):
    config = tmp_path / "policy.yaml"
    config.write_text(POLICY.format(ca=web.ca))
    work = ("--config", config, "--", "curl", "-sSf", "--cacert", str(web.ca), web.url)
    before = outward(tmp_path, "run", *work)
    learnt = outward(tmp_path, "learn", *work)
    after = outward(tmp_path, "run", *work)
    text = config.read_text()
    again = outward(tmp_path, "run", "--report", "--write", config, *work)
    as_json = outward(tmp_path, "learn", "--json", *work)
    other = outward(tmp_path, "run", *work[:-1], "https://other.test/")
    assert [each.returncode for each in (before, learnt, after, again)] == [22, 0, 0, 0], learnt.stderr
    assert learnt.stdout == after.stdout == "the page"
    assert text == POLICY.format(ca=web.ca) + f'      - "origin.test:{web.port}"\n'
    assert (learnt.stderr, again.stderr) == (f"outward: {config}: 1 entry added\n", "outward: nothing to add\n")
    assert config.read_text() == text
    assert other.returncode == 22
    told = json.loads(as_json.stderr)
    assert (told["group"], told["blocked"], told["learnt"]) == ("dev", [], ["nothing to add"])


def test_from_nothing_a_file_is_written_that_allows_nothing_else_and_holds_at_once(tmp_path: Path):
    (tmp_path / "outward.yaml").unlink(missing_ok=True)
    work = (
        "sh",
        "-c",
        "curl -sS https://a.test; curl -sS https://telemetry.nextjs.org; curl -sS https://transfer.sh; true",
    )
    learnt = outward(tmp_path, "learn", "--", *work)
    assert learnt.returncode == 0, learnt.stderr
    assert (tmp_path / "outward.yaml").read_text() == (
        "version: 1\nclients: [{group: local, anyone: true}]\ngroups:\n  local:\n    allow:\n      - a.test\n"
    )
    assert "left out: telemetry.nextjs.org: programs report there beside their work (`@telemetry`)" in learnt.stderr
    assert "left out: transfer.sh: anybody can send or fetch through it (`@file-drops`)" in learnt.stderr
    enforced = outward(tmp_path, "run", "--json", "--", *work)
    blocked = {row["host"]: row["reason"] for row in json.loads(enforced.stderr.splitlines()[-1])["blocked"]}
    assert blocked == {"a.test": "resolve_failed", "telemetry.nextjs.org": "no_rule", "transfer.sh": "no_rule"}


def test_what_is_asked_of_an_inspected_host_is_written_with_method_and_path(tmp_path: Path, web: Web):
    config = tmp_path / "policy.yaml"
    config.write_text(POLICY.format(ca=web.ca).replace("  dev: #", "  dev:\n    lane: inspect #"))
    work = ("--config", config, "--", "curl", "-sSf", f"{web.url}/index.html")
    assert outward(tmp_path, "learn", *work).stdout == "the page"
    entry = f'{{host: "origin.test", ports: [{web.port}], methods: [GET], paths: ["/index.html"]}}'
    assert f"      - {entry}\n" in config.read_text()
    assert outward(tmp_path, "run", *work).stdout == "the page"
    assert outward(tmp_path, "run", *work[:-1], f"{web.url}/other").returncode == 22


def test_a_command_that_fails_is_told_to_have_shown_less_than_it_needs(tmp_path: Path):
    found = outward(tmp_path, "learn", "--", "sh", "-c", "exit 3")
    assert found.returncode == 3
    assert "the command failed (exit status 3): what it needs after that is not learnt" in found.stderr
    assert "no file was written" in found.stderr
    assert "nothing used the proxy; without --jail" in found.stderr
    assert not (tmp_path / "outward.yaml").exists()


def test_nothing_is_learnt_behind_a_run_nor_written_where_it_would_not_hold(tmp_path: Path):
    inside = outward(tmp_path, "learn", "--", "touch", "started", OUTWARD_INSIDE="1")
    (tmp_path / "other.yaml").write_text("version: 1\n")
    elsewhere = outward(tmp_path, "learn", "--write", "other.yaml", "--", "touch", "started")
    alone = outward(tmp_path, "run", "--write", "new.yaml", "--", "touch", "started")
    assert [each.returncode for each in (inside, elsewhere, alone)] == [1, 2, 2]
    assert "is for a person" in inside.stderr
    assert "other.yaml is not in force here" in elsewhere.stderr
    assert "give both" in alone.stderr
    assert not (tmp_path / "started").exists()

"""What teams put into their repositories: hooks, the action and the job, by their schemas and as they run."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ACTION, JOB, HOOKS = ROOT / "action.yml", ROOT / "deploy/ci/outward.gitlab-ci.yml", ROOT / ".pre-commit-hooks.yaml"
POLICY = """\
version: 1
groups: {dev: {allow: [a.example]}}
clients: [{group: dev, anyone: true}]
"""
EVENTS = '{"verdict": "allow", "reason": "rule", "host": "b.example", "port": 443, "group": "dev"}\n'


def schema(name: str, path: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("check_jsonschema", reason="the dependency group `deploy` has the schemas")
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", name, str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "path", "right", "wrong"),
    [
        ("vendor.github-actions", ACTION, "using: composite", "using: composit"),
        ("vendor.gitlab-ci", JOB, "when: always", "when: allways"),
    ],
)
def test_the_schemas_take_them_and_no_misspelt_word(name: str, path: Path, right: str, wrong: str, tmp_path: Path):
    assert schema(name, path).returncode == 0, schema(name, path).stdout
    broken = tmp_path / path.name
    broken.write_text(path.read_text().replace(right, wrong))
    assert schema(name, broken).returncode == 1


def test_the_hooks_are_ones_that_pre_commit_reads():
    pytest.importorskip("pre_commit", reason="the dependency group `deploy` has it")
    words = [sys.executable, "-m", "pre_commit", "validate-manifest", str(HOOKS)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("allow", "status"), [("a.example", 0), ("'*.com'", 3)])
def test_the_hook_fails_where_the_policy_does(allow: str, status: int, tmp_path: Path):
    (tmp_path / "outward.yaml").write_text(POLICY.replace("a.example", allow))
    [check, _] = yaml.safe_load(HOOKS.read_text())
    words = [BIN / "outward", *shlex.split(check["entry"])[1:], *check["args"]]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).returncode == status


def review(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the action's step as a runner does, with the action's inputs."""
    action = yaml.safe_load(ACTION.read_text())
    [step] = action["runs"]["steps"]
    given = {name: each.get("default", "") for name, each in action["inputs"].items()} | env
    values = {f"${{{{ inputs.{name} }}}}": value for name, value in given.items()}
    values |= {"${{ runner.temp }}/outward-tests.xml": str(folder / "outward-tests.xml")}
    around = {
        "PATH": os.environ["PATH"],
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "RUNNER_TEMP": str(folder),
        "OUTWARD_BIN": str(BIN / "outward"),
        **{name: values[value] for name, value in step["env"].items()},
    }
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(shell, cwd=folder, env=around, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("policy", "env", "status", "told"),
    [
        (POLICY, {}, 0, ["### Check: passed", "    no errors, no warnings; 1 group, 1 rule, generation "]),
        (POLICY.replace("a.example", "'*'"), {}, 0, ["### Check: passed", "warning[W106]"]),
        (POLICY.replace("a.example", "'*'"), {"strict": "true"}, 1, ["### Check: failed (exit status 3)"]),
        (POLICY + 'tests: [{group: dev, url: "https://a.example/", expect: allow}]\n', {}, 0, ["### Tests: passed", "    1 passed, 0 failed"]),
        (POLICY + 'tests: [{group: dev, url: "https://b.example/", expect: allow}]\n', {}, 1, ["### Tests: failed (exit status 4)", "    0 passed, 1 failed"]),
        (POLICY, {"tests": "more.yaml"}, 0, ["    1 passed, 0 failed"]),
        (POLICY, {"events": "log.jsonl"}, 0, ["### Recorded traffic under this policy: passed", "    newly blocked:"]),
        (POLICY, {"events": "log.jsonl", "fail-on": "newly-allowed newly-blocked"}, 1, ["policy: failed (exit status 4)"]),
        (POLICY, {"config": "none.yaml"}, 1, ["## Outward: none.yaml", "### Check: failed (exit status 3)"]),
    ],
)  # fmt: skip
def test_the_summary_says_what_a_change_does(
    policy: str, env: dict[str, str], status: int, told: list[str], tmp_path: Path
):
    (tmp_path / "outward.yaml").write_text(policy)
    (tmp_path / "more.yaml").write_text('- {group: dev, url: "https://b.example/", expect: deny}\n')
    (tmp_path / "log.jsonl").write_text(EVENTS)
    done = review(tmp_path, **env)
    summary = (tmp_path / "summary.md").read_text()
    assert done.returncode == status, summary + done.stderr
    assert [text for text in told if text not in summary] == []


def test_tests_are_reported_as_junit(tmp_path: Path):
    (tmp_path / "outward.yaml").write_text(POLICY + 'tests: [{group: dev, url: "https://b.example/", expect: deny}]\n')
    assert review(tmp_path).returncode == 0
    assert (tmp_path / "output").read_text() == f"junit={tmp_path}/outward-tests.xml\n"
    assert ET.parse(tmp_path / "outward-tests.xml").getroot().get("failures") == "0"


def test_nothing_that_a_policy_says_becomes_markup(tmp_path: Path):
    """Whatever a change brings is shown as text: no heading, link or fence of its own."""
    (tmp_path / "outward.yaml").write_text(POLICY + '"```":\n"# [x](https://a.example)": <b>\n~~~: 1\n')
    assert review(tmp_path).returncode == 1
    lines = (tmp_path / "summary.md").read_text().splitlines()
    ours = ("## Outward: outward.yaml", "### Check: failed (exit status 3)", "### Tests: ")
    assert [line for line in lines if line.strip() and not line.startswith(("    ", *ours))] == []


def test_the_job_runs_the_same_script_and_posts_what_it_says(tmp_path: Path):
    """The job's own lines, against a checkout at hand and a GitLab that is a recording `curl`."""
    job = yaml.safe_load(JOB.read_text())["outward"]
    (tmp_path / "outward.yaml").write_text(POLICY)
    (tmp_path / "builds/outward/deploy").mkdir(parents=True)
    (tmp_path / "builds/outward/deploy/ci").symlink_to(ROOT / "deploy/ci")
    (tmp_path / "stubs").mkdir()
    for name, text in {"git": "exit 0", "curl": 'printf "%s\\n" "$@" >curled'}.items():
        (tmp_path / "stubs" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "stubs" / name).chmod(0o755)
    env = {
        **job["variables"],
        "PATH": f"{tmp_path}/stubs:{os.environ['PATH']}",
        "CI_BUILDS_DIR": str(tmp_path / "builds"),
        "CI_API_V4_URL": "https://gitlab.example/api/v4",
        "CI_PROJECT_ID": "7",
        "CI_MERGE_REQUEST_IID": "3",
        "OUTWARD_NOTE_TOKEN": "t",
        "OUTWARD_BIN": str(BIN / "outward"),
    }
    script = "set -eo pipefail\n" + "\n".join(job["script"])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "### Check: passed" in done.stdout) == (0, True), done.stderr
    posted = (tmp_path / "curled").read_text().splitlines()
    assert posted[-2:] == ["body@outward-review.md", "https://gitlab.example/api/v4/projects/7/merge_requests/3/notes"]
    assert "### Check: passed" in (tmp_path / "outward-review.md").read_text()

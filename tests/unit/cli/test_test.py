"""`outward test`, and `tests:` in a configuration: what its authors expect is held against what the policy decides."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from outward.cli.main import main

POLICY = """version: 1
groups:
  dev:
    allow: [a.example, {host: b.example, methods: [GET], paths: ["/ok/**"]}]
    deny: [c.example]
  watch: {mode: report, allow: [a.example]}
clients: [{group: dev, anyone: true}, {group: watch, source: 10.0.0.0/8}]
"""
GREEN = """tests:
  - {group: dev, url: "https://a.example/x", expect: allow, reason: rule}
  - {group: dev, url: "https://b.example/ok/1", expect: allow}
  - {group: dev, url: "https://b.example/ok/1", method: POST, expect: deny, reason: method_not_allowed}
  - {group: dev, url: c.example, expect: deny, reason: denied_by_rule}
  - {group: dev, url: "a.example:8443", expect: deny, reason: port_not_allowed}
"""
RED = 'tests: [{group: dev, url: "https://a.example/x", expect: allow}, {group: dev, url: d.example, expect: allow}]\n'


@pytest.fixture
def outward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*words: str, policy: str) -> Result:
        (tmp_path / "policy.yaml").write_text(policy)
        return CliRunner().invoke(main, [*words, "--config", "policy.yaml"] if words[0] != "check" else words)

    return run


def test_tests_that_pass(outward):
    result = outward("test", policy=POLICY + GREEN)
    assert (result.exit_code, result.output) == (0, "5 passed, 0 failed\n")
    assert outward("check", "policy.yaml", policy=POLICY + GREEN).exit_code == 0


def test_a_policy_in_the_place_of_tests_is_told_how_it_is_tested(outward, tmp_path):
    """Its tests are not held against the policy that happens to be in force."""
    (tmp_path / "outward.yaml").write_text(POLICY)
    (tmp_path / "other.yaml").write_text("# ours\n" + POLICY + GREEN)
    result = CliRunner().invoke(main, ["test", "other.yaml"])
    assert result.exit_code == 2
    assert "to test this policy: outward test --config other.yaml" in result.output


def test_a_test_without_a_group_is_of_the_only_one_and_else_is_told_which_there_are(outward):
    one = "version: 1\ngroups: {dev: {allow: [a.example]}}\nclients: [{group: dev, anyone: true}]\n"
    case = "tests: [{url: 'https://a.example/', expect: allow}]\n"
    assert outward("test", policy=one + case).output == "1 passed, 0 failed\n"
    several = outward("test", policy=POLICY + case)
    assert several.exit_code == 3
    assert "`group` is missing" in several.output
    assert "name the group that asks, such as `group: dev`" in several.output


def test_a_test_that_fails_says_what_came_and_what_decided(outward):
    red = POLICY + 'tests: [{group: dev, url: "https://c.example/", expect: allow}]\n'
    result = outward("test", policy=red)
    assert result.exit_code == 4
    assert "FAIL policy.yaml:8  dev: GET https://c.example/: expected allow, got deny (denied_by_rule)" in result.output
    assert "decided by deny c.example (dev, policy.yaml:5)" in result.output
    assert result.output.endswith("0 passed, 1 failed\n")


def test_a_policy_that_fails_its_own_tests_is_not_used(outward):
    result = outward("check", "policy.yaml", policy=POLICY + RED)
    assert result.exit_code == 3
    assert "policy.yaml:8:66: error[E026]: a test fails: expected allow, got deny (no_rule)" in result.output
    assert "outward explain --config policy.yaml --group dev" in result.output
    assert outward("explain", "https://a.example/", policy=POLICY + RED).exit_code == 0  # it shows why


def test_what_is_only_reported_counts_as_denied(outward):
    told = POLICY + "tests: [{group: watch, url: d.example, expect: deny, reason: no_rule}]\n"
    assert outward("test", policy=told).exit_code == 0


def test_tests_in_files_of_their_own(outward, tmp_path: Path):
    (tmp_path / "one.yaml").write_text(RED)
    (tmp_path / "two.yaml").write_text('- {group: dev, url: "https://b.example/no", expect: deny}\n')
    result = outward("test", "one.yaml", "two.yaml", "--json", "--junit", "out.xml", policy=POLICY)
    assert result.exit_code == 4
    assert [each["passed"] for each in json.loads(result.output)] == [True, False, True]
    suite = ET.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert [case.find("failure") is None for case in suite] == [True, False, True]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{group: nobody, url: a.example, expect: allow}", "no group has the path `nobody`"),
        ("{group: dev, url: 'ftp://a.example', expect: allow}", "`ftp` is not a scheme of the web"),
        ("{group: dev, url: 'https://a..b/', expect: allow}", "a test cannot ask this"),
        ("{group: dev, url: a.example, expect: maybe}", "`expect` cannot be this"),
        ("{group: dev, url: a.example}", "`expect` is missing"),
        ("{group: dev, url: a.example, expect: deny, because: x}", "unknown key `because`"),
        ("{group: dev, url: a.example, expect: deny, reason: no_rul}", "`reason` cannot be this"),
        ("a.example", "should be a mapping"),
    ],
)
def test_a_test_that_cannot_be_held_is_an_error_at_its_place(outward, tmp_path: Path, line: str, told: str):
    for form in (POLICY + f"tests: [{line}]\n", POLICY):
        (tmp_path / "cases.yaml").write_text(f"- {line}\n")
        words = ("test",) if "tests:" in form else ("test", "cases.yaml")
        result = outward(*words, policy=form)
        assert result.exit_code == 3, result.output
        assert told in result.output


def test_no_tests_is_a_usage_error(outward, tmp_path: Path):
    assert outward("test", policy=POLICY).exit_code == 2
    (tmp_path / "empty.yaml").write_text("hello\n")
    assert outward("test", "empty.yaml", policy=POLICY).exit_code == 3


@pytest.mark.parametrize(
    "words",
    [
        ("check", "missing.yaml"),
        ("test", "missing.yaml", "--config", "policy.yaml"),
        *(
            (verb, *more, "--config", "missing.yaml")
            for verb, *more in (["test"], ["explain", "a.example"], ["serve"], ["suggest"])
        ),
        ("run", "--config", "missing.yaml", "--", "true"),
    ],
)
def test_a_file_that_is_not_there_is_told_alike_by_every_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 3
    assert result.output.startswith(
        "missing.yaml:1:1: error[E001]: cannot read `missing.yaml`: no such file or directory"
    )

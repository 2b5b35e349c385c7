"""Files that must not load, each with the findings that a person should read."""

from pathlib import Path

import pytest
import yaml

from outward.config.diagnostics import Finding, Level
from outward.config.load import load_text

CASES = yaml.safe_load((Path(__file__).parent.parent / "config_cases/refused.yaml").read_text(encoding="utf-8"))


def told(finding: Finding) -> str:
    return f"{finding.place.line}:{finding.place.column} {finding.ident} {finding.message}"


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_mistake_is_told_at_its_place(case):
    loaded = load_text(case["text"], env={}, machine={}, adapters=["openai", "anthropic"])
    errors = [finding for finding in loaded.findings if finding.level is Level.ERROR]
    assert [told(finding) for finding in errors] == case["errors"]
    assert not loaded.ok
    assert loaded.policy is None
    if "help" in case:
        assert [finding.help for finding in errors] == case["help"]


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b"version: 1\ngroups: \xff", "2:1", "not UTF-8"),
        (b"version: 1\n#\0\n", "2:1", "a NUL character"),
        (b"version: 1\n\x07", "1:1", "not valid YAML: control characters are not allowed"),
    ],
)
def test_bytes_that_are_no_text_are_refused(data, place, message):
    (finding,) = load_text(data, env={}, machine={}).findings
    assert (f"{finding.place.line}:{finding.place.column}", finding.message) == (place, message)


@pytest.mark.parametrize("text", ["[" * 500_000, "{" * 500_000, "a: " * 100_000, "- " * 500_000, "? " * 500_000])
def test_depth_is_bounded_and_does_not_crash_the_process(text):
    assert not load_text(text, env={}, machine={}).ok


def test_credentials_are_not_repeated_in_findings():
    text = "version: 1\nupstream: {proxy: 'ftp://user:hunter2@host:1'}\nrecords: {url: 'mysql://u:hunter2@db/x'}\n"
    loaded = load_text(text, env={}, machine={})
    assert len(loaded.findings) == 2
    assert all(finding.secret and "hunter2" not in f"{finding.message}{finding.help}" for finding in loaded.findings)

"""Where a policy comes from: real checkouts, made by git and read without it."""

import os
import subprocess
from pathlib import Path

import pytest

from outward.config.load import load
from outward.core.policy import Policy
from outward.ops.provenance import Revision, changes, revision_of, told

POLICY = "version: 1\ngroups:\n  a: {{allow: [{}]}}\n  b: {{deny: [c.example]}}\n"
ALICE = "Alice Example <alice@example.com>"


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{each}_{what}": value for each in ("AUTHOR", "COMMITTER") for what, value in
           (("NAME", "Alice Example"), ("EMAIL", "alice@example.com"))}  # fmt: skip
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **who}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "outward.yaml").write_text(POLICY.format("x.example"))
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "One\n\nauthor Mallory <m@example.com> 1 +0000")
    return tmp_path


def test_a_checkout_names_its_commit_and_author(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert revision_of(checkout / "policies" / "outward.yaml") == Revision(commit, ALICE)
    git(checkout, "checkout", "-q", "--detach")
    assert revision_of(checkout / "policies" / "outward.yaml") == Revision(commit, ALICE)
    git(checkout, "worktree", "add", "-q", "-b", "other", "wt")
    assert revision_of(checkout / "wt" / "policies" / "outward.yaml") == Revision(commit, ALICE)
    git(checkout, "checkout", "-q", "main")
    git(checkout, "gc", "-q")
    assert revision_of(checkout / "policies" / "outward.yaml") == Revision(commit)  # packed: the commit alone


@pytest.mark.parametrize(
    "text",
    [
        "commit: 0123abc\nauthor: Alice\n",
        'example.com/commit="0123abc"\nexample.com/author="Alice"\n',
    ],
)
def test_a_file_beside_it_says_it_first(checkout: Path, text: str) -> None:
    (checkout / "policies" / "outward.revision").write_text(text)
    assert revision_of(checkout / "policies" / "outward.yaml") == Revision("0123abc", "Alice")


@pytest.mark.parametrize("head", ["ref: refs/../../secret", "ref: /etc/passwd", "nonsense", "", "ref: refs/heads/none"])
def test_a_head_that_leads_elsewhere_says_nothing(checkout: Path, head: str) -> None:
    (checkout / ".git" / "HEAD").write_text(head)
    (checkout / ".git" / "refs" / "secret").write_text("a" * 40)
    assert revision_of(checkout / "policies" / "outward.yaml") == Revision()


def test_what_changed_is_counted_by_group(tmp_path: Path) -> None:
    file = tmp_path / "outward.yaml"

    def policy(text: str):
        file.write_text(text)
        found = load(file, env={}, machine={}).policy
        assert found is not None
        return found

    one = policy(POLICY.format("x.example, y.example"))
    other = policy("# moved\n" + POLICY.format("x.example, z.example"))
    assert changes(one, one) == {}
    assert changes(one, other) == {"a": {"added": 1, "removed": 1}}
    gone = policy("version: 1\ngroups: {a: {allow: [x.example]}}\n")
    assert changes(one, gone) == {"a": {"added": 0, "removed": 1}, "b": {"added": 0, "removed": 1}}
    found = told(one, other, file)
    assert (found["commit"], found["groups_changed"], found["rules"]) == (None, 1, {"a": {"added": 1, "removed": 1}})


def test_a_path_that_two_files_write_has_the_changes_of_both(tmp_path: Path) -> None:
    def policy(main: str, team: str) -> Policy:
        entry = "include: [{files: team.yaml, under: a}]"
        (tmp_path / "outward.yaml").write_text(f"version: 1\n{entry}\ngroups: {{a: {{deny: [{main}]}}}}\n")
        (tmp_path / "team.yaml").write_text(f"groups: {{a: {{allow: [{team}]}}}}\n")
        found = load(tmp_path / "outward.yaml", env={}, machine={}).policy
        assert found is not None
        return found

    first = policy("x.example", "y.example")
    assert changes(first, policy("z.example, x.example", "y.example")) == {"a": {"added": 1, "removed": 0}}
    assert changes(first, policy("x.example", "v.example")) == {"a": {"added": 1, "removed": 1}}

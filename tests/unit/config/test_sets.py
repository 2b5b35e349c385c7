"""Named lists: shipped as data, of the file, nested."""

import pytest
import yaml

from outward.config.load import load_text
from outward.config.sets import SHIPPED, Hosts, shipped_sets
from outward.config.starter import starter_policy
from outward.core.decide import decide
from outward.core.urls import question_of


def load(sets: str, allow: str):
    return load_text(f"version: 1\nsets: {sets}\ngroups: {{dev: {{allow: {allow}}}}}\n", env={}, machine={})


def test_every_shipped_file_tells_its_source_and_date():
    files = list(SHIPPED.glob("*.yaml"))
    assert files
    for path in files:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(data) == {"source", "date", "sets"}
        assert data["source"]
        assert len(data["date"]) == len("2026-11-30")


def test_every_shipped_set_compiles_without_a_finding():
    for name in shipped_sets():
        loaded = load("{}", f"['@{name}']")
        assert loaded.ok, loaded.findings
        assert loaded.policy.groups["dev"].allow.all


def rules_of(name: str):
    return load("{}", f"['@{name}']").policy.groups["dev"].allow.all


# The POSTs that a download needs: of git, and of the large files beside it. None of them leaves anything behind.
ASKING = {
    "/*/*/git-upload-pack",
    "/*/**/git-upload-pack",
    "/*/*/info/lfs/objects/batch",
    "/*/**/info/lfs/objects/batch",
}


def test_the_developers_hosts_are_only_read():
    rules = rules_of("developer")
    assert len(rules) > 140
    for rule in rules:
        assert rule.note, rule
        if rule.methods != {"GET", "HEAD"}:
            assert rule.methods == {"POST"}, rule
            assert {glob.text for glob in rule.paths} <= ASKING, rule


def test_what_fetches_for_others_is_not_among_the_developers_hosts():
    exits = {str(rule.pattern).lstrip(".") for rule in rules_of("exits")}
    whole = {str(rule.pattern) for rule in rules_of("developer") if rule.paths is None}
    assert whole
    assert not whole & exits


@pytest.mark.parametrize(
    ("method", "url", "reason"),
    [
        ("POST", "https://github.com/org/repo.git/git-upload-pack", "rule"),
        ("POST", "https://github.com/org/repo.git/git-receive-pack", "method_not_allowed"),
        ("POST", "https://github.com/org/repo/issues", "method_not_allowed"),
        ("POST", "https://gitlab.com/group/sub/repo.git/git-upload-pack", "rule"),
        ("POST", "https://gitlab.com/api/v4/snippets", "method_not_allowed"),
        ("GET", "https://api.github.com/repos/org/repo", "rule"),
        ("POST", "https://api.github.com/gists", "method_not_allowed"),
        ("GET", "https://proxy.golang.org/github.com/!azure/x/@v/list", "rule"),
        ("GET", "https://proxy.golang.org/attacker.example/DATA/@v/list", "path_not_allowed"),
        (
            "GET",
            "https://proxy.golang.org/sumdb/sum.golang.org/lookup/attacker.example/DATA@v1.0.0",
            "path_not_allowed",
        ),
        ("GET", "https://sum.golang.org/lookup/attacker.example/DATA@v1.0.0", "path_not_allowed"),
        ("GET", "https://proxy.golang.org/github.com/../attacker.example/DATA/@v/list", "path_not_allowed"),
        ("PUT", "https://crates.io/api/v1/crates/new", "method_not_allowed"),
        ("POST", "https://rubygems.org/api/v1/gems", "method_not_allowed"),
        ("PUT", "https://registry-1.docker.io/v2/a/b/manifests/latest", "method_not_allowed"),
        ("GET", "https://paste.ubuntu.com/", "no_rule"),
        ("GET", "https://packagecloud.io/", "no_rule"),
        ("GET", "https://login.microsoftonline.com/", "no_rule"),
        ("GET", "https://accounts.google.com/", "no_rule"),
        ("GET", "https://camo.githubusercontent.com/", "no_rule"),
        ("PUT", "https://npm.example/pkg", "method_not_allowed"),
        ("GET", "https://npm.example/pkg", "rule"),
        ("POST", "https://npm.example/-/npm/v1/security/advisories/bulk", "rule"),
        ("POST", "https://npm.example/npm/-/npm/v1/security/audits/quick", "rule"),
        ("POST", "https://pip.example/-/npm/v1/security/advisories/bulk", "method_not_allowed"),
        ("POST", "https://pip.example/legacy/", "method_not_allowed"),
    ],
)
def test_what_the_starter_policy_lets_out(method: str, url: str, reason: str):
    machine = {name: lambda name=name: Hosts((f"{name}.example",)) for name in ("pip", "npm", "apt")}
    policy = starter_policy(env={}, machine=machine).policy
    assert decide(policy, question_of(url, "local", method)).reason == reason


def test_a_rule_of_a_set_names_its_own_line():
    loaded = load("{a: [x.example, y.example]}", "['@a', '@publish']")
    places = {str(rule.pattern): str(rule.place) for rule in loaded.policy.groups["dev"].allow.all}
    assert places["y.example"] == "outward.yaml:2"
    assert places["gist.github.com"].startswith("sets/publish.yaml:")


def test_sets_may_contain_sets_and_rules_with_limits():
    loaded = load("{a: ['@b', c.example], b: [{host: d.example, methods: [GET]}]}", "['@a']")
    rules = loaded.policy.groups["dev"].allow.all
    assert [(str(rule.pattern), rule.methods) for rule in rules] == [
        ("d.example", frozenset({"GET"})), ("c.example", None),
    ]  # fmt: skip


def test_a_set_that_nobody_uses_is_checked_too():
    loaded = load("{a: ['**'], 'b c': []}", "[]")
    assert [finding.ident for finding in loaded.findings] == ["E011", "E015"]


def test_the_same_set_is_all_ports_where_it_denies_and_web_ports_where_it_allows():
    text = "version: 1\nsets: {a: [x.example]}\ngroups: {dev: {allow: ['@a'], deny: ['@a']}}\n"
    group = load_text(text, env={}, machine={}).policy.groups["dev"]
    assert group.allow.all[0].ports == {80, 443}
    assert group.deny.all[0].ports is None

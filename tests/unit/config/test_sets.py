"""Named lists: shipped as data, of the file, nested."""

import yaml

from outward.config.load import load_text
from outward.config.sets import SHIPPED, shipped_sets


def load(sets: str, allow: str):
    return load_text(f"version: 1\nsets: {sets}\ngroups: {{dev: {{allow: {allow}}}}}\n", env={}, machine={})


def test_every_shipped_file_tells_its_source_and_date():
    files = list(SHIPPED.glob("*.yaml"))
    assert files
    for path in files:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(data) == {"source", "date", "sets"}
        assert data["source"]
        assert len(data["date"]) == len("2026-08")


def test_every_shipped_set_compiles_without_a_finding():
    for name in shipped_sets():
        loaded = load("{}", f"['@{name}']")
        assert loaded.ok, loaded.findings
        assert loaded.policy.groups["dev"].allow.all


def test_what_anybody_can_write_to_is_not_among_the_developers_hosts():
    patterns = {
        name: {str(rule.pattern) for rule in load("{}", f"['@{name}']").policy.groups["dev"].allow.all}
        for name in ("developer", "developer-writable")
    }
    assert len(patterns["developer"]) > 100
    assert "*.s3.amazonaws.com" in patterns["developer-writable"]
    assert not patterns["developer"] & patterns["developer-writable"]


def test_a_rule_of_a_set_names_its_own_line():
    loaded = load("{a: [x.example, y.example]}", "['@a', '@developer-writable']")
    places = {str(rule.pattern): str(rule.place) for rule in loaded.policy.groups["dev"].allow.all}
    assert places["y.example"] == "outward.yaml:2"
    assert places["gist.github.com"].startswith("sets/developer-writable.yaml:")


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

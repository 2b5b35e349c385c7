"""What a reviewer asks: ways out below wildcards, owners, rules that nobody uses."""

import pytest

from outward.config import known
from outward.config.load import load_text
from outward.core.policy import Policy
from outward.core.replay import Recorded
from outward.core.review import exits_below, ownerless, unused, used
from outward.core.rules import Rules
from outward.core.urls import question_of


def policy(groups: str) -> Policy:
    text = f"version: 1\ngroups:\n{groups}clients: [{{group: g, anyone: true}}]\n"
    found = load_text(text, env={}, machine={})
    assert found.policy is not None, found.findings
    return found.policy


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ('{allow: ["*.github.com"]}', ["gist.github.com, api.github.com, uploads.github.com: anybody can send, fetch or write through them (`@pastes`, `@publish`)"]),
        ('{allow: [".github.com"]}', ["gist.github.com, github.com, api.github.com and 1 more: anybody can send, fetch or write through them (`@pastes`, `@publish`)"]),
        ('{allow: [{host: "*.github.com", methods: [GET]}]}', ["gist.github.com: anybody can send, fetch or write through them (`@pastes`)"]),
        ('{allow: ["*.github.com"], deny: [gist.github.com, api.github.com, uploads.github.com]}', []),
        ('{allow: ["*.github.com"], deny: [".github.com"]}', []),
        ('{allow: ["*.github.com"], deny: ["@exits", "@publish"]}', []),
        ('{allow: [{host: "*.ngrok.io", public_suffix: true}]}', [".ngrok.io: anybody can send, fetch or write through them (`@tunnels`)"]),
        ('{allow: ["*.example.com", gist.github.com, 1.1.1.1]}', []),
    ],
)  # fmt: skip
def test_ways_out_below_a_wildcard(group: str, told: list[str]):
    found = list(exits_below(policy(f"  g: {group}\n"), known.exits(), known.writable()))
    assert [each.message.partition(" allows ")[2] for each in found] == told


def test_the_deny_lines_close_what_was_told():
    text = '  g: {allow: ["*.github.com"], deny: [%s]}\n'
    found = list(exits_below(policy(text % ""), known.exits(), known.writable()))
    line = found[0].help.partition("deny: [")[2].removesuffix("]`")
    assert list(exits_below(policy(text % line), known.exits(), known.writable())) == []
    [every] = exits_below(policy('  g: {allow: ["*"]}\n'), known.exits(), known.writable())
    assert every.help.endswith('`deny: ["@exits", "@publish"]`')
    assert list(exits_below(policy('  g: {allow: ["*"], deny: ["@exits", "@publish"]}\n'), known.exits(), {})) == []


def test_a_network_is_no_way_out_below_a_name():
    one = Rules(policy("  g: {allow: [1.1.1.1]}\n").groups["g"].allow.all)
    assert list(exits_below(policy('  g: {allow: ["*"]}\n'), {"@addresses": one}, {})) == []


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("[a.example, b.example]", []),
        ("[{host: a.example, owner: team}]", []),
        ("[{host: a.example, owner: team}, b.example]", ["`b.example` has no owner, and others have"]),
        (
            "[b.example, {host: a.example, owner: team}, c.example]",
            ["`b.example` has no owner, nor have 1 more rules here, and others have"],
        ),
    ],
)
def test_owners(rules: str, told: list[str]):
    assert [each.message for each in ownerless(policy(f"  g: {{allow: {rules}}}\n"))] == told


def seen(*urls: str, group: str = "g") -> list[Recorded]:
    return [Recorded(question_of(url, group, None), allowed=True) for url in urls]


def test_rules_that_nobody_uses_and_wildcards_that_met_few_names():
    found = policy('  g: {allow: [a.example, b.example, "*.example.com", "*.example.org", "@developer-schemas"]}\n')
    traffic = seen("a.example", "n1.example.com", "n2.example.com", *(f"n{each}.example.org" for each in range(3)))
    traffic += seen("blocked.example") + seen("a.example", group="g/gone")
    told = [
        (each.ident, each.message)
        for each in unused(found, used(found, traffic), "2026-11-01")
        if "json" not in each.message and "schema" not in each.message
    ]
    assert told == [
        ("W142", "`b.example` was not used since 2026-11-01"),
        ("W143", "`*.example.com` met 2 names since 2026-11-01: n1.example.com, n2.example.com"),
    ]
    one = unused(found, used(found, seen("n1.example.com")), "2026-11-01")
    assert any("met 1 name since" in each.message for each in one)


def test_many_are_told_as_one():
    found = policy(f"  g: {{allow: [{', '.join(f'h{each}.example' for each in range(30))}]}}\n")
    told = list(unused(found, {}, "2026-11-01"))
    assert len(told) == 20
    assert told[-1].message.endswith("; so it is with 10 more rules")

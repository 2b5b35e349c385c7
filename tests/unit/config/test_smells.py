"""Policies that load and do not do what their author seems to want."""

from pathlib import Path

import pytest
import yaml

from outward.config.load import load_text
from outward.core.lint import lint
from outward.core.model import ClientEntry, Credential, Place
from outward.core.policy import Group, Policy
from outward.search.registry import governed, vendor_of

CASES = yaml.safe_load((Path(__file__).parent.parent / "config_cases/smells.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_smells_are_told_and_do_not_keep_a_policy_from_loading(case):
    loaded = load_text(case["text"], env={}, machine={})
    assert loaded.ok, loaded.findings
    told = [f"{each.place.line} {each.ident} {each.message}" for each in loaded.findings]
    assert told == case["smells"]


def test_a_file_with_errors_is_told_its_smells_in_the_same_pass():
    """All but what an entry that was left out may have caused."""
    allow = "[a.example, a.example, 'https://b.example/x', c.example]"
    text = f"version: 1\ngroups: {{one: {{allow: {allow}}}, two: {{ceiling: ['d.example/y'], allow: [d.example]}}}}\n"
    loaded = load_text(text, env={}, machine={})
    assert (loaded.ok, [each.ident for each in loaded.findings]) == (False, ["W102", "E010", "E010"])


# What the core's smells tell the author to do.
CURES = {
    "W102": {"remove one of them"},
    "W103": {"remove this rule, or narrow the other", "write `.a.example` for both"},
    "W104": {"remove one of the two"},
    "W105": {
        "add `clients:`, such as `- {group: dev, anyone: true}`",
        "add a `clients` entry for it",
        "write `groups` and `clients`; `config/outward.yaml` shows how",
    },
    "W106": {"list the hosts that are needed", "list the networks that are needed"},
    "W107": {"if the name is meant, write it in its `xn--` form and comment it"},
    "W108": {"remove it, or widen the ceiling"},
    "W111": {"use `lane: auto`, which inspects what policy needs to see"},
    "W113": {"use `lane: auto`", "remove `tls: false`"},
    "W115": {"remove one of them: the first one counts"},
    "W116": {
        'if it is meant to be reached, write `{host: "10.2.2.3", addresses: ["10.2.2.3/32"]}`',
        'if it is meant to be reached, write `{host: "[fd00::1]", addresses: ["fd00::1/128"]}`',
        "remove it",
    },
    "W121": {"list the hosts that are needed, or use `lane: inspect`"},
}


def test_each_smell_says_how_to_mend_it():
    findings = [each for case in CASES for each in load_text(case["text"], env={}, machine={}).findings]
    told = {ident: {each.help for each in findings if each.ident == ident} for ident in CURES}
    assert told == CURES


def test_an_address_that_nothing_opens_is_to_be_removed():
    case = next(each for each in CASES if each["name"] == "addresses that are allowed and not dialled")
    _, metadata, _ = load_text(case["text"], env={}, machine={}).findings
    assert metadata.help == "remove it"


def test_the_line_for_a_private_address_loads_without_a_smell():
    case = next(each for each in CASES if each["name"] == "addresses that are allowed and not dialled")
    lines = [
        each.help.split("`")[1] for each in load_text(case["text"], env={}, machine={}).findings if "`" in each.help
    ]
    text = f"version: 1\ngroups: {{dev: {{allow: [{', '.join(lines)}]}}}}\nclients: [{{group: dev, anyone: true}}]\n"
    assert (len(lines), load_text(text, env={}, machine={}).findings) == (2, ())


def test_an_entry_that_names_no_group_reaches_none():
    """Whether a loader would let it through or not."""
    place = Place("outward.yaml", 1)
    subject = Policy(groups={"dev": Group("dev")}, clients=(ClientEntry(Credential.JWT, place),))
    assert [each.ident for each in lint(subject, {"dev": place})] == ["W105"]


def test_the_shipped_registry_knows_what_lies_beside_its_hosts():
    """The wildcard that most people would write for a cloud reaches its models' front end too."""
    allow = "[{host: '*.googleapis.com', public_suffix: true}, '*.mistral.ai', '*.python.org']"
    text = f"version: 1\ngroups: {{dev: {{allow: {allow}}}}}\nclients: [{{group: dev, anyone: true}}]\n"
    findings = load_text(text, env={}, machine={}, vendor_of=vendor_of, governed=governed()).findings
    told = [(each.ident, each.message.split("`")[1]) for each in findings]
    assert told == [("W121", "*.googleapis.com"), ("W121", "*.mistral.ai")]
    assert all(vendor_of(name) for name in governed())


def test_a_shipped_list_is_not_the_users_to_mend():
    text = "version: 1\ngroups: {dev: {allow: ['@developer', '@developer']}}\nclients: [{group: dev, anyone: true}]\n"
    assert load_text(text, env={}, machine={}).findings == ()

"""Policies that load and do not do what their author seems to want."""

from pathlib import Path

import pytest
import yaml

from outward.config.load import load_text

CASES = yaml.safe_load((Path(__file__).parent.parent / "config_cases/smells.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_smells_are_told_and_do_not_keep_a_policy_from_loading(case):
    loaded = load_text(case["text"], env={}, machine={})
    assert loaded.ok, loaded.findings
    told = [f"{each.place.line} {each.ident} {each.message}" for each in loaded.findings]
    assert told == case["smells"]


def test_a_shipped_list_is_not_the_users_to_mend():
    text = "version: 1\ngroups: {dev: {allow: ['@developer', '@developer']}}\nclients: [{group: dev, anyone: true}]\n"
    assert load_text(text, env={}, machine={}).findings == ()

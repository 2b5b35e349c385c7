"""What rules mean: a flat table, each rule's text beside the rows that it decides, in the format of a policy's `tests`."""

from pathlib import Path

import pytest
import yaml

from outward.config.load import load_text
from outward.core.cases import hold

TABLE = yaml.safe_load((Path(__file__).parent.parent / "config_cases/decisions.yaml").read_text(encoding="utf-8"))
ROWS = [(block, row) for block in TABLE for row in block["tests"]]


@pytest.mark.parametrize(
    ("block", "row"), ROWS, ids=[f"{row.get('method', '')} {row['url']} | {block['rules']}" for block, row in ROWS]
)
def test_a_rule_means_what_its_rows_say(block, row):
    groups = f"groups: {{g: {{{block['rules']}}}, g/below: {{{block.get('below', '')}}}}}\n"
    tests = f"tests: [{yaml.safe_dump({'group': 'g', **row}, default_flow_style=True, width=1000).strip()}]\n"
    text = f"version: 1\nclients: [{{group: g, anyone: true}}]\n{groups}{tests}"
    loaded = load_text(text, env={}, machine={})
    assert [each.message for each in loaded.findings if each.level == "error"] == []
    assert loaded.policy is not None
    [case] = loaded.cases
    assert hold(loaded.policy, case).passed, hold(loaded.policy, case).difference

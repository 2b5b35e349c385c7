"""`outward explain @set`: what a set holds; and what else `explain` takes in the place of a URL."""

import json
from pathlib import Path

from click.testing import CliRunner

from outward.cli.main import main

CONFIG = "version: 1\nsets: {mine: [a.example, {host: b.example, methods: [GET]}]}\ngroups: {g: {allow: ['@mine']}}\n"


def explained(tmp_path: Path, *words: str) -> tuple[int, str]:
    path = tmp_path / "policy.yaml"
    path.write_text(CONFIG)
    result = CliRunner().invoke(main, ["explain", "--config", str(path), *words])
    return result.exit_code, result.output


def test_the_files_own_sets_and_shipped_ones_are_shown(tmp_path: Path):
    told = '@mine: 2 entries\n  - a.example\n  - {host: "b.example", ports: [80, 443], methods: [GET]}\n'
    assert explained(tmp_path, "@mine") == (0, told)
    code, text = explained(tmp_path, "@telemetry", "--json")
    assert code == 0
    assert "telemetry.nextjs.org" in json.loads(text)["entries"]


def test_a_set_that_there_is_not_is_a_usage_error_with_the_nearest(tmp_path: Path):
    code, text = explained(tmp_path, "@mien")
    assert code == 2
    assert "no set is named `@mien`; did you mean `@mine`?" in text


def test_a_misspelt_reason_is_no_host_and_a_host_with_an_underscore_is_one(tmp_path: Path):
    code, text = explained(tmp_path, "no_rul")
    assert code == 2
    assert "did you mean the reason `no_rule`?" in text
    code, text = explained(tmp_path, "my_db")
    assert code == 4
    assert "CONNECT my_db:443" in text


def test_without_anything_to_explain_all_that_can_be_is_named(tmp_path: Path):
    code, text = explained(tmp_path)
    assert code == 2
    assert all(form in text for form in ("URL", "host", "@developer", "E012", "no_rule", "--search"))

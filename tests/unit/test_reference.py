"""The reference says what the code says, and every example brings what it is an example of."""

import json
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

from outward.cli.check import checked
from outward.cli.main import main
from outward.config.findings import FindingMeaning, meanings
from outward.config.schema import json_schema

ROOT = Path(__file__).parents[2]
EXAMPLES = [each for each in meanings().values() if each.example is not None]


def test_the_reference_is_current() -> None:
    """Something was added or reworded: run `scripts/reference`."""
    for name, text in runpy.run_path(str(ROOT / "scripts/reference"))["written"]().items():
        assert (ROOT / "docs/reference" / name).read_text() == text, f"run scripts/reference: {name} is old"


@pytest.mark.parametrize("meaning", EXAMPLES, ids=[each.code for each in EXAMPLES])
def test_an_example_brings_its_finding_with_a_cure(meaning: FindingMeaning) -> None:
    found = [each for each in checked(meaning.example or "", "outward.yaml").findings if each.ident == meaning.code]
    assert found


def told(*words: str) -> str:
    done = CliRunner().invoke(main, ["explain", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_explain_shows_a_code_with_its_example_and_what_check_says() -> None:
    text = told("E012")
    assert text.startswith("E012 (error): a wildcard over a public suffix\n")
    assert "help: name the registrable domain" in text
    assert json.loads(told("E012", "--json"))["code"] == "E012"


def test_explain_shows_a_reason_with_its_cure() -> None:
    assert told("no_rule").startswith("no_rule: No rule allows this host (HTTP 403)\n")
    assert json.loads(told("no_rule", "--json"))["status"] == 403


def test_explain_says_if_there_is_no_such_code() -> None:
    done = CliRunner().invoke(main, ["explain", "E999"])
    assert (done.exit_code, "there is no finding E999" in done.output) == (2, True)


def test_every_key_of_the_configuration_says_what_it_is_for() -> None:
    """In editors, and in the reference: `config/keys.yaml`."""
    schema = json_schema()
    models = {"Document": schema} | {name: each for name, each in schema["$defs"].items() if "properties" in each}
    bare = [
        f"{name}: {key}"
        for name, model in models.items()
        for key, value in model["properties"].items()
        if not value.get("description")
    ]
    assert bare == []

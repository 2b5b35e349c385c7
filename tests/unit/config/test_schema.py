"""The schema for editors says what the loader says."""

import json
import re
from pathlib import Path
from typing import get_type_hints

import jsonschema
import pytest
import yaml

from outward.config import rules, schema
from outward.config.findings import meanings
from outward.config.load import load
from outward.config.schema import LimitsModel, RuleMapping, json_schema
from outward.config.sets import Hosts
from outward.config.settings import Limits
from outward.config.shapes import Model

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "config").rglob("*.yaml"))
WHOLE = [path for path in FILES if path.parent.name != "teams"]


def test_the_generated_schema_is_current():
    """Mend it with `outward schema > config/schema.json`."""
    assert json.loads((ROOT / "config/schema.json").read_text(encoding="utf-8")) == json_schema()


@pytest.mark.parametrize("model", [schema.ServerModel, LimitsModel, schema.RecordsModel])
def test_a_default_is_spelt_as_the_file_wants_it(model: type[Model]):
    """Whoever copies one from an editor, or from the reference, changes nothing."""
    keys = json_schema()["$defs"][model.__name__]["properties"]
    spelt = {key: each["default"] for key, each in keys.items() if each.get("default") is not None}
    written = {key: each if isinstance(each, str) else json.dumps(each) for key, each in spelt.items()}
    assert repr(model.model_validate(written)) == repr(model.model_validate({}))
    jsonschema.Draft202012Validator({"properties": keys, "$defs": json_schema()["$defs"]}).validate(spelt)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_editors_accept_the_starter_and_the_examples(path: Path):
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_the_starter_and_the_examples_load_without_a_finding(path: Path):
    machine = dict.fromkeys(("pip", "npm", "apt"), Hosts)
    loaded = load(path, env={}, machine=machine)
    assert loaded.findings == ()


def test_every_truth_value_is_read_by_the_same_reader():
    """`true` and `false` and nothing else, and a whole load without the slow way of finding errors."""
    models = [each for each in vars(schema).values() if isinstance(each, type) and issubclass(each, schema.Model)]
    hints = {model.__name__: get_type_hints(model, include_extras=True) for model in models}
    assert schema.Flag in hints["RuleMapping"].values()
    assert [f"{model}.{name}" for model, said in hints.items() for name, kind in said.items() if kind is bool] == []


def test_what_is_commented_out_in_the_starter_is_the_default():
    text = (ROOT / "config/outward.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^  # (state|grace): (\S+)", text, re.MULTILINE)
    assert dict(lines) == {"state": "~/.local/state/outward", "grace": "30s"}


@pytest.mark.parametrize(
    "bad", [{"version": 1, "sever": {}}, {"groups": {}}, {"version": 1, "groups": {"a": {"alow": []}}}]
)
def test_editors_refuse_what_the_loader_refuses(bad: dict[str, object]):
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(bad)


def test_the_model_of_a_rule_knows_the_keys_that_the_compiler_reads():
    assert set(RuleMapping.model_fields) == set(rules._KEYS)


def test_limits_have_one_set_of_defaults():
    assert Limits(**LimitsModel().model_dump()) == Limits()


def test_every_code_has_its_meaning():
    also = (
        ROOT / "addons/outward" / name for name in ("core/lint.py", "core/review.py", "cli/check.py", "cli/trusting.py")
    )
    sources = [*(ROOT / "addons/outward/config").rglob("*.py"), *also]
    used = {code for path in sources for code in re.findall(r'"([EW]\d{3})"', path.read_text(encoding="utf-8"))}
    assert used == set(meanings())

"""What shapes read is what pydantic makes of the same; what pydantic refuses, they leave to it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from outward.config import schema
from outward.config.shapes import Model, OddError
from outward.config.twins import read

ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / "config").rglob("*.yaml"), *(ROOT / "tests/unit/config_cases").glob("*.yaml")]
MODELS = sorted(
    (
        each
        for each in vars(schema).values()
        if isinstance(each, type) and issubclass(each, Model) and each is not Model
    ),
    key=lambda each: each.__name__,
)


def agree(model: type[Model], data: Any) -> None:
    """Read data both ways."""
    try:
        expected = read(model, data)
    except ValidationError:
        with pytest.raises(OddError):
            model.model_validate(data)
        return
    try:
        found = model.model_validate(data)
    except OddError:
        return
    assert repr(found) == repr(expected)


def mappings(node: Any) -> list[Any]:
    """Return every mapping in a document, and every text in it that is one."""
    if isinstance(node, dict):
        return [node, *(each for value in node.values() for each in mappings(value))]
    if isinstance(node, list):
        return [each for value in node for each in mappings(value)]
    if isinstance(node, str) and "\n" in node:
        try:
            return mappings(_plain(node))
        except yaml.YAMLError:
            return []
    return []


def _plain(text: str) -> Any:
    return yaml.load(text, yaml.BaseLoader)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_written_anywhere_reads_the_same(path: Path) -> None:
    for data in mappings(_plain(path.read_text(encoding="utf-8"))):
        for model in MODELS:
            agree(model, data)


def test_what_is_right_needs_no_other_look() -> None:
    """Otherwise the other tests here would compare nothing."""
    for path in (ROOT / "config").glob("*.yaml"):
        document = _plain(path.read_text(encoding="utf-8"))
        schema.Document.model_validate({key: value for key, value in document.items() if key != "groups"})


_WORDS = (
    "1 0 65536 10s 5MiB true a.test a.test:80 https://a.test/x 10.0.0.0/8 10.0.0.1 GET /a allow deny viewer unlimited "
    "inherit json admin *.test " + "f" * 64
)
_VALUES = st.recursive(
    st.none() | st.sampled_from(["", "GET\n", *_WORDS.split()]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "host", "file"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_said_reads_the_same_or_is_left(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(MODELS))
    agree(model, data.draw(st.dictionaries(st.sampled_from([*model.model_fields, "unknown"]), _VALUES, max_size=4)))

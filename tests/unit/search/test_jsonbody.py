"""Strict JSON: one text, one value, for every parser."""

import json

import pytest

from outward.search.jsonbody import MAX_DEPTH, JsonBodyError, check_keys, decode, encode


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"\\u0062":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b"\xef\xbb\xbf{}",
        '{"a":"é"}'.encode("latin-1"),
        '{"a":1}'.encode("utf-16"),
        b'{"a":1} x',
        b"",
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b"[" * 100_000,
        b'{"a":' + b"9" * 10_000 + b"}",
    ],
)
def test_what_parsers_could_read_differently_is_refused(body: bytes) -> None:
    """Duplicate keys, numbers that are none, lone surrogates, other encodings, depth."""
    with pytest.raises(JsonBodyError):
        decode(body)


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True, "é🙂\\u0000\n"]}, [], "x", 10**15, 10**40, {"": {"": ""}}]
)
def test_what_was_read_is_written_with_the_same_meaning(value: object) -> None:
    """Values and the order of keys survive."""
    assert decode(encode(value)) == value
    assert json.loads(encode(value)) == value


def test_a_pair_of_surrogates_is_a_character() -> None:
    """Escaped as two, it is one."""
    assert decode(b'"\\ud83d\\ude42"') == "🙂"


@pytest.mark.parametrize("key", ["Tools", "TOOLS", "to_ols", "to-ols"])
def test_another_spelling_of_a_governed_key_is_refused(key: str) -> None:
    """A lenient server would read it."""
    with pytest.raises(JsonBodyError):
        check_keys({key: []}, frozenset({"tools"}))

"""Bodies that hold more values than are read are refused before they are parsed; what conversations hold is not."""

import gzip
import json

import pytest

from harness.governing import Desk
from outward.core.model import OnViolation
from outward.core.reasons import Reason
from outward.search.jsonbody import MOST_VALUES, TooManyValuesError, crowded, decode
from outward.search.results import filter_events

PATH = "/v1/messages"
TOOL = {"type": "web_search_20250305", "name": "web_search"}
CROWDS = {
    "objects": b"[" + b"{}," * MOST_VALUES + b"{}]",
    "lists": b"[" * (MOST_VALUES + 2),
    "numbers": b"[" + b"1," * (MOST_VALUES + 1) + b"1]",
    "strings": b"[" + b'"",' * (MOST_VALUES + 1) + b'""]',
    "keys": b'{"":0' + b',"":0' * (MOST_VALUES + 1) + b"}",
    "behind an escape": b'["\\\\",' + b"{}," * MOST_VALUES + b"{}]",
}
ONE_STRING = {
    "commas": b'["' + b"," * (2 * MOST_VALUES) + b'"]',
    "brackets behind escapes": b'["' + b'\\",[' * MOST_VALUES + b'"]',
}


@pytest.mark.parametrize("text", CROWDS.values(), ids=CROWDS)
def test_what_holds_too_many_values_is_not_parsed(text: bytes) -> None:
    assert crowded(text)
    with pytest.raises(TooManyValuesError):
        decode(text)


@pytest.mark.parametrize("text", ONE_STRING.values(), ids=ONE_STRING)
def test_what_stands_in_a_string_does_not_count(text: bytes) -> None:
    assert not crowded(text)
    assert decode(text) == json.loads(text)


def test_the_bound_itself_is_read() -> None:
    assert not crowded(b"[" + b"1," * (MOST_VALUES - 1) + b"1]")


def test_ten_kilobytes_that_unfold_to_millions_of_values_are_refused_in_plain_words() -> None:
    bomb = gzip.compress(b'{"messages":[],"a":[' + b"{}," * 3_400_000 + b"{}]}", 9)
    assert len(bomb) < 11_000
    out = Desk(limit=32 << 20).ask(
        "api.anthropic.com", PATH, raw=bomb, headers={"content-encoding": "gzip", "content-type": "application/json"}
    )
    assert out.deny is Reason.TOO_LARGE
    assert out.detail == "more than 500,000 JSON values: objects, lists and what they hold"


def test_a_long_conversation_is_far_from_the_bound() -> None:
    """A coding agent's: a thousand calls of tools, whose results are source text full of commas and brackets."""
    source = "def f(a, b, c): return {a: [b, c], 'k': [1, 2, 3]}  # one, two, three\n" * 40
    messages: list[object] = []
    for turn in range(400):
        call = {"type": "tool_use", "id": f"t{turn}", "name": "read", "input": {"path": f"/src/{turn}.py", "limit": 40}}
        result = {"type": "tool_result", "tool_use_id": f"t{turn}", "content": [{"type": "text", "text": source}]}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    body = json.dumps({"messages": messages, "tools": [TOOL]}).encode()
    assert len(body) > 1_170_000
    assert Desk().ask("api.anthropic.com", PATH, raw=body).deny is None
    structure = json.dumps({"messages": json.loads(body.decode().replace(json.dumps(source), '""'))["messages"]})
    assert sum(structure.count(sign) for sign in "{[,") * 40 < MOST_VALUES


@pytest.mark.parametrize("kind", ["text/event-stream", "application/jsonl", "application/json"])
def test_an_answer_that_is_too_crowded_to_be_read_does_not_pass_where_it_must_be_read(kind: str) -> None:
    text = b'{"content":[' + b"{}," * MOST_VALUES + b"{}]}"
    body = b"data: " + text + b"\n\ndata: {}\n\n" if kind == "text/event-stream" else text + b"\n{}\n"
    desk = Desk()
    settings = {"on_violation": OnViolation.CUT}
    out = desk.ask("api.anthropic.com", PATH, {"messages": [], "tools": [TOOL]}, settings=settings)
    observation = desk.governance.observe(out, 200, {"content-type": kind})
    assert observation is not None
    passed = observation.replace(body) if observation.whole else observation.feed(body)
    assert passed is None or b"{},{}" not in passed
    assert observation.was_cut or passed is None


def test_a_crowded_event_is_dropped_from_filtered_results() -> None:
    text = b"data: [" + b"{}," * MOST_VALUES + b"{}]\n\ndata: [1]\n\n"
    assert filter_events(text, lambda _value: None) == b"data: [1]\n\n"

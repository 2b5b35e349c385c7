"""Under `on_violation: cut`, what is too large to be read passes no more than what lies outside the allowlist."""

import json

import pytest

from harness.governing import Desk
from outward.core.model import OnViolation
from outward.search import streams

TOOL = {"type": "web_search_20250305", "name": "web_search"}
EVIL = {
    "type": "web_search_tool_result",
    "tool_use_id": "s",
    "content": [{"url": "https://evil.example/", "title": "E"}],
}


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("ended", [True, False])
def test_an_event_that_is_too_large_to_be_read_is_cut(
    monkeypatch: pytest.MonkeyPatch, pieces: int, ended: bool
) -> None:
    monkeypatch.setattr(streams, "MAX_PIECE", 1 << 16)
    desk = Desk()
    out = desk.ask(
        "api.anthropic.com",
        "/v1/messages",
        {"messages": [], "tools": [TOOL]},
        settings={"on_violation": OnViolation.CUT},
    )
    event = {"type": "content_block_start", "index": 1, "pad": "x" * (1 << 17), "content_block": EVIL}
    body = b"data: " + json.dumps(event).encode() + (b"\n\n" if ended else b"")
    observation = desk.governance.observe(out, 200, {"content-type": "text/event-stream"})
    size = -(-len(body) // pieces)
    passed = b"".join(observation.feed(body[at : at + size]) for at in range(0, len(body), size)) + observation.finish()
    assert b"evil.example" not in passed
    assert observation.was_cut
    assert observation.seen.incomplete

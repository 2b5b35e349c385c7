"""What agents do all day is neither refused nor changed, although addresses stand everywhere in it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.governing import Desk
from harness.transcripts import CONVERSATIONS, PIXEL


@pytest.mark.parametrize("enabled", [True, False], ids=["search on", "search off"])
@pytest.mark.parametrize(
    ("host", "path", "conversation"), CONVERSATIONS, ids=[host + path for host, path, _ in CONVERSATIONS]
)
def test_a_long_conversation_passes_as_it_is(
    host: str, path: str, conversation: Callable[[], dict[str, Any]], enabled: bool
) -> None:
    body = conversation()
    assert len(json.dumps(body)) > 20_000
    outcome = Desk().ask(host, path, body, settings={"enabled": enabled})
    assert outcome.deny is None, outcome.detail
    assert outcome.body is None, "changed"
    assert outcome.findings == ()
    assert dict(outcome.headers) == {}


@pytest.mark.parametrize(
    ("host", "path", "part"),
    [
        (
            "api.anthropic.com",
            "/v1/messages",
            {"type": "image", "source": {"type": "url", "url": "https://evil.example/"}},
        ),
        ("api.openai.com", "/v1/responses", {"type": "input_image", "image_url": "https://evil.example/a.png"}),
        (
            "api.openai.com",
            "/v1/chat/completions",
            {"type": "image_url", "image_url": {"url": "https://evil.example/"}},
        ),
    ],
)
def test_one_address_among_them_that_the_vendor_would_fetch_is_found(
    host: str, path: str, part: dict[str, Any]
) -> None:
    """The same conversations are no cover: an address where the vendor fetches is found in the middle of them."""
    body = next(make for at, below, make in CONVERSATIONS if (at, below) == (host, path))()
    turns = body.get("messages") or body["input"]
    turns.insert(len(turns) // 2, {"role": "user", "content": [part]})
    assert Desk().ask(host, path, body).deny is not None
    assert PIXEL in json.dumps(body)

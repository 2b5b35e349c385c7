"""Amazon's own web search, signed: it passes byte for byte if its filter complies, and its answer is filtered."""

import json
from pathlib import Path
from typing import Any

from harness import vendors
from harness.loops import on_loop
from harness.searching import governed
from outward.core.model import OptIn, WebSearch

HOST = "bedrock-agentcore.us-east-1.amazonaws.com"
PATH = "/web-search/web-search.v1/invoke"
ON = WebSearch(enabled=True, opt_in=OptIn.ASSUMED)
SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=k/20261130/us-east-1/bedrock-agentcore/aws4_request, Signature=0"
}
FOUND = {
    "results": [
        {"title": "in", "url": "https://docs.example.com/cve", "text": "Patched in 2.5.0"},
        {"title": "out", "url": "https://evil.example.net/", "text": "Elsewhere"},
    ]
}


async def searching(_seen: Any, _reader: Any, writer: Any) -> None:
    await vendors.reply(writer, 200, FOUND)


def asking(**domains: list[str]) -> bytes:
    """A body whose spelling no encoder of ours would give: a signature covers every byte."""
    filters = {"domainFilter": domains} if domains else {}
    return json.dumps({"searchQuery": "is it patched?", "filters": filters, "maxResults": 5}, indent=3).encode()


@on_loop
async def test_a_signed_search_that_complies_goes_as_it_is_and_its_answer_is_filtered(tmp_path: Path) -> None:
    async with governed(HOST, tmp_path, ON, searching) as desk, desk.http() as http:
        body = asking(include=["docs.example.com", "example.org"])
        answer = await http.post(desk.url + PATH, content=body, headers=SIGNED)
        assert answer.status_code == 200
        assert desk.vendor.seen[0].body == body
        assert desk.vendor.seen[0].all("authorization") == [SIGNED["authorization"]]
        assert answer.json() == {"results": FOUND["results"][:1]}
        (receipt,) = desk.told.receipts
        assert (receipt["searches"], receipt["queries"]) == (1, ["is it patched?"])
        assert [each["url"] for each in receipt["sources"]] == ["https://docs.example.com/cve"]


@on_loop
async def test_a_signed_search_that_says_too_much_never_leaves(tmp_path: Path) -> None:
    async with governed(HOST, tmp_path, ON, searching) as desk, desk.http() as http:
        for body in (
            asking(),
            asking(include=["docs.example.com", "evil.example.net"]),
            asking(exclude=["evil.example.net"]),
            asking(include=["docs.example.com"], exclude=["evil.example.net"]),
        ):
            answer = await http.post(desk.url + PATH, content=body, headers=SIGNED)
            assert answer.status_code == 403
            assert answer.json()["reason"] == "web_search_unfilterable"
            assert "signed" in answer.json()["message"]
        assert desk.vendor.seen == []


@on_loop
async def test_an_unsigned_search_is_narrowed(tmp_path: Path) -> None:
    async with governed(HOST, tmp_path, ON, searching) as desk, desk.http() as http:
        answer = await http.post(desk.url + PATH, content=asking(exclude=["evil.example.net"]))
        assert desk.body()["filters"]["domainFilter"] == {"include": ["docs.example.com", "example.org"]}
        assert answer.json() == {"results": FOUND["results"][:1]}

"""Hosted search under `mitmdump -s addon.py`: the scenes of the demo and the guide's example, with audit and receipts."""

import json
from pathlib import Path
from typing import Any

import pytest
import trustme

from harness import vendors
from harness.gates import status
from harness.loops import on_loop
from harness.mitmdump import Mitmdump, mitmdump, web
from harness.raw import raw

pytestmark = pytest.mark.slow

CLAUDE, GPT = "api.anthropic.com", "api.openai.com"
POLICY = """
upstream:
  trust: [roots.pem]
  internal: [127.0.0.0/8]
  dns: {hosts: {api.anthropic.com: [127.0.0.1], api.openai.com: [127.0.0.1], llm.test: [127.0.0.1], search.test: [127.0.0.1]}}
groups:
  acme:
    web_search: {enabled: TOGGLE MORE}
  acme/chat:
    allow:
      - docs.example.com
      - "*.example.org"
      - {host: api.anthropic.com, ports: [PORT]}
      - {host: api.openai.com, ports: [PORT]}
      - {host: search.test, ports: [PORT]}
clients:
  - {group: acme/chat, anyone: true}
vendors: {search.test: {adapter: tavily, trust_filter: true}}
"""
ASK = [{"role": "user", "content": "Has CVE-2025-50182 in urllib3 been patched?"}]
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
SENT = ["docs.example.com"]


def chat(folder: Path, port: int, pki: trustme.CA, *, toggle: bool = True, more: str = "") -> Any:
    text = POLICY.replace("PORT", str(port)).replace("TOGGLE", "true" if toggle else "false").replace(" MORE", more)
    return mitmdump(folder, text, pki)


async def anthropic(proxy: Mitmdump, port: int, chat: str = "chat-1", **more: Any) -> Any:
    """Ask Anthropic's question in a conversation and return the response."""
    body = {"model": "m", "max_tokens": 9, "messages": ASK, "tools": [SEARCH], **more}
    async with proxy.http(name=chat) as http:
        return await http.post(f"https://{CLAUDE}:{port}/v1/messages", json=body)


async def opt_in(proxy: Mitmdump, chat: str = "chat-1") -> None:
    answer = await proxy.asked(f"/api/v1/conversations/{chat}/opt-in", "PUT", {"group": "acme/chat"})
    assert not isinstance(answer, tuple) or answer[0] < 300, answer


async def audited(proxy: Mitmdump, kind: str, chat: str = "chat-1") -> Any:
    """Return the details of a conversation's audit event of a kind, once there is one."""
    while True:
        rows = (await proxy.asked("/api/v1/audit"))["items"]
        found = [row["details"] for row in rows if (row["event_type"], row["target_details"]) == (kind, chat)]
        if found:
            return found[0]


async def receipted(proxy: Mitmdump, chat: str) -> Any:
    """Return the receipt of a conversation, once there is one."""
    while True:
        receipt = await proxy.asked(f"/api/v1/conversations/{chat}/receipt")
        if not isinstance(receipt, tuple):
            return await proxy.verb("conversation", "receipt", chat)


@on_loop
async def test_scene_1_the_toggle_is_off_and_2_on_without_consent(tmp_path: Path) -> None:
    """The search is taken out, the turn goes on; both are told in the blocked log, in metrics and in the audit."""
    pki = trustme.CA()
    async with web(pki, CLAUDE) as vendor, chat(tmp_path, vendor.port, pki, toggle=False) as proxy:
        vendor.answer = vendors.anthropic
        assert (await anthropic(proxy, vendor.port)).json()["content"][0]["text"] == "from memory"
        assert "tools" not in json.loads(vendor.seen[0].body)
        await proxy.event(reason="web_search_disabled", verdict="deny")
        await proxy.asked("/api/v1/groups/acme/chat/web-search", "PUT", {"enabled": True})
        await anthropic(proxy, vendor.port)
        assert "tools" not in json.loads(vendor.seen[1].body)
        await proxy.event(reason="web_search_not_opted_in", verdict="deny")
        assert (await audited(proxy, "web_search_blocked"))["reason"] in {
            "web_search_disabled",
            "web_search_not_opted_in",
        }
        told: set[str] = set()
        while told != {"web_search_disabled", "web_search_not_opted_in"}:
            told = {row["reason"] for row in (await proxy.asked("/api/v1/blocked"))["items"]}
        metrics = proxy.ask("/metrics")[1]
        assert 'outward_web_searches_total{outcome="stripped",vendor="anthropic"} 2.0' in metrics


@on_loop
async def test_the_worked_example_searches_permitted_sources_with_receipt_and_audit(tmp_path: Path) -> None:
    """Opted in: the filter is narrowed, the answer read on its way, whole or streamed, the chain of the audit whole."""
    pki = trustme.CA()
    async with web(pki, CLAUDE) as vendor, chat(tmp_path, vendor.port, pki) as proxy:
        vendor.answer = vendors.anthropic
        for name, stream in (("chat-1", False), ("chat-2", True)):
            await opt_in(proxy, name)
            answer = await anthropic(proxy, vendor.port, name, stream=stream)
            assert "docs.example.com" in answer.text
            assert "evil.example.net" not in answer.text
            assert json.loads(vendor.seen[-1].body)["tools"][0]["allowed_domains"] == SENT
            assert vendor.seen[-1].all("accept-encoding") == ["identity"]
            told = await audited(proxy, "web_search_invoked", name)
            assert (told["vendor"], told["search_count"], told["action"]) == ("anthropic", 1, "narrowed")
            receipt = await receipted(proxy, name)
            assert (receipt["searches"], receipt["queries"]) == (1, ["CVE-2025-50182 patched?"])
            assert [(each["url"], each["permitted"]) for each in receipt["sources"]] == [
                ("https://docs.example.com/cve", True)
            ]
        assert (await proxy.verb("audit", "verify"))["ok"] is True


@on_loop
async def test_scene_3_another_vendor_is_governed_alike(tmp_path: Path) -> None:
    pki = trustme.CA()
    async with web(pki, GPT) as vendor, chat(tmp_path, vendor.port, pki) as proxy:
        vendor.answer = vendors.openai
        await opt_in(proxy)
        body = {"model": "m", "input": "q", "tools": [{"type": "web_search"}]}
        async with proxy.http() as http:
            answer = await http.post(f"https://{GPT}:{vendor.port}/v1/responses", json=body)
        assert answer.status_code == 200
        assert json.loads(vendor.seen[0].body)["tools"][0]["filters"]["allowed_domains"] == SENT
        assert (await audited(proxy, "web_search_invoked"))["vendor"] == "openai"


async def careless(seen: Any, reader: Any, writer: Any) -> None:
    """A vendor that disregards the filter."""
    body = json.loads(seen.body)
    for tool in body["tools"]:
        tool.pop("allowed_domains", None)
    seen.body = json.dumps(body).encode()
    await vendors.anthropic(seen, reader, writer)


@on_loop
async def test_scene_4_a_source_outside_the_allowlist_is_flagged(tmp_path: Path) -> None:
    """In a whole answer and in a stream."""
    pki = trustme.CA()
    async with web(pki, CLAUDE) as vendor, chat(tmp_path, vendor.port, pki) as proxy:
        vendor.answer = careless
        for name, stream in (("chat-1", False), ("chat-2", True)):
            await opt_in(proxy, name)
            assert "evil.example.net" in (await anthropic(proxy, vendor.port, name, stream=stream)).text
            await proxy.event(reason="source_outside_allowlist", verdict="allow", conversation=name)
            receipt = await receipted(proxy, name)
            assert {each["url"]: each["permitted"] for each in receipt["sources"]}["https://evil.example.net/"] is False


@on_loop
async def test_where_the_policy_cuts_nothing_from_outside_reaches_the_client(tmp_path: Path) -> None:
    """A whole answer is refused, a stream ends so that nobody takes it for the whole."""
    pki = trustme.CA()
    async with web(pki, CLAUDE) as vendor, chat(tmp_path, vendor.port, pki, more=", on_violation: cut") as proxy:
        vendor.answer = careless
        for name, stream in (("chat-1", False), ("chat-2", True)):
            await opt_in(proxy, name)
            body = {"model": "m", "max_tokens": 9, "messages": ASK, "tools": [SEARCH], "stream": stream}
            got, ended = "", None
            async with proxy.http(name=name) as http:
                try:
                    async with http.stream("POST", f"https://{CLAUDE}:{vendor.port}/v1/messages", json=body) as answer:
                        code = answer.status_code
                        async for piece in answer.aiter_text():
                            got += piece
                except Exception as error:  # noqa: BLE001 - whichever the library raises
                    ended = error
            assert "evil.example.net" not in got
            assert (code, ended is None) == ((200, False) if stream else (403, True))
            await proxy.event(reason="source_outside_allowlist", verdict="deny", conversation=name)


@on_loop
async def test_what_cannot_be_read_is_refused_in_the_vendors_words(tmp_path: Path) -> None:
    """An unknown tool, an unknown endpoint, a WebSocket, a body in an unknown encoding; nothing is sent."""
    pki = trustme.CA()
    async with web(pki, CLAUDE, GPT) as vendor, chat(tmp_path, vendor.port, pki) as proxy, proxy.http() as http:
        await opt_in(proxy)
        odd = await anthropic(proxy, vendor.port, tools=[{"type": "web_search_20990101", "name": "w"}])
        assert (odd.status_code, odd.json()["type"], odd.json()["reason"]) == (
            400,
            "error",
            "web_search_unknown_tool",
        ) or (odd.json()["reason"] == "web_search_unknown_tool")
        unknown = await http.post(f"https://{GPT}:{vendor.port}/v9/everything", json={})
        assert unknown.json()["reason"] == "web_search_unknown_endpoint"
        encoded = await http.post(
            f"https://{CLAUDE}:{vendor.port}/v1/messages", content=b"x", headers={"Content-Encoding": "odd"}
        )
        assert encoded.json()["reason"] == "web_search_uninspectable"
        socket = await http.get(
            f"https://{GPT}:{vendor.port}/v1/realtime",
            headers={
                "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            },
        )  # fmt: skip
        assert socket.status_code == 426
        assert vendor.accepts == 0


@on_loop
async def test_a_search_apis_answer_is_filtered_exactly(tmp_path: Path) -> None:
    """The answer is held until it has been judged as a whole."""
    pki = trustme.CA()
    async with web(pki, "search.test") as vendor, chat(tmp_path, vendor.port, pki) as proxy, proxy.http() as http:
        vendor.answer = vendors.tavily
        await opt_in(proxy)
        answer = (await http.post(f"https://search.test:{vendor.port}/search", json={"query": "q"})).json()
        assert [each["url"] for each in answer["results"]] == ["https://docs.example.com/cve"]


@on_loop
async def test_scene_5_the_agent_fetches_what_is_not_allowed_itself(tmp_path: Path) -> None:
    """The same policy that narrowed the search refuses the connection; `outward blocked` says so."""
    pki = trustme.CA()
    async with web(pki) as vendor, chat(tmp_path, vendor.port, pki) as proxy:
        async with raw(proxy.address) as client:
            answer = await client.ask(b"GET http://paste.example.net/ HTTP/1.1\r\nHost: paste.example.net\r\n\r\n")
        assert status(answer) == 403
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["suggestion"] == "- paste.example.net"
        found: list[Any] = []
        while not found:  # the store is written behind the answer
            found = await proxy.verb("blocked")
        (row,) = found
        assert (row["host"], row["reason"], row["count"]) == ("paste.example.net", "no_rule", 1)

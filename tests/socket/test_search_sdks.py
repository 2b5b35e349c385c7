"""Hosted search through the real proxy with the vendors' own clients, against stubs that hold to the vendors' rules."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import vendors
from harness.late import anthropic, genai, mcp, mcp_http, openai, types
from harness.loops import on_loop, until
from harness.searching import governed
from outward.core.model import OnViolation, OptIn, Unfilterable, Verdict, WebSearch
from outward.core.reasons import Reason

ON = WebSearch(enabled=True, opt_in=OptIn.ASSUMED)
CLAUDE, GPT, GEMINI = "api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com"
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
ASK = [{"role": "user", "content": "Has CVE-2025-50182 in urllib3 been patched?"}]
SOURCES = ["https://docs.example.com/cve", "https://a.example.org/advisory"]


@on_loop
async def test_a_streamed_search_answers_with_permitted_sources_a_receipt_and_an_audit_event(tmp_path: Path) -> None:
    async with governed(CLAUDE, tmp_path, ON, vendors.anthropic) as desk, desk.http() as http:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http)
        async with client.messages.stream(model="m", max_tokens=9, messages=ASK, tools=[SEARCH]) as stream:
            message = await stream.get_final_message()
        assert message.content[-1].text == "Yes."
        assert desk.body()["tools"] == [
            {**SEARCH, "allowed_domains": ["docs.example.com", "example.org"], "max_uses": 5}
        ]
        await until(lambda: desk.told.receipts)
        (receipt,) = desk.told.receipts
        assert (receipt["conversation"], receipt["searches"], receipt["incomplete"]) == ("chat-1", 1, False)
        assert receipt["queries"] == ["CVE-2025-50182 patched?"]
        assert [(s["url"], s["permitted"]) for s in receipt["sources"]] == [(url, True) for url in SOURCES]
        assert [s["url"] for s in receipt["citations"]] == SOURCES
        (audit,) = desk.told.audits
        assert (audit.event_type, audit.group, audit.target) == ("web_search_invoked", "dev", "chat-1")
        assert (audit.details["search_count"], audit.details["action"]) == (1, "narrowed")


@on_loop
async def test_with_the_toggle_off_the_answer_comes_from_memory_and_the_block_is_told(tmp_path: Path) -> None:
    async with governed(CLAUDE, tmp_path, WebSearch(), vendors.anthropic) as desk, desk.http() as http:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http)
        message = await client.messages.create(model="m", max_tokens=9, messages=ASK, tools=[SEARCH])
        assert message.content[0].text == "from memory"
        assert "tools" not in desk.body()
        await until(lambda: len(desk.world.events) == 2)
        noted = {(event.verdict, event.reason) for event in desk.world.events}
        assert noted == {(Verdict.DENY, Reason.WEB_SEARCH_DISABLED), (Verdict.ALLOW, Reason.RULE)}
        (audit,) = desk.told.audits
        assert (audit.event_type, audit.details["reason"]) == ("web_search_blocked", "web_search_disabled")
        assert desk.told.receipts == []


@on_loop
async def test_a_client_of_a_flow_that_needs_no_opt_in_may_be_asked_for_one_itself(tmp_path: Path) -> None:
    """The entry of the client decides, where it says something; the group does otherwise."""
    async with governed(CLAUDE, tmp_path, ON, vendors.anthropic) as desk, desk.http() as http:
        policy = desk.world.judge.policy
        entries = tuple(replace(entry, opt_in=OptIn.REQUIRED) for entry in policy.clients)
        desk.world.judge.policy = replace(policy, clients=entries)
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http)
        await client.messages.create(model="m", max_tokens=9, messages=ASK, tools=[SEARCH])
        assert "tools" not in desk.body()
        (audit,) = desk.told.audits
        assert audit.details["reason"] == "web_search_not_opted_in"


@on_loop
async def test_an_unknown_tool_reaches_nobody_and_the_client_reads_why(tmp_path: Path) -> None:
    async with governed(CLAUDE, tmp_path, ON, vendors.anthropic) as desk, desk.http() as http:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http, max_retries=0)
        with pytest.raises(anthropic.PermissionDeniedError, match="web_search_unknown_tool") as refused:
            await client.messages.create(
                model="m", max_tokens=9, messages=ASK, tools=[{"type": "web_search_20990101", "name": "web_search"}]
            )
        assert desk.vendor.seen == []
        assert refused.value.body["error"]["code"] == "web_search_unknown_tool"  # type: ignore[index]


@on_loop
async def test_openais_client_shows_the_reason_as_the_message(tmp_path: Path) -> None:
    async with governed(GPT, tmp_path, ON, vendors.openai) as desk, desk.http() as http:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"{desk.url}/v1", http_client=http, max_retries=0)
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await client.responses.create(model="m", input="q", tools=[{"type": "web_search_2099"}])  # type: ignore[list-item]
        assert refused.value.code == "web_search_unknown_tool"
        assert "(web_search_unknown_tool)" in str(refused.value)
        assert desk.vendor.seen == []


@on_loop
async def test_a_request_without_search_passes_byte_for_byte(tmp_path: Path) -> None:
    async with governed(CLAUDE, tmp_path, ON, vendors.anthropic) as desk, desk.http() as http:
        body = b'{ "model": "m",  "messages": [], "tools": [] }'
        answer = await http.post(f"{desk.url}/v1/messages", content=body)
        assert answer.status_code == 200
        assert desk.vendor.seen[0].body == body
        assert desk.told.audits == []


@on_loop
async def test_a_stream_that_shows_a_source_outside_is_cut_with_the_vendors_error(tmp_path: Path) -> None:
    async def careless(seen: vendors.Seen, reader: object, writer: object) -> None:
        seen.body = seen.body.replace(b'"allowed_domains"', b'"ignored"')
        await vendors.anthropic(seen, reader, writer)  # type: ignore[arg-type]

    settings = WebSearch(enabled=True, opt_in=OptIn.ASSUMED, on_violation=OnViolation.CUT)
    async with governed(CLAUDE, tmp_path, settings, careless) as desk, desk.http() as http:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http, max_retries=0)
        with pytest.raises(anthropic.APIStatusError, match="source_outside_allowlist"):
            async with client.messages.stream(model="m", max_tokens=9, messages=ASK, tools=[SEARCH]) as stream:
                await stream.get_final_message()
        await until(lambda: desk.told.audits)
        details = desk.told.audits[0].details
        assert details["out_of_policy"] == ["https://evil.example.net/"]
        assert (details["reason"], details["incomplete"]) == ("source_outside_allowlist", True)


@on_loop
async def test_a_whole_answer_that_shows_a_source_outside_is_a_denial_that_says_so(tmp_path: Path) -> None:
    """Nothing of it had gone on, so the client is told, once and under one id; an answer cut short it would ask for again."""

    async def careless(seen: vendors.Seen, reader: object, writer: object) -> None:
        seen.body = seen.body.replace(b'"allowed_domains"', b'"ignored"')
        await vendors.anthropic(seen, reader, writer)  # type: ignore[arg-type]

    settings = WebSearch(enabled=True, opt_in=OptIn.ASSUMED, on_violation=OnViolation.CUT)
    async with governed(CLAUDE, tmp_path, settings, careless) as desk, desk.http() as http:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http)
        with pytest.raises(anthropic.PermissionDeniedError, match="source_outside_allowlist") as refused:
            await client.messages.create(model="m", max_tokens=9, messages=ASK, tools=[SEARCH])
        await until(lambda: desk.world.events)
        assert [(each.id, each.reason, each.status) for each in desk.world.events] == [
            (refused.value.response.headers["outward-decision"], Reason.SOURCE_OUTSIDE_ALLOWLIST, 403)
        ]
        assert len(desk.vendor.seen) == 1


@on_loop
async def test_polling_for_an_answer_is_told_once_and_whole(tmp_path: Path) -> None:
    """Not while the vendor is at work, when sources are missing; not again each time somebody asks."""
    call: dict[str, Any] = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "in_progress",
        "action": {"type": "search", "query": "q"},
    }
    found = {**call, "action": {**call["action"], "sources": [{"url": "https://docs.example.com/cve"}]}}
    answers = [("queued", []), ("in_progress", [call]), *[("completed", [found])] * 3]

    async def working(_seen: object, _reader: object, writer: object) -> None:
        status, output = answers.pop(0)
        await vendors.reply(writer, 200, {"object": "response", "status": status, "output": output})  # type: ignore[arg-type]

    async with governed(GPT, tmp_path, ON, working) as desk, desk.http() as http:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"{desk.url}/v1", http_client=http, max_retries=0)
        await client.responses.create(model="m", input="q", background=True, tools=[{"type": "web_search"}])
        for _ in range(4):
            await client.responses.retrieve("resp_1")
        await until(lambda: len(desk.world.events) == 5)
        (audit,) = desk.told.audits
        assert (audit.details["search_count"], audit.details["incomplete"]) == (1, False)
        assert audit.details["sources"] == ["https://docs.example.com/cve"]
        assert [each["searches"] for each in desk.told.receipts] == [1]


@on_loop
async def test_a_domain_that_refuses_the_crawler_is_dropped_and_the_request_tried_once_more(tmp_path: Path) -> None:
    tool = {**SEARCH, "allowed_domains": ["docs.example.com", vendors.CRAWLER_BLOCKED]}
    async with governed(CLAUDE, tmp_path, ON, vendors.anthropic) as desk, desk.http() as http:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http, max_retries=0)
        for tries in (2, 3):  # remembered: the second request needs no second try
            message = await client.messages.create(model="m", max_tokens=9, messages=ASK, tools=[tool])
            assert message.content[-1].text == "Yes."
            assert len(desk.vendor.seen) == tries
            assert desk.body()["tools"][0]["allowed_domains"] == ["docs.example.com"]
        assert [event.verdict for event in desk.world.events] == [Verdict.ALLOW] * 2


@on_loop
async def test_domains_that_are_refused_one_by_one_are_dropped_in_one_request(tmp_path: Path) -> None:
    """Up to a bound: a vendor that refuses for ever is not asked for ever."""
    bad = [f"n{number}.example.org" for number in range(12)]

    async def refusing(seen: Any, reader: Any, writer: Any) -> None:
        found = [name for name in json.loads(seen.body)["tools"][0].get("allowed_domains", ()) if name in bad]
        if not found:
            return await vendors.anthropic(seen, reader, writer)
        problem = f"The following domains are not accessible to our user agent: https://{found[0]}/"
        error = {"type": "invalid_request_error", "message": problem}
        return await vendors.reply(writer, 400, {"type": "error", "error": error})

    async with governed(CLAUDE, tmp_path, ON, refusing) as desk, desk.http() as http:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http, max_retries=0)
        tool = {**SEARCH, "allowed_domains": ["docs.example.com", *bad[:3]]}
        message = await client.messages.create(model="m", max_tokens=9, messages=ASK, tools=[tool])
        assert (message.content[-1].text, len(desk.vendor.seen)) == ("Yes.", 4)
        with pytest.raises(anthropic.BadRequestError, match=r"n9\.example"):
            await client.messages.create(
                model="m", max_tokens=9, messages=ASK, tools=[{**SEARCH, "allowed_domains": ["docs.example.com", *bad]}]
            )
        assert len(desk.vendor.seen) == 4 + 9


@on_loop
async def test_another_refusal_reaches_the_client_as_it_is(tmp_path: Path) -> None:
    async def refusing(_seen: object, _reader: object, writer: object) -> None:
        await vendors.reply(writer, 400, {"type": "error", "error": {"type": "x", "message": "too long"}})  # type: ignore[arg-type]

    async with governed(CLAUDE, tmp_path, ON, refusing) as desk, desk.http() as http:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http, max_retries=0)
        with pytest.raises(anthropic.BadRequestError, match="too long"):
            await client.messages.create(model="m", max_tokens=9, messages=ASK, tools=[SEARCH])
        assert len(desk.vendor.seen) == 1
        assert desk.told.audits == []


@on_loop
async def test_openai_gets_the_filter_and_shows_its_sources(tmp_path: Path) -> None:
    async with governed(GPT, tmp_path, ON, vendors.openai) as desk, desk.http() as http:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"{desk.url}/v1", http_client=http)
        response = await client.responses.create(model="m", input="q", tools=[{"type": "web_search_preview"}])
        assert response.output_text == "ok"
        sent = desk.body()
        assert sent["tools"] == [
            {"type": "web_search", "filters": {"allowed_domains": ["docs.example.com", "example.org"]}}
        ]
        await until(lambda: desk.told.receipts)
        (receipt,) = desk.told.receipts
        assert [s["url"] for s in receipt["sources"]] == SOURCES
        assert [s["url"] for s in receipt["citations"]] == SOURCES
        assert all(s["permitted"] for s in receipt["sources"])


@on_loop
async def test_openai_streams(tmp_path: Path) -> None:
    async with governed(GPT, tmp_path, ON, vendors.openai) as desk, desk.http() as http:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"{desk.url}/v1", http_client=http)
        stream = await client.responses.create(model="m", input="q", tools=[{"type": "web_search"}], stream=True)
        kinds = [event.type async for event in stream]
        assert kinds[-1] == "response.completed"
        await until(lambda: desk.told.receipts)
        assert (desk.told.receipts[0]["searches"], desk.told.receipts[0]["incomplete"]) == (1, False)


@on_loop
async def test_geminis_client_raises_its_usual_error_with_the_reason(tmp_path: Path) -> None:
    """Its own exception has the status, the vendor's word for it, and our reason."""
    async with governed(GEMINI, tmp_path, ON, vendors.gemini) as desk, desk.http(httpx) as http:
        client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=desk.url, httpx_async_client=http))
        part = types.Part.from_uri(file_uri="https://evil.example/x.png", mime_type="image/png")
        with pytest.raises(genai.errors.ClientError, match="no_rule") as refused:
            await client.aio.models.generate_content(model="m", contents=[part])
        assert (refused.value.code, refused.value.status) == (403, "PERMISSION_DENIED")
        assert desk.vendor.seen == []


@on_loop
async def test_gemini_loses_its_search_or_is_judged_by_what_it_found(tmp_path: Path) -> None:
    config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    for settings, searched in ((ON, 0), (WebSearch(True, OptIn.ASSUMED, unfilterable=Unfilterable.VERIFY), 1)):
        folder = tmp_path / str(searched)
        folder.mkdir()
        async with governed(GEMINI, folder, settings, vendors.gemini) as desk, desk.http(httpx) as http:
            options = types.HttpOptions(base_url=desk.url, httpx_async_client=http)
            client = genai.Client(api_key="k", http_options=options)
            answer = await client.aio.models.generate_content(model="m", contents="q", config=config)
            assert answer.text == "ok"
            await until(lambda: desk.told.audits)
            if not searched:
                assert desk.told.audits[0].details["reason"] == "web_search_unfilterable"
                assert "tools" not in desk.body()
                continue
            (receipt,) = desk.told.receipts
            judged = [(s["title"], s["permitted"], s["reason"]) for s in receipt["sources"]]
            assert judged == [
                ("docs.example.com", True, "unverifiable"),
                ("a.example.org", True, "unverifiable"),
                ("evil.example.net", False, "source_outside_allowlist"),
            ]


@on_loop
async def test_a_search_api_is_narrowed_and_its_response_filtered_exactly(tmp_path: Path) -> None:
    async with governed("api.tavily.com", tmp_path, ON, vendors.tavily) as desk, desk.http() as http:
        answer = await http.post(f"{desk.url}/search", json={"query": "q"}, headers={"accept-encoding": "gzip"})
        assert [result["url"] for result in answer.json()["results"]] == SOURCES
        assert "answer" not in answer.json()
        assert desk.body()["include_domains"] == ["docs.example.com", "example.org"]
        assert desk.vendor.seen[0].all("accept-encoding") == ["identity"]
        await until(lambda: desk.told.receipts)
        assert (desk.told.receipts[0]["searches"], desk.told.receipts[0]["queries"]) == (1, ["q"])


@on_loop
async def test_an_mcp_search_tool_is_narrowed_and_its_results_filtered(tmp_path: Path) -> None:
    async with governed("mcp.tavily.com", tmp_path, ON, vendors.mcp) as desk:

        def client(headers: dict[str, str] | None = None, **facts: Any) -> httpx.AsyncClient:
            http: httpx.AsyncClient = desk.http(httpx)
            http.headers.update(headers or {})
            return http

        async with (
            mcp_http.streamablehttp_client(f"{desk.url}/mcp", httpx_client_factory=client) as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            assert [tool.name for tool in (await session.list_tools()).tools] == ["tavily_search"]
            found = (await session.call_tool("tavily_search", {"query": "q"})).content[0].text  # type: ignore[union-attr]
        assert "https://docs.example.com/cve" in found
        assert "evil.example.net" not in found
        assert "below.docs.example.com" not in found
        await until(lambda: desk.told.receipts)
        assert [s["url"] for s in desk.told.receipts[0]["sources"]] == SOURCES


@on_loop
async def test_an_mcp_client_reads_why_its_search_is_denied(tmp_path: Path) -> None:
    """As an error of the call; one that cannot read those, as a result that has failed."""
    call = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "tavily_search", "arguments": {"query": "q"}},
    }
    async with governed("mcp.tavily.com", tmp_path, WebSearch(), vendors.mcp) as desk, desk.http() as http:
        told = (await http.post(f"{desk.url}/mcp", json=call)).json()
        assert "(web_search_disabled)" in told["error"]["message"]
        told = (await http.post(f"{desk.url}/mcp", json=call, headers={"user-agent": "opencode/1.18.33"})).json()
        assert (told["id"], told["result"]["isError"], "error" in told) == (7, True, False)
        assert "(web_search_disabled)" in told["result"]["content"][0]["text"]
        assert desk.vendor.seen == []


@on_loop
async def test_a_search_api_s_own_error_says_why(tmp_path: Path) -> None:
    """Tavily's client shows `detail.error`, and nothing if it is not there."""
    async with governed("api.tavily.com", tmp_path, WebSearch(), vendors.tavily) as desk, desk.http() as http:
        answer = await http.post(f"{desk.url}/search", json={"query": "q"})
        assert answer.status_code == 403
        assert "(web_search_disabled)" in answer.json()["detail"]["error"]
        assert answer.json()["reason"] == "web_search_disabled"

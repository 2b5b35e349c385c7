"""Stub vendors that hold requests to the vendors' documented rules.

They search a small web of their own and apply domain filters as documented: an entry means the name and all below.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from harness.inspection import Seen

WEB = (
    ("https://docs.example.com/cve", "Patched in 2.5.0"),
    ("https://a.example.org/advisory", "Advisory"),
    ("https://evil.example.net/", "Elsewhere"),
)
CRAWLER_BLOCKED = "blocked.example.org"


def found(entries: list[str] | None) -> list[tuple[str, str]]:
    """Search the small web, as a vendor with this filter would."""
    hosts = [(url, title, url.split("/")[2]) for url, title in WEB]
    return [(u, t) for u, t, h in hosts if entries is None or any(h == e or h.endswith("." + e) for e in entries)]


def check_entries(entries: Any, limit: int, *, paths: bool = False) -> str | None:
    """Return what the vendors would complain about."""
    if entries is None:
        return None
    if not entries:
        return "an empty list"
    if len(entries) > limit:
        return "too many domains"
    bad = [e for e in entries if "*" in e or ":" in e or "." not in e or (not paths and "/" in e)]
    return f"not domains: {bad}" if bad else None


async def reply(writer: asyncio.StreamWriter, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
    writer.write(body)


async def events(writer: asyncio.StreamWriter, values: Iterator[tuple[str, Any]], size: int = 37) -> None:
    """Stream events in odd pieces."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    body = b"".join(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode() for name, value in values)
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def data(writer: asyncio.StreamWriter, values: Iterator[Any], *ends: str) -> None:
    """Stream data without names, as Gemini and Chat Completions do."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for each in (*map(json.dumps, values), *ends):
        piece = f"data: {each}\r\n\r\n".encode()
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def anthropic(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Anthropic Messages: 400 on both lists, empty lists, `*.` entries, and domains that refuse the crawler."""
    body = json.loads(seen.body)
    tool = next((t for t in body.get("tools", ()) if t.get("type", "").startswith("web_search")), None)
    if seen.all("accept-encoding") not in ([], ["identity"]) and tool is not None:
        return await reply(
            writer, 400, {"type": "error", "error": {"type": "x", "message": "the proxy cannot read this"}}
        )
    content: list[Any] = [{"type": "text", "text": "from memory"}]
    if tool is not None:
        entries = tool.get("allowed_domains")
        problem = check_entries(entries, 64, paths=True)
        if entries is not None and tool.get("blocked_domains") is not None:
            problem = "both lists"
        if CRAWLER_BLOCKED in (entries or ()):
            problem = f"The following domains are not accessible to our user agent: ['{CRAWLER_BLOCKED}']"
        if problem:
            error = {"type": "invalid_request_error", "message": problem}
            return await reply(writer, 400, {"type": "error", "error": error})
        pages = [
            {"type": "web_search_result", "url": u, "title": t, "encrypted_content": "x", "page_age": None}
            for u, t in found(entries)
        ]
        cited = [
            {
                "type": "web_search_result_location",
                "url": p["url"],
                "title": p["title"],
                "cited_text": "y",
                "encrypted_index": "z",
            }
            for p in pages
        ]
        content = [
            {
                "type": "server_tool_use",
                "id": "srvtoolu_1",
                "name": "web_search",
                "input": {"query": "CVE-2025-50182 patched?"},
            },
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": pages},
            {"type": "text", "text": "Yes.", "citations": cited},
        ]
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 1,
            "output_tokens": 1,
            "server_tool_use": {"web_search_requests": int(tool is not None), "web_fetch_requests": 0},
        },
    }
    if body.get("stream"):
        return await events(writer, message_events(message))
    return await reply(writer, 200, message)


def message_events(message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "message_start", {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        deltas: list[Any] = []
        start = block
        if block["type"] in ("server_tool_use", "tool_use"):
            start, text = {**block, "input": {}}, json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in (text[:9], text[9:])]
        elif block["type"] == "text":
            start = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": block["text"]}]
            deltas += [{"type": "citations_delta", "citation": each} for each in block.get("citations", ())]
        yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    yield (
        "message_delta",
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": message["usage"],
        },
    )
    yield "message_stop", {"type": "message_stop"}


async def openai(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """OpenAI Responses: at most 100 entries without scheme; sources only where they are asked for."""
    body = json.loads(seen.body)
    tool = next((t for t in body.get("tools", ()) if t["type"].startswith("web_search")), None)
    output: list[Any] = []
    notes: list[Any] = []
    if tool is not None:
        entries = tool.get("filters", {}).get("allowed_domains")
        problem = check_entries(entries, 100) or (
            "filters are not supported" if "preview" in tool["type"] and entries else None
        )
        if problem:
            return await reply(writer, 400, {"error": {"message": problem, "type": "invalid_request_error"}})
        pages = found(entries)
        action: dict[str, Any] = {"type": "search", "query": "q"}
        if "web_search_call.action.sources" in body.get("include", ()):
            action["sources"] = [{"type": "url", "url": url} for url, _ in pages]
        output = [{"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}]
        notes = [
            {"type": "url_citation", "url": f"{u}?utm_source=openai", "title": t, "start_index": 0, "end_index": 1}
            for u, t in pages
        ]
    output.append(
        {
            "type": "message",
            "id": "m",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "ok", "annotations": notes}],
        }
    )
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": body["model"],
        "status": "completed",
        "output": output,
        "tools": body.get("tools", []),
        "tool_choice": body.get("tool_choice", "auto"),
        "parallel_tool_calls": True,
    }
    if body.get("stream"):
        stream = [
            (
                "response.created",
                {
                    "type": "response.created",
                    "sequence_number": 0,
                    "response": {**response, "output": [], "status": "in_progress"},
                },
            )
        ]
        stream += [
            (
                "response.output_item.done",
                {"type": "response.output_item.done", "sequence_number": 1, "output_index": i, "item": item},
            )
            for i, item in enumerate(output)
        ]
        stream += [("response.completed", {"type": "response.completed", "sequence_number": 9, "response": response})]
        return await events(writer, iter(stream))
    return await reply(writer, 200, response)


def grounding() -> dict[str, Any]:
    """What Gemini says of a search: its sources stand behind its own redirect."""
    redirect = "https://vertexaisearch.cloud.google.com/grounding-api-redirect/"
    chunks = [{"web": {"uri": f"{redirect}{n}", "title": url.split("/")[2]}} for n, (url, _) in enumerate(WEB)]
    return {
        "groundingMetadata": {
            "webSearchQueries": ["q"],
            "groundingChunks": chunks,
            "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 1}, "groundingChunkIndices": [0]}],
        }
    }


async def gemini(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gemini: no filter at all; what it finds stands behind its own redirect."""
    body = json.loads(seen.body)
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}
    if any("googleSearch" in t for t in body.get("tools", ())):
        candidate |= grounding()
    await reply(writer, 200, {"candidates": [candidate]})


async def tavily(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tavily: at most 300 entries; it finds below an entry too, and writes an answer from all that it found."""
    body = json.loads(seen.body)
    entries = body.get("include_domains")
    if problem := check_entries(entries, 300):
        return await reply(writer, 400, {"detail": {"error": problem}})
    results = [{"url": url, "title": title, "content": "c"} for url, title in found(entries)]
    below = {"url": "https://below.docs.example.com/", "title": "B", "content": "c"}
    return await reply(writer, 200, {"query": body["query"], "answer": "from all", "results": [*results, below]})


async def mcp(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An MCP server over Streamable HTTP with one search tool."""
    if not seen.line.startswith("POST"):
        writer.write(b"HTTP/1.1 405 X\r\nContent-Length: 0\r\n\r\n")
        return None
    message = json.loads(seen.body)
    if "id" not in message:
        writer.write(b"HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n")
        return None
    result: dict[str, Any] = {"tools": [{"name": "tavily_search", "inputSchema": {"type": "object"}}]}
    if message["method"] == "initialize":
        version = message["params"]["protocolVersion"]
        result = {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "s", "version": "1"},
        }
    elif message["method"] == "tools/call":
        pages = found(message["params"]["arguments"].get("include_domains"))
        pages.append(("https://below.docs.example.com/", "Below"))
        lines = [f"Title: {title}\nURL: {url}\nContent: c\n" for url, title in pages]
        result = {"content": [{"type": "text", "text": "".join(lines)}]}
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    return await events(writer, iter([("message", answer)]))

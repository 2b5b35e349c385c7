"""Stub endpoints that answer in one way: search APIs, and what agents ask beside their turns."""

import asyncio
import json

from harness import vendors
from harness.inspection import Seen

FROM_MEMORY = "an answer from memory"
Writer = asyncio.StreamWriter


async def alpha_search(seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    """Codex's own search endpoint: a text with what was found."""
    entries = json.loads(seen.body)["settings"].get("filters", {}).get("allowed_domains")
    pages = [{"url": url, "title": title} for url, title in vendors.found(entries)]
    await vendors.reply(writer, 200, {"output": json.dumps(pages), "results": pages})


async def mcp(seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    """Exa's MCP server."""
    call = json.loads(seen.body)
    entries = call["params"].get("arguments", {}).get("includeDomains")
    text = "\n\n".join(f"Title: {title}\nURL: {url}\nText: t" for url, title in vendors.found(entries))
    answer = {"jsonrpc": "2.0", "id": call["id"], "result": {"content": [{"type": "text", "text": text}]}}
    await vendors.events(writer, iter([("message", answer)]), 400)


async def search(seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    """A search API, in the one answer that Tavily's, Exa's, Perplexity's, Parallel's and Firecrawl's clients all read."""
    body = json.loads(seen.body)
    keys = ("include_domains", "includeDomains", "search_domain_filter")
    entries = next((body[key] for key in keys if key in body), None)
    pages = [
        {"url": url, "title": title, "id": url, "content": "c", "excerpts": []} for url, title in vendors.found(entries)
    ]
    whole = {"query": "q", "id": "s", "search_id": "s", "success": True, "data": {"web": pages}}
    await vendors.reply(writer, 200, {**whole, "results": pages})


async def cohere(_seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    content = [{"type": "text", "text": FROM_MEMORY}]
    await vendors.reply(
        writer, 200, {"id": "c", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": content}}
    )


async def converse(_seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    message = {"role": "assistant", "content": [{"text": FROM_MEMORY}]}
    await vendors.reply(writer, 200, {"output": {"message": message}, "stopReason": "end_turn"})


async def empty(_seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    await vendors.reply(writer, 200, {})


async def assist(_seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    """What Gemini CLI, signed in, asks first."""
    tier = {"id": "standard-tier", "name": "s"}
    await vendors.reply(writer, 200, {"currentTier": tier, "allowedTiers": [tier], "cloudaicompanionProject": "p-1"})


async def count(_seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
    await vendors.reply(writer, 200, {"input_tokens": 1, "totalTokens": 1})

"""Stub vendors: TLS servers on loopback that speak the streamed formats of Anthropic Messages and OpenAI Responses.

They search the small web and apply the domain filter that they are sent, unless the model is the careless one. They
keep what they were sent, so that the demo can show it. No other part of Outward knows that they are stubs.
"""

import asyncio
import json
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from outward.core.names import canonical_host
from outward.demo.small_web import FROM_MEMORY, QUERY, WebPage, search
from outward.files import replace_file
from outward.proxy.ca import Authority

HOSTS = {"anthropic": "api.anthropic.com", "openai": "api.openai.com"}
CARELESS = "careless-model"  # searches without regard to the filter that it is sent
PACE = 0.02  # seconds between two events, so that one sees the answer come

type Event = dict[str, Any]


class Vendor:
    """One stub vendor.

    Attributes:
        name: `anthropic` or `openai`.
        body: the last request as it arrived.
        port: where it listens; known after `start`.
    """

    def __init__(self, name: str, pace: float = PACE) -> None:
        self.name, self.port = name, 0
        self.body: Event = {}
        self._pace = pace
        self._server: asyncio.Server | None = None

    @property
    def sent(self) -> Event | None:
        """The search tool of the last request, or None if it had none."""
        tools: list[Event] = self.body.get("tools", [])
        return next((tool for tool in tools if tool.get("type", "").startswith("web_search")), None)

    async def start(self, authority: Authority, folder: Path) -> None:
        """Listen on a free port, with a certificate of a private CA."""
        context = server_context(authority, HOSTS[self.name], folder)
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                await self._answer(json.loads(await reader.readexactly(length)), writer)
        writer.close()

    async def _answer(self, body: Event, writer: asyncio.StreamWriter) -> None:
        self.body = body
        pages = None if self.sent is None else search(_filter(self.sent, body["model"]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        stream = anthropic_events(pages) if self.name == "anthropic" else openai_events(pages)
        for event in stream:
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(self._pace)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def server_context(authority: Authority, host: str, folder: Path) -> ssl.SSLContext:
    """Return a TLS context that shows a certificate for a host."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - heavy
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    leaf = authority.leaf(canonical_host(host))
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / f"{host}.pem"
    replace_file(file, key + leaf.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def _filter(tool: Event, model: str) -> list[str] | None:
    """Return the domains that a search is limited to; None for all."""
    if model == CARELESS:
        return None
    domains: list[str] | None = tool.get("allowed_domains", tool.get("filters", {}).get("allowed_domains"))
    return domains


def _pieces(text: str) -> Iterator[str]:
    """Yield a text word by word."""
    for number, word in enumerate(text.split(" ")):
        yield f" {word}" if number else word


def anthropic_events(pages: list[WebPage] | None) -> Iterator[Event]:
    """Yield the events of a Messages stream: one search with its results, then cited text; or text from memory."""
    message: Event = {"id": "msg_demo", "type": "message", "role": "assistant", "model": "demo", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
    yield {"type": "message_start", "message": message}
    blocks = _text_blocks(pages) if pages is not None else [({"type": "text", "text": ""}, _deltas(FROM_MEMORY))]
    if pages is not None:
        use = {"type": "server_tool_use", "id": "srvtoolu_demo", "name": "web_search", "input": {}}
        query = {"type": "input_json_delta", "partial_json": json.dumps({"query": QUERY})}
        results = [
            {"type": "web_search_result", "url": page.url, "title": page.title, "encrypted_content": "demo"}
            for page in pages
        ]
        result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_demo", "content": results}
        blocks = [(use, [query]), (result, []), *blocks]
    for index, (block, deltas) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    usage = {"output_tokens": 1, "server_tool_use": {"web_search_requests": int(pages is not None)}}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def _text_blocks(pages: list[WebPage]) -> list[tuple[Event, list[Event]]]:
    """Return one block of text for each page, cited at its end."""
    blocks = []
    for page in pages:
        cited: Event = {"type": "web_search_result_location", "url": page.url, "title": page.title}
        cited |= {"cited_text": page.finding, "encrypted_index": "demo"}
        blocks.append(
            (
                {"type": "text", "text": ""},
                [*_deltas(page.finding), {"type": "citations_delta", "citation": cited}],
            )
        )
    return blocks


def _deltas(text: str) -> list[Event]:
    return [{"type": "text_delta", "text": piece} for piece in _pieces(text)]


def openai_events(pages: list[WebPage] | None) -> Iterator[Event]:
    """Yield the events of a Responses stream: one search with its sources, then text with citations."""
    response: Event = {"id": "resp_demo", "object": "response", "model": "demo", "status": "in_progress", "output": []}
    yield {"type": "response.created", "sequence_number": 0, "response": response}
    output: list[Event] = []
    if pages is not None:
        action = {"type": "search", "query": QUERY, "sources": [{"type": "url", "url": page.url} for page in pages]}
        output.append({"type": "web_search_call", "id": "ws_demo", "status": "completed", "action": action})
        yield {"type": "response.output_item.done", "output_index": 0, "item": output[0]}
    text, notes = "", []
    for finding, page in [(page.finding, page) for page in pages] if pages is not None else [(FROM_MEMORY, None)]:
        for piece in _pieces(finding):
            yield {"type": "response.output_text.delta", "output_index": len(output), "delta": piece}
        end = len(text) + len(finding)
        if page is not None:
            note = {"type": "url_citation", "url": f"{page.url}?utm_source=openai", "title": page.title}
            notes.append({**note, "start_index": len(text), "end_index": end})
            yield {"type": "response.output_text.annotation.added", "annotation": notes[-1]}
        text += finding
    content = [{"type": "output_text", "text": text, "annotations": notes}]
    answer = {"type": "message", "id": "msg_demo", "role": "assistant", "status": "completed", "content": content}
    yield {"type": "response.output_item.done", "output_index": len(output), "item": answer}
    yield {"type": "response.completed", "response": {**response, "status": "completed", "output": [*output, answer]}}

"""The demo's chat backend: what a real one does with Outward, in few lines.

It sends every turn with the vendor's search tool and leaves it to the proxy whether there is a search; it opts a
conversation in through the admin API; and it draws its indicator from the conversation's receipt.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

from outward.demo.client import DemoResponse, call
from outward.demo.stage import GROUP, DemoStage
from outward.demo.vendors import CARELESS, HOSTS

_PATIENCE = 5.0  # seconds for a receipt to be written
_POLL = 0.05  # seconds
_TOOLS = {"anthropic": {"type": "web_search_20250305", "name": "web_search"}, "openai": {"type": "web_search"}}
_PATHS = {"anthropic": "/v1/messages", "openai": "/v1/responses"}

type Event = dict[str, Any]


class Chat:
    """One conversation.

    Attributes:
        name: of the conversation; the proxy knows it by the Basic username.
        opted_in: whether the developer has turned web search on for it.
    """

    def __init__(self, stage: DemoStage, name: str) -> None:
        self.name, self.opted_in = name, False
        self._stage = stage

    async def opt_in(self, *, active: bool) -> None:
        """Set the conversation's toggle."""
        path = f"/api/v1/conversations/{quote(self.name, safe='')}/opt-in"
        method = "PUT" if active else "DELETE"

        async def answered() -> DemoResponse | None:
            answer = await self._api(method, path, {"group": GROUP})
            return answer if answer.status != 503 else None  # the records are busy: it says to try again

        answer = await _until(answered) or await self._api(method, path, {"group": GROUP})
        if answer.status >= 400:
            raise RuntimeError(f"the admin API answered {answer.status}")
        self.opted_in = active
        answer.writer.close()

    async def ask(self, vendor: str, question: str, *, careless: bool = False) -> AsyncIterator[Event]:
        """Ask a model.

        Yields:
            `{"search": query}` when a search begins, `{"text": piece}` as the answer comes, `{"denied": problem}` when
            the proxy refused, and at the end `{"receipt": …}` with what this turn's searches did, or None.
        """
        before = await self.receipt()
        body: Event = {"model": CARELESS if careless else "demo-model", "tools": [_TOOLS[vendor]], "stream": True}
        if vendor == "anthropic":
            body |= {"max_tokens": 1024, "messages": [{"role": "user", "content": question}]}
        else:
            body |= {"input": question}
        port, path = self._stage.vendors[vendor].port, _PATHS[vendor]
        answer = await self._stage.through_proxy(self.name).post(HOSTS[vendor], port, path, body)
        if answer.status != 200:
            yield {"denied": await answer.json()}
            return
        searched = False
        async for event in _server_sent(answer):
            for shown in _shown(event):
                searched = searched or "search" in shown
                yield shown
        yield {"receipt": await self._receipt_after(before) if searched else None}

    async def fetch(self, host: str) -> Event:
        """Fetch a page, as an agent's tool would; return the denial, or the status."""
        answer = await self._stage.through_proxy(self.name).post(host, 443, "/", None)
        is_denial = "outward-decision" in answer.fields
        return {"denied": await answer.json()} if is_denial else {"text": f"{host} answered {answer.status}."}

    async def receipt(self) -> Event | None:
        """Return the conversation's receipt, or None."""
        answer = await self._api("GET", f"/api/v1/conversations/{quote(self.name, safe='')}/receipt")
        found: Event = await answer.json()
        return found if answer.status == 200 else None

    async def _receipt_after(self, before: Event | None) -> Event | None:
        """Wait until this turn's searches are in the receipt, and return it with the number of this turn's own."""
        known = before["searches"] if before else 0

        async def later() -> Event | None:
            found = await self.receipt()
            return found if found and found["searches"] > known else None

        found = await _until(later)
        return {**found, "this_turn": found["searches"] - known} if found else None

    async def recorded(self, decision: str) -> None:
        """Wait until a decision is in the log."""

        async def there() -> bool:
            return (await self._api("GET", f"/api/v1/decisions/{decision}")).status == 200

        await _until(there)

    async def blocked(self) -> list[Event]:
        """Return the group's blocked log, the newest first."""
        return await self._items(f"/api/v1/blocked?group={GROUP}&limit=20")

    async def audit(self) -> list[Event]:
        """Return the group's audit events, the newest first."""
        return await self._items(f"/api/v1/audit?group={GROUP}&limit=20")

    def sent(self, vendor: str) -> Event | None:
        """Return the search tool that a vendor was last sent."""
        return self._stage.vendors[vendor].sent

    async def _items(self, path: str) -> list[Event]:
        items: list[Event] = (await (await self._api("GET", path)).json())["items"]
        return items

    async def _api(self, method: str, path: str, body: Event | None = None) -> DemoResponse:
        return await call(self._stage.ops, self._stage.admin, method, path, body)


async def _until[T](ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the answer is true, or patience ends; return the last one. The log's writer is a moment behind."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = await ask()
        if found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(_POLL)


async def _server_sent(answer: DemoResponse) -> AsyncIterator[Event]:
    """Yield the JSON of each server-sent event."""
    held = b""
    async for piece in answer.pieces():
        *whole, held = (held + piece).split(b"\n\n")
        for event in whole:
            for line in event.splitlines():
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])


def _shown(event: Event) -> list[Event]:
    """Return what a chat shows of a vendor's event."""
    match event:
        case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": text}}:
            return [{"search": json.loads(text)["query"]}]
        case {"type": "response.output_item.done", "item": {"type": "web_search_call", "action": action}}:
            return [{"search": action["query"]}]
        case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}:
            return [{"text": text}]
        case {"type": "response.output_text.delta", "delta": text}:
            return [{"text": text}]
        case {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": note}}:
            return [{"cited": note["url"]}]
        case {"type": "response.output_text.annotation.added", "annotation": note}:
            return [{"cited": note["url"].removesuffix("?utm_source=openai")}]
    return []

"""Mistral: conversations and agents. Its search tools have no domain filter.

Source: the SDK's types and docs.mistral.ai (connectors), November 2026.
"""

import re
from typing import Any, ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import (
    Json,
    Observer,
    Plain,
    body_object,
    items,
    keep,
    reach_parts,
    replace,
    text,
    unknown_endpoint,
)
from outward.search.seen import Seen
from outward.search.turn import Turn
from outward.search.vendors.openai_observer import arguments

_HARMLESS = frozenset({"function", "code_interpreter", "image_generation", "document_library"})
_SEARCH = frozenset({"web_search", "web_search_premium"})
_BODY = frozenset({"tools", "tool_choice", "agent_id", "agent", "messages", "inputs", "document"})


class Mistral(Plain):
    """The adapter."""

    name = "mistral"
    languages: ClassVar = {"web_search": None, "web_search_premium": None}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        path = turn.call.path.rstrip("/")
        if turn.call.method not in ("POST", "PATCH", "PUT"):
            return
        if re.search(r"/(agents|batch|conversations/.+)(/|$)", path):
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "agents and stored conversations keep their tools", "agent")
        if re.search(
            r"/(conversations|chat/completions|fim/completions|ocr)$|:(stream)?rawPredict$", path, re.IGNORECASE
        ):
            self._turn(turn, body_object(turn, _BODY))
        elif not re.search(r"/(embeddings|moderations|files|audio|models|fine_tuning)(/|$)", path):
            unknown_endpoint(turn)

    def _turn(self, turn: Turn, body: Json) -> None:
        if body.get("agent_id") is not None or body.get("agent") is not None:
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "an agent keeps its tools at the vendor", "agent")
        reach_parts(turn, [body.get("messages"), body.get("inputs"), body.get("document")])
        if "tools" not in body:
            return
        kept = keep(items(body["tools"]), lambda tool: self._tool(turn, tool))
        replace(body, "tools", kept)
        if turn.findings and not kept:
            options = body.get("completion_args")  # where conversations have it
            for holder in (body, options if isinstance(options, dict) else {}):
                holder.pop("tool_choice", None)

    def _tool(self, turn: Turn, tool: Json) -> Json | None:
        kind = text(tool.get("type")) or "function"
        if kind in _SEARCH:
            return tool if turn.unfilterable(kind) else None
        if kind not in _HARMLESS:
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown tool type", kind[:100])
        return tool

    def observer(self, turn: Turn, seen: Seen) -> Observer:
        """Return a reader of conversations."""
        del turn
        return _ConversationObserver(seen)


class _ConversationObserver:
    """Reads conversation events and outputs."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.complete = False

    def value(self, value: Any) -> None:
        """Read one event or document."""
        if not isinstance(value, dict):
            return
        kind = value.get("type")
        if kind in ("tool.execution", "tool.execution.started") and value.get("name") in _SEARCH:
            asked = value.get("arguments")
            self._seen.search(value.get("id"), arguments(asked).get("query", asked))
        if kind == "tool_reference":
            self._seen.citation(value.get("url"), value.get("title"))
        self.complete = self.complete or kind in ("conversation.response.done", "conversation.response.error")
        self.complete = self.complete or value.get("object") == "conversation.response"
        for key in ("outputs", "content"):
            inner = value.get(key)
            for each in inner if isinstance(inner, list) else [inner]:
                self.value(each)


ADAPTER = Mistral()

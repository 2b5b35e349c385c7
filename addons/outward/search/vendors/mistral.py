"""Mistral: conversations and agents. Its search tools have no domain filter.

Source: the SDK's types and docs.mistral.ai (connectors), November 2026.
"""

from typing import Any, ClassVar
from urllib.parse import unquote

from outward.core.reasons import Reason
from outward.search.adapter import Json, Observer, Plain, body_object, items, keep_tools, obj, text
from outward.search.evidence import SearchEvidence
from outward.search.request import GovernedRequest
from outward.search.sandbox import thread
from outward.search.surface import DENIALS, EndpointKind, Tool
from outward.search.vendors.openai_observer import arguments

_SEARCH = frozenset({"web_search", "web_search_premium"})
_BODY = frozenset({"tools", "tool_choice", "agent_id", "agent", "messages", "inputs", "document"})
_BATCH = frozenset({"endpoint", "requests", "input_files"})


class Mistral(Plain):
    """The adapter."""

    name = "mistral"
    languages: ClassVar = {"web_search": None, "web_search_premium": None}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "conversation":
                turn.holds = True
                self._turn(turn, body_object(turn, _BODY))
            case "append":
                turn.holds = True
                thread(turn, unquote(turn.call.path).split("/")[3])
                self._turn(turn, body_object(turn, _BODY))
            case "chat":
                self._turn(turn, body_object(turn, _BODY))
            case "batch":
                self._batch(turn, body_object(turn, _BATCH))
            case "responses":
                self._turn(turn, body_object(turn, _BODY | {"input"}))
            case _:
                super().govern(turn)

    def _batch(self, turn: GovernedRequest, body: Json) -> None:
        """Judge each request of a batch that holds them itself; its answers come later, and are not read."""
        endpoint = turn.surface.endpoint("POST", text(body.get("endpoint")))
        inline = items(body.get("requests"))
        if body.get("input_files") or not inline or endpoint is None or endpoint.kind is not EndpointKind.GOVERNED:
            turn.refuse(*DENIALS["batch"], "batch")
        for each in inline:
            self._turn(turn, obj(obj(each, frozenset({"body"})).get("body"), _BODY))

    def _turn(self, turn: GovernedRequest, body: Json) -> None:
        kept = keep_tools(turn, body, lambda tool: self._tool(turn, tool))
        if turn.findings and not kept:
            options = body.get("completion_args")  # where conversations have it
            for holder in (body, options if isinstance(options, dict) else {}):
                holder.pop("tool_choice", None)

    def _tool(self, turn: GovernedRequest, tool: Json) -> Json | None:
        kind = text(tool.get("type")) or "function"
        does = turn.tool(kind)
        if does is Tool.SEARCH:
            return tool if turn.unfilterable(kind, verifiable=turn.call.schema != "batch") else None
        if does not in (Tool.OWN, Tool.SANDBOX):
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a connector keeps its address at the vendor", kind[:100])
        return tool

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer:
        """Return a reader of conversations."""
        del turn
        return _ConversationObserver(seen)


class _ConversationObserver:
    """Reads conversation events and outputs."""

    def __init__(self, seen: SearchEvidence) -> None:
        self._seen = seen
        self.complete = False

    def value(self, value: Any) -> None:
        """Read one event or document."""
        if not isinstance(value, dict):
            return
        kind = value.get("type")
        if kind == "conversation.response.started" or value.get("object") == "conversation.response":
            self._seen.thread(value.get("conversation_id"))
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

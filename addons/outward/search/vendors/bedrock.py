"""Amazon Bedrock: no search tool there has a domain filter, and most bodies are signed, so searches are refused."""

import re
from typing import Any, ClassVar
from urllib.parse import unquote

from outward.core.reasons import Reason
from outward.search.adapter import Json, Plain, body_object, items, obj, reach_parts, text, unknown_endpoint
from outward.search.turn import Turn

_MODEL = re.compile(r"^/model/(.+)/(invoke|invoke-with-response-stream|converse|converse-stream)$")
_MESSAGES = re.compile(r"^(/anthropic)/v1/messages(/count_tokens)?$")
_TOOL = frozenset({"type", "systemTool", "toolSpec"})
_CLIENT_TOOL = re.compile(r"custom|(bash|text_editor|computer|memory)_\d{8}|")


class Bedrock(Plain):
    """The adapter."""

    name = "bedrock"
    languages: ClassVar = {"nova_grounding": None}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        if turn.call.method not in ("POST", "PUT"):
            return
        path = turn.call.path.rstrip("/")
        match = _MODEL.search(path) or _MESSAGES.search(path)
        if match is None:
            if turn.call.host.startswith("bedrock-agent") or "model-invocation-job" in turn.call.path:
                turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "agents and batches keep their tools", "agent")
            unknown_endpoint(turn)
            return
        if ":prompt/" in unquote(match[1]):
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a stored prompt may hold tools", "prompt")
        body = body_object(turn, frozenset({"tools", "toolConfig", "mcp_servers", "messages"}))
        reach_parts(turn, body.get("messages"))
        if body.get("mcp_servers"):
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "MCP servers do not exist here", "mcp")
        for tool in items(body.get("tools")):
            self._native(turn, obj(tool, _TOOL))
        for tool in items(obj(body.get("toolConfig") or {}).get("tools")):
            self._converse(turn, obj(tool, _TOOL))

    def _native(self, turn: Turn, tool: Json) -> None:
        kind = text(tool.get("type"))
        if kind.startswith(("web_search_", "web_fetch_")):
            turn.always_searches(kind[:100], "search does not exist here with a filter")
        if "systemTool" in tool or "toolSpec" in tool:
            self._converse(turn, tool)
        elif not _CLIENT_TOOL.fullmatch(kind) and kind != "function":
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown tool type", kind[:100])

    def _converse(self, turn: Turn, tool: Json) -> None:
        system: Any = tool.get("systemTool")
        if isinstance(system, dict):
            name = text(system.get("name"))
            if name == "nova_grounding":
                turn.always_searches(name, "this search has no domain filter")
            if name != "nova_code_interpreter":
                turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown system tool", name[:100])
        elif not set(tool) <= {"toolSpec", "cachePoint", "systemTool"}:
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown tool", ", ".join(tool)[:100])

    def error(self, detail: str) -> Json:
        """Return the message member of the service's errors."""
        return {"message": detail}


ADAPTER = Bedrock()

"""Amazon Bedrock: no search tool of a model there has a domain filter; the service's own search has one.

Most bodies are signed and cannot be rewritten: they pass as they are, or not at all.
"""

import re
from typing import Any, ClassVar
from urllib.parse import unquote

from outward.core.reasons import Reason
from outward.search.adapter import Json, Observer, Plain, body_object, body_value, domains, items, obj, text
from outward.search.evidence import SearchEvidence
from outward.search.machines import MachineObserver
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.sandbox import existing, limited
from outward.search.search_api import ResultsObserver
from outward.search.surface import Tool

_MODEL = re.compile(r"^/model/(.+)/[a-z-]+$", re.IGNORECASE)
_TOOL = frozenset({"type", "systemTool", "toolSpec"})
_BODY = frozenset({"tools", "toolConfig", "mcp_servers", "messages", "additionalModelRequestFields"})
_LANGUAGE = FilterCapabilities(limit=100, blocks=True)


class Bedrock(Plain):
    """The adapter."""

    name = "bedrock"
    languages: ClassVar = {"nova_grounding": None, "web_search": _LANGUAGE}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "model" | "messages":
                self._model(turn, body_object(turn, _BODY))
            case "async":
                self._model(turn, obj(body_object(turn, frozenset({"modelInput"})).get("modelInput") or {}, _BODY))
            case "count":
                wrapped = obj(body_object(turn, frozenset({"input"})).get("input") or {})
                self._counted(turn, wrapped)
            case "interpreter":
                _interpreter(turn, body_object(turn, frozenset({"networkConfiguration"})))
            case "session":
                existing(turn, "code interpreter", unquote(turn.call.path).split("/")[2])
                body_value(turn)
            case "web_search":
                _search(turn, body_object(turn, frozenset({"filters", "searchQuery"})))
            case _:
                super().govern(turn)

    def _counted(self, turn: GovernedRequest, wrapped: Json) -> None:
        """Judge a request whose tokens are counted: in one of two wrappers, one of them an encoded text."""
        turn.audited = False
        for name, inner in wrapped.items():
            if name != "converse":
                continue
            self._model(turn, obj(inner, _BODY))

    def _model(self, turn: GovernedRequest, body: Json) -> None:
        match = _MODEL.search(turn.call.path)
        if match is not None and ":prompt/" in unquote(match[1]):
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a stored prompt may hold tools", "prompt")
        self._tools(turn, body)
        more = body.get("additionalModelRequestFields")
        if more is not None:  # goes into the model's own request as it is
            self._tools(turn, obj(more, _BODY))

    def _tools(self, turn: GovernedRequest, body: Json) -> None:
        if body.get("mcp_servers"):
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "MCP servers do not exist here", "mcp")
        for tool in items(body.get("tools")):
            self._native(turn, obj(tool, _TOOL))
        for tool in items(obj(body.get("toolConfig") or {}, frozenset({"tools"})).get("tools")):
            self._converse(turn, obj(tool, _TOOL))

    def _native(self, turn: GovernedRequest, tool: Json) -> None:
        if "systemTool" in tool or "toolSpec" in tool:
            self._converse(turn, tool)
        else:
            self._kind(turn, text(tool.get("type")))

    def _converse(self, turn: GovernedRequest, tool: Json) -> None:
        system: Any = tool.get("systemTool")
        if isinstance(system, dict):
            self._kind(turn, f"system:{text(system.get('name'))}")
        elif not set(tool) <= {"toolSpec", "cachePoint", "systemTool"}:
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown tool", ", ".join(tool)[:100])

    def _kind(self, turn: GovernedRequest, kind: str) -> None:
        does = turn.tool(kind)
        if does in (Tool.SEARCH, Tool.FETCH):
            turn.always_searches(kind.removeprefix("system:")[:100], "search does not exist here with a filter")

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer | None:
        """Return a reader of the service's own search, or of a machine that was made."""
        if turn.call.schema == "interpreter":
            return MachineObserver(seen, "codeInterpreterId")
        body = turn.json if turn.call.schema == "web_search" else None
        asked = body.get("searchQuery", body.get("query")) if isinstance(body, dict) else None
        return ResultsObserver(seen, asked if isinstance(asked, str) else None) if turn.searching else None

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:
        """Return the members of the service's errors."""
        del reason, status
        return {"__type": "AccessDeniedException", "message": detail}


def _interpreter(turn: GovernedRequest, body: Json) -> None:
    """Give a code interpreter no network; a signed one passes if it asks for none: no mode can be limited to a list."""
    network = obj(body.get("networkConfiguration") or {}, frozenset({"networkMode"}))
    limited(turn, "code interpreter", [network.get("networkMode")], wildcards=False)
    if network == {"networkMode": "SANDBOX"}:
        return
    if turn.call.signed:
        turn.refuse(Reason.WEB_SEARCH_UNFILTERABLE, "the body is signed and asks for a network", "code interpreter")
    turn.touched = True
    body["networkConfiguration"] = {"networkMode": "SANDBOX"}


def _search(turn: GovernedRequest, body: Json) -> None:
    """Narrow the service's own search; its answer is filtered exactly, so that a signed body may pass as it is."""
    turn.filtered = True
    filters = obj(body.get("filters") or {}, frozenset({"domainFilter"}))
    listed = obj(filters.get("domainFilter") or {}, frozenset({"include", "exclude"}))
    found = turn.search("web_search", _LANGUAGE, domains(listed.get("include")), domains(listed.get("exclude")) or ())
    turn.must_survive("the request is nothing but a search")
    if found is not None and found.allowed:
        kept = {key: value for key, value in listed.items() if key not in ("include", "exclude")}
        body["filters"] = {**filters, "domainFilter": {**kept, "include": list(found.allowed)}}


ADAPTER = Bedrock()

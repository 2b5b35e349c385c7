"""OpenAI Responses and Chat Completions, also behind Azure; the base of the vendors that copied the format.

Source: the SDK's types, platform.openai.com (web search, MCP, code interpreter), vercel/ai fixtures, November 2026.
"""

import re
from collections.abc import Callable
from typing import ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import (
    TYPED,
    Json,
    Observer,
    Plain,
    body_object,
    claude_code_status,
    domains,
    items,
    keep,
    keep_tools,
    obj,
    replace,
    text,
)
from outward.search.evidence import SearchEvidence
from outward.search.jsonbody import encode
from outward.search.machines import MachineObserver
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest, VendorCall
from outward.search.surface import Tool
from outward.search.vendors.openai_network import container_network, container_of, environment, no_batch
from outward.search.vendors.openai_observer import ResponsesObserver
from outward.search.vendors.openai_search import AlphaObserver, alpha_search

# What names an agent, a prompt or the like, which brings tools of its own.
_STORED = frozenset({"prompt", "agent", "agent_id", "agent_reference", "assistant_id"})
_BODY = frozenset(
    {
        "tools", "tool_choice", "include", "input", "messages", "model", "max_tool_calls", "conversation", *_STORED,
        "web_search_options", "additional_tools", "search_parameters", "plugins",
    }
)  # fmt: skip
_SOURCES = "web_search_call.action.sources"
_CARRIED = frozenset({"type", "tools"})
_CLIENT_SIDE = frozenset({"function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview"})
_ALWAYS = re.compile(r"-search-(preview|api)(-|$)", re.IGNORECASE)
_NEEDS = re.compile(r"deep-research", re.IGNORECASE)


class OpenAI(Plain):
    """The adapter; subclasses say what their vendor's tools are called and how filters are said."""

    name = "openai"
    language: ClassVar[FilterCapabilities] = FilterCapabilities(limit=100, blocks=True)
    block_key: ClassVar[str] = "blocked_domains"
    # Whether this is OpenAI's own, where responses repeat the tools as they are applied, and sources can be asked for.
    original: ClassVar[bool] = True
    languages: ClassVar = {"web_search": language, "web_search_options": None}

    def disguised(self, call: VendorCall) -> str | None:
        """Tell of a header that brings agents into a plain request."""
        found = "responses_multi_agent" in call.headers.get("openai-beta", "").lower()
        return "agents of the vendor bring tools of their own" if found else None

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "responses":
                self.responses(turn, body_object(turn, _BODY))
            case "input_tokens":
                turn.audited = False
                self.responses(turn, body_object(turn, _BODY))
            case "items":
                self.responses(turn, body_object(turn, _BODY | {"items"}))
            case "chat":
                self.chat(turn, body_object(turn, _BODY))
            case "messages":
                self.messages(turn, body_object(turn, _BODY | {"mcp_servers", "thread"}))
            case "container":
                container_network(turn, body_object(turn, frozenset({"network_policy"})))
            case "environment":
                environment(turn, body_object(turn, frozenset({"environment", "network"})))
            case "upload":
                no_batch(turn)
            case "alpha_search":
                alpha_search(turn, body_object(turn, frozenset({"commands", "settings"})))
            case _:
                super().govern(turn)

    def status(self, reason: Reason, user_agent: str) -> int | None:
        """Return 400 for Claude Code, which many vendors of this format serve too."""
        return claude_code_status(reason, user_agent)

    def responses(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a Responses request."""
        self._held(turn, body)
        gone = set[str]()
        kept = keep_tools(turn, body, lambda tool: self.tool(turn, tool, gone))
        for key in ("input", "items"):
            self._carried(turn, body, key, gone)
        if gone or "tool_choice" in body:
            self._repair_choice(turn, body, kept, gone)
        if _NEEDS.search(text(body.get("model"))):
            turn.must_survive("a research model cannot do without its search tool")
        if (
            turn.searching
            and "tools" in body
            and self.original
            and turn.call.path.rstrip("/").lower().endswith("/responses")
        ):
            self._limits(turn, body, kept)

    def chat(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a Chat Completions request."""
        self._held(turn, body)
        if body.get("web_search_options") is not None and not turn.unfilterable("web_search_options"):
            del body["web_search_options"]
        gone = set[str]()
        kept = keep_tools(turn, body, lambda tool: self.chat_tool(turn, tool, gone))
        if gone:
            self._repair_choice(turn, body, kept, gone)

    def messages(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a request in Anthropic's format, as many vendors offer it."""
        self._held(turn, body)
        gone = set[str]()
        kept = keep_tools(turn, body, lambda tool: self.messages_tool(turn, tool, gone))
        if gone and (not kept or body.get("tool_choice") is not None):
            body.pop("tool_choice", None)

    def messages_tool(self, turn: GovernedRequest, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool of a request in Anthropic's format; no search there has a filter that is trusted."""
        kind = text(tool.get("type"))
        does = turn.tool(kind)
        if does in (Tool.SEARCH, Tool.FETCH):
            if turn.unfilterable(kind, verifiable=False):
                return tool
            gone.add(kind)
            return None
        if does in (Tool.CONNECTOR, Tool.AGENT):
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "what this tool reaches cannot be seen", kind[:100])
        return tool

    def chat_tool(self, turn: GovernedRequest, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool of a chat request."""
        del gone
        kind = text(tool.get("type")) or "function"
        if turn.tool(kind) is not Tool.OWN:
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "a tool that this format does not have", kind[:100])
        return tool

    def tool(self, turn: GovernedRequest, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool of a Responses request; None if it must go."""
        kind = text(tool.get("type"))
        does = turn.tool(kind)
        if does in (Tool.SEARCH, Tool.FETCH):
            narrowed = self.search_tool(turn, tool, kind)
            if narrowed is None:
                gone.add(kind)
            return narrowed
        if does is Tool.CONNECTOR:
            mcp_server(turn, tool)
        elif does is Tool.SANDBOX:
            self.container(turn, tool, kind)
        elif does is Tool.AGENT:
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "agents at the vendor bring tools of their own", kind[:100])
        elif kind == "namespace":
            replace(tool, "tools", keep(turn, items(tool.get("tools")), lambda inner: self.tool(turn, inner, gone)))
        return tool

    def container(self, turn: GovernedRequest, tool: Json, kind: str) -> None:
        """Judge the network of a tool's container."""
        container_of(turn, tool, "environment" if kind == "shell" else "container")

    def search_tool(self, turn: GovernedRequest, tool: Json, kind: str) -> Json | None:
        """Return a search tool with its filter, a preview tool as the one that has a filter."""
        filters = obj(tool.get("filters") or {}, frozenset({"allowed_domains", self.block_key}))
        found = turn.search(
            kind, self.language, domains(filters.get("allowed_domains")), domains(filters.get(self.block_key)) or ()
        )
        if found is None:
            return None
        filters = {key: value for key, value in filters.items() if key not in ("allowed_domains", self.block_key)}
        if found.allowed:
            filters["allowed_domains"] = list(found.allowed)
        elif found.blocked:
            filters[self.block_key] = list(found.blocked)
        if kind.startswith("web_search_preview"):
            tool["type"] = "web_search"
        if filters:
            tool["filters"] = filters
        else:
            tool.pop("filters", None)
        return tool

    def _held(self, turn: GovernedRequest, body: Json) -> None:
        """Refuse what searches or brings tools by its name alone."""
        for key in sorted(_STORED & body.keys()):
            if body[key] is not None and not (key == "prompt" and isinstance(body[key], str)):  # text to complete
                turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "what is stored at the vendor may hold tools", key)
        model = text(body.get("model"))
        if _ALWAYS.search(model):
            turn.always_searches(model[:100], "this model always searches and has no domain filter")

    def _carried(self, turn: GovernedRequest, body: Json, key: str, gone: set[str]) -> None:
        """Judge tools that stand in input items, where they persist."""
        value = body.get(key)
        if not isinstance(value, list):
            return
        for item in value:
            if isinstance(item, dict) and obj(item, TYPED).get("type") in ("additional_tools", "tool_search_output"):
                judge: Callable[[Json], Json | None] = lambda tool: self.tool(turn, tool, gone)  # noqa: E731 - bound here
                item["tools"] = keep(turn, items(obj(item, _CARRIED).get("tools")), judge)
        body[key] = [
            item
            for item in value
            if not (isinstance(item, dict) and item.get("type") == "additional_tools" and not item["tools"])
        ]

    def _limits(self, turn: GovernedRequest, body: Json, kept: list[Json]) -> None:
        """Ask for the sources, and bound the searches where nothing else counts against the same limit."""
        include = items(body.get("include"))
        if _SOURCES not in include:
            body["include"] = [*include, _SOURCES]
        built_in = [tool for tool in kept if tool.get("type") not in _CLIENT_SIDE]
        if built_in and all(text(tool.get("type")).startswith("web_search") for tool in built_in):
            most = turn.clamp(body.get("max_tool_calls"))
            if most is not None:
                body["max_tool_calls"] = most

    def _repair_choice(self, turn: GovernedRequest, body: Json, kept: list[Json], gone: set[str]) -> None:
        """Make the choice name what the tools have become: vendors take any name of a search for any other."""
        choice = body.get("tool_choice")
        if gone and not kept:
            body.pop("tool_choice", None)
        elif isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            named = [self._chosen(turn, obj(each), kept, gone) for each in items(choice.get("tools"))]
            left = [each for each in named if each is not None]
            body["tool_choice"] = {**choice, "tools": left} if left else "auto"
        elif isinstance(choice, dict):
            body["tool_choice"] = self._chosen(turn, choice, kept, gone) or "auto"

    def _chosen(self, turn: GovernedRequest, choice: Json, kept: list[Json], gone: set[str]) -> Json | None:
        """Return a choice of one tool in the name that the tool goes by now; None if it is gone."""
        kind = text(choice.get("type"))
        searches = turn.surface.tool
        if searches(kind) is not Tool.SEARCH:
            return None if kind in gone else choice
        left = [found for tool in kept if searches(found := text(tool.get("type"))) is Tool.SEARCH]
        if not left and gone:
            return None
        now = left[0] if left else "web_search" if kind.startswith("web_search_preview") else kind
        return choice if kind in left else {**choice, "type": now}

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer | None:
        """Return a reader of responses, chat completions and their streams."""
        if turn.call.schema == "alpha_search":
            return AlphaObserver(seen, turn.json)
        if turn.call.schema in ("container", "environment"):
            return MachineObserver(seen, "id")
        return ResponsesObserver(seen, turn.effective if self.original else None)

    def cut(self, detail: str) -> bytes:
        """Return the error event of a stream."""
        value = {
            "type": "error",
            "message": detail,
            "code": "blocked_by_egress_policy",
            "param": None,
            **self.error(detail, Reason.SOURCE_OUTSIDE_ALLOWLIST),
        }
        return b"event: error\ndata: " + encode(value) + b"\n\n"


def mcp_server(turn: GovernedRequest, tool: Json) -> None:
    """Judge the server that the vendor would connect to; one behind a connector or tunnel cannot be seen."""
    obj(tool, frozenset({"server_url", "connector_id", "tunnel_id"}))
    if tool.get("server_url") is None:
        turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "an MCP server without an address cannot be judged", "mcp")
    turn.reach_server(tool["server_url"], "MCP server")


ADAPTER = OpenAI()

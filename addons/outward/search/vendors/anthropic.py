"""Anthropic Messages, also behind Vertex, Foundry, Claude Platform on AWS and on GCP.

Source: the SDK's types and platform.claude.com (web search tool, web fetch tool, MCP connector), November 2026.
"""

import re
from typing import Any

from outward.core.reasons import Reason
from outward.search.adapter import (
    TYPED,
    Json,
    Observer,
    Plain,
    body_object,
    claude_code_status,
    domains,
    error_type,
    items,
    keep_tools,
    obj,
    replace,
    text,
)
from outward.search.evidence import SearchEvidence
from outward.search.jsonbody import encode
from outward.search.machines import MachineObserver
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.sandbox import limited, thread
from outward.search.surface import Tool
from outward.search.vendors.anthropic_observer import MessagesObserver

_FIRST = ("web_search_20250305", "web_fetch_20250910")  # before code could call the tools
_TOOL_KEYS = frozenset(
    {"type", "name", "allowed_domains", "blocked_domains", "max_uses", "allowed_callers", "response_inclusion"}
)
_PARAMS = frozenset(
    {"tools", "tool_choice", "mcp_servers", "messages", "system", "thread", "compaction", "container", "fallbacks"}
)
# The names stand in brackets or not, quoted or not, as hosts or as addresses; what follows the sentence is no name.
_REFUSED = re.compile(r"not accessible to our user agent:?\s*(?:\[([^\]]*)\]|((?:(?!\.\s)(?:\\.|[^\"\\\n]))*))")


# The vendor documents no limit; long lists fail while searching (`request_too_large`).
_LANGUAGES = {
    "web_search": FilterCapabilities(limit=50, blocks=True, paths=True),
    "web_fetch": FilterCapabilities(limit=50, blocks=True),
}


class Anthropic(Plain):
    """The adapter."""

    name = "anthropic"
    languages = _LANGUAGES

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "messages":
                self.params(turn, body_object(turn, _PARAMS))
            case "count":
                turn.audited = False
                self.params(turn, body_object(turn, _PARAMS))
            case "environment":
                environment(turn, body_object(turn, frozenset({"config"})))
            case "batches":
                for request in items(body_object(turn, frozenset({"requests"})).get("requests")):
                    self.params(turn, obj(obj(request, frozenset({"params"})).get("params"), _PARAMS))
            case _:
                super().govern(turn)

    def params(self, turn: GovernedRequest, params: Json) -> None:
        """Judge the parameters of one message, and those that another model would get in its place."""
        fallbacks = params.get("fallbacks")
        for other in fallbacks if isinstance(fallbacks, list) else ():
            self.params(turn, obj(other, _PARAMS))
        self._thread(turn, params)
        for server in items(params.get("mcp_servers")):
            turn.reach_server(obj(server, frozenset({"url"})).get("url"), "MCP server")
        stripped = set[str]()
        kept = keep_tools(turn, params, lambda tool: self._tool(turn, tool, stripped))
        self._added(turn, params, stripped)
        if stripped:
            _repair(params, kept, stripped)
            if _pending(params, stripped):
                turn.must_survive("the history waits for the result of a search that is not permitted")

    def _thread(self, turn: GovernedRequest, params: Json) -> None:
        """Judge a conversation that the vendor keeps: what it holds was judged when this group sent it.

        Raises:
            RefusedError: for one that this group did not begin here, and for one that searches beyond its group by now.
        """
        asked = obj(params.get("thread") or {}, frozenset({"type", "previous_message_id"}))
        if asked.get("type") == "continue":
            sources = thread(turn, asked.get("previous_message_id"))
            if sources:
                found = turn.search("thread", _LANGUAGES["web_search"], sources)
                turn.must_survive("the thread at the vendor searches")
                if found is None or set(found.allowed) != set(sources) or turn.left is not None:
                    detail = "what the thread at the vendor searches cannot be limited by now"
                    turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, detail, "thread")
        elif asked and asked.get("type") != "create":
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "an unknown kind of thread", "thread")
        turn.holds = bool(asked) and not params.get("mcp_servers")  # a server may be denied by the next turn

    def _tool(self, turn: GovernedRequest, tool: Json, stripped: set[str]) -> Json | None:
        kind = text(tool.get("type"))
        does = turn.tool(kind)
        if does in (Tool.SEARCH, Tool.FETCH):
            obj(tool, _TOOL_KEYS)
            narrowed = _narrowed(turn, tool, kind, does)
            if narrowed is None:
                stripped.add(text(tool.get("name")) or kind.rpartition("_")[0])
            return narrowed
        return tool

    def _added(self, turn: GovernedRequest, params: Json, stripped: set[str]) -> None:
        """Judge tools that stand in messages: `tool_addition` blocks and the changes that a compaction carries."""
        emptied: list[Any] = []
        for message in items(params.get("messages")):
            content = obj(message, frozenset({"content"})).get("content")
            if isinstance(content, list) and content:
                content[:] = [block for block in content if self._addition(turn, block, stripped)]
                emptied += [] if content else [message]
                for block in content:
                    if isinstance(block, dict) and block.get("type") == "compaction" and block.get("tool_changes"):
                        changes = items(block["tool_changes"])
                        changes[:] = [change for change in changes if self._addition(turn, change, stripped)]
        if emptied:
            gone = {id(message) for message in emptied}
            params["messages"] = [message for message in params["messages"] if id(message) not in gone]

    def _addition(self, turn: GovernedRequest, block: Any, stripped: set[str]) -> bool:
        """Tell whether a block stays; a definition in it is narrowed in place."""
        if not isinstance(block, dict) or obj(block, TYPED).get("type") != "tool_addition":
            return True
        tool = obj(obj(block, frozenset({"tool"})).get("tool"), frozenset({"type", "definition"}))
        if tool.get("type") == "tool_definition":
            kept = self._tool(turn, obj(tool.get("definition")), stripped)
            return kept is not None and bool(turn.judged(kept))
        return tool.get("name") not in stripped and tool.get("tool_name") not in stripped

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer:
        """Return a reader of messages, their streams and batch results."""
        if turn.call.schema == "environment":
            return MachineObserver(seen, "id")
        return MessagesObserver(seen)

    def cut(self, detail: str) -> bytes:
        """Return the error event of a message stream."""
        return b"event: error\ndata: " + encode(self.error(detail, Reason.SOURCE_OUTSIDE_ALLOWLIST)) + b"\n\n"

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:
        """Return the vendor's error body."""
        return {"type": "error", "error": {"type": error_type(status), "message": detail, "code": str(reason)}}

    def status(self, reason: Reason, user_agent: str) -> int | None:
        """Return 400 for Claude Code."""
        return claude_code_status(reason, user_agent)

    def refused_domains(self, status: int, body: bytes) -> tuple[str, ...]:
        """Return the domains whose sites refuse the vendor's crawler (the whole request is a 400 then)."""
        match = _REFUSED.search(body[:65536].decode("utf-8", "replace")) if status == 400 else None
        found = re.findall(r"[A-Za-z0-9._-]+\.[A-Za-z0-9-]+", match[1] or match[2] or "") if match else []
        return tuple(name.lower() for name in found)


def environment(turn: GovernedRequest, body: Json) -> None:
    """Limit the network of an agents' environment to what the group may reach itself.

    Raises:
        RefusedError: for packages, which need registries beyond any list.
    """
    config = obj(body.get("config") or {"type": "cloud"}, frozenset({"type", "networking", "packages"}))
    if config.get("type") == "self_hosted":
        return
    if any(items(listed) for key, listed in obj(config.get("packages") or {}).items() if key != "type"):
        turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "whence an environment gets its packages cannot be limited")
    network = obj(config.get("networking") or {}, frozenset({"type", "allowed_hosts"}))
    asked = items(network.get("allowed_hosts")) if network.get("type") == "limited" else None
    mended: Json = {"type": "limited", "allowed_hosts": limited(turn, "environment", asked, wildcards=False)}
    mended |= {"allow_mcp_servers": False, "allow_package_managers": False}
    turn.touched = turn.touched or network != mended
    body["config"] = {**config, "networking": mended}


def _narrowed(turn: GovernedRequest, tool: Json, kind: str, does: Tool) -> Json | None:
    """Return a search or fetch tool with its filter, or None if it must go."""
    language = _LANGUAGES["web_search" if does is Tool.SEARCH else "web_fetch"]
    found = turn.search(
        kind, language, domains(tool.get("allowed_domains")), domains(tool.get("blocked_domains")) or ()
    )
    if found is None:
        return None
    tool.pop("allowed_domains", None)
    tool.pop("blocked_domains", None)
    if found.allowed:
        tool["allowed_domains"] = list(found.allowed)
    elif found.blocked:
        tool["blocked_domains"] = list(found.blocked)
    if does is Tool.SEARCH and (most := turn.clamp(tool.get("max_uses"))) is not None:
        tool["max_uses"] = most
    # Results that code consumed may be left out of the response: an audit blind spot.
    if kind not in _FIRST or "allowed_callers" in tool:
        tool["allowed_callers"] = ["direct"]
    if "response_inclusion" in tool:
        tool["response_inclusion"] = "full"
    return tool


def _repair(params: Json, kept: list[Any], stripped: set[str]) -> None:
    """Remove what refers to a tool that is gone."""
    choice = params.get("tool_choice")
    if not kept:
        params.pop("tool_choice", None)
    elif isinstance(choice, dict) and choice.get("type") == "tool" and choice.get("name") in stripped:
        params["tool_choice"] = {key: value for key, value in choice.items() if key != "name"} | {"type": "auto"}
    for tool in kept:
        sources = tool.get("url_sources")
        if isinstance(sources, list):
            replace(tool, "url_sources", [each for each in sources if not _names(each, stripped)])


def _names(reference: Any, stripped: set[str]) -> bool:
    if isinstance(reference, dict):
        return any(value in stripped for value in reference.values() if isinstance(value, str))
    return reference in stripped


def _pending(params: Json, stripped: set[str]) -> bool:
    """Tell whether the history holds a call of a stripped tool without its result."""
    calls, results = set[str](), set[str]()
    for message in items(params.get("messages")):
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") == "server_tool_use" and block.get("name") in stripped:
                calls.add(str(block.get("id")))
            elif isinstance(block, dict) and str(block.get("type")).endswith("_tool_result"):
                results.add(str(block.get("tool_use_id")))
    return bool(calls - results)


ADAPTER = Anthropic()

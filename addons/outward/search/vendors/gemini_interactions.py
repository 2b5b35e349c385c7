"""Gemini's interactions: tools by type, agents, and a machine at the vendor with a network."""

from collections.abc import Callable
from typing import Any

from outward.core.reasons import Reason
from outward.search.adapter import Json, items, keep_tools, obj, text
from outward.search.jsonbody import folded
from outward.search.request import GovernedRequest
from outward.search.sandbox import existing, limited
from outward.search.surface import Tool

Stays = Callable[[GovernedRequest, str, str, Any, Json], bool]
_ENVIRONMENT = frozenset({"type", "network", "sources"})


def interaction(turn: GovernedRequest, body: Json, stays: Stays) -> None:
    """Judge an interaction.

    Args:
        turn: the request.
        body: of the request.
        stays: judges a capability.
    """
    if "deep-research" in (model := str(body.get("model"))).lower():
        turn.always_searches(model[:100], "this model always searches and has no domain filter")
    if "environment" in body:
        body["environment"] = environment(turn, body["environment"])
    kept = keep_tools(turn, body, lambda tool: _tool(turn, tool, body, stays))
    config = body.get("generation_config", body.get("generationConfig"))
    if turn.findings and not kept and isinstance(config, dict):
        for key in [key for key in config if folded(key) == "toolchoice"]:
            del config[key]


def _tool(turn: GovernedRequest, tool: Json, body: Json, stays: Stays) -> Json | None:
    kind = text(tool.get("type"))
    name = folded(kind)
    if turn.surface.tool(name) is Tool.CONNECTOR:
        turn.reach_server(tool.get("url"), "MCP server")
        return tool
    if kind == "retrieval" and any("external" in str(each) or "exa" in str(each) for each in _retrieval_types(tool)):
        turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an interface that the vendor would call", kind)
    return tool if stays(turn, name, kind, tool, body) else None


def _retrieval_types(tool: Json) -> list[Any]:
    return [*items(tool.get("retrieval_types")), *(key for key in tool if key.endswith("_config"))]


def environment(turn: GovernedRequest, value: Any) -> Any:
    """Return the vendor's machine with the group's own network: what it asks for and the group may reach, else none.

    Raises:
        RefusedError: for an existing machine that this group did not make.
    """
    if isinstance(value, str):
        existing(turn, "environment", value.removeprefix("environments/"))
        return value
    if value is None:
        return None
    wanted = obj(value, _ENVIRONMENT)
    network = wanted.get("network")
    listed = obj(network, frozenset({"allowlist"})).get("allowlist") if isinstance(network, dict) else None
    entries = [obj(each, frozenset({"domain"})) for each in listed] if isinstance(listed, list) else []
    allowed = limited(turn, "environment", [entry.get("domain") for entry in entries], wildcards=True)
    kept = {str(entry.get("domain")): entry for entry in entries}
    listed = [kept.get(name) or {"domain": name} for name in allowed]
    mended = {"allowlist": listed} if listed else "disabled"
    turn.touched = turn.touched or network != mended
    return {**wanted, "network": mended}

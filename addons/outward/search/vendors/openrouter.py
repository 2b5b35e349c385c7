"""OpenRouter: web plugin, `:online` models and server tools, pinned to the engine that applies the filter.

Source: openrouter.ai/docs (web search), November 2026. Native engines may ignore the list, so `exa` is named.
"""

import re
from typing import Any, ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import Json, body_object, domains, items, keep, obj, replace, text
from outward.search.narrowing import Language
from outward.search.turn import Turn
from outward.search.vendors.openai import OpenAI

_LANGUAGE = Language(blocks=True)
_ONLINE = re.compile(r":online(?=:|$)", re.IGNORECASE)
_ALWAYS = re.compile(r"^perplexity/|-search-(preview|api)|deep-research|(^|/)compound", re.IGNORECASE)
_OWN = frozenset({"model", "models", "plugins", "preset", "tools", "messages", "web_search_options"})
_TOOL = "openrouter:web_search"


class OpenRouter(OpenAI):
    """The adapter."""

    name = "openrouter"
    original: ClassVar[bool] = False
    searches: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    harmless: ClassVar[frozenset[str]] = frozenset({"function", "custom"})
    languages: ClassVar = {"plugins": _LANGUAGE, _TOOL: _LANGUAGE}

    def responses(self, turn: Turn, body: Json) -> None:
        """Judge a Responses request."""
        self._own(turn, body)
        super().responses(turn, body)

    def chat(self, turn: Turn, body: Json) -> None:
        """Judge a chat request."""
        self._own(turn, body)
        super().chat(turn, body)

    def _others(self, turn: Turn, path: str) -> None:
        """Judge what is no chat and no response: older completions and Anthropic's format can search alike."""
        if path.endswith("/completions"):
            self.chat(turn, body_object(turn, _OWN))
            return
        if path.endswith("/messages"):
            self._own(turn, body_object(turn, _OWN))
            if turn.findings:
                turn.refuse(Reason.WEB_SEARCH_UNFILTERABLE, "this format's searches cannot be limited", "messages")
        super()._others(turn, path)

    def _own(self, turn: Turn, body: Json) -> None:
        """Judge what only this vendor has: presets, `:online`, plugins."""
        if body.get("preset") is not None:
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a preset may hold plugins", "preset")
        plugins = [obj(plugin) for plugin in items(body.get("plugins"))]
        online = [self._online(turn, body, "model", body.get("model"))]
        models = items(body.get("models"))
        for index, model in enumerate(models):
            online.append(self._online(turn, models, index, model))
        if any(online) and not any(plugin.get("id") == "web" for plugin in plugins):
            plugins.append({"id": "web"})
        if plugins:
            replace(body, "plugins", keep(plugins, lambda plugin: self._plugin(turn, plugin)))

    def _online(self, turn: Turn, holder: Any, key: str | int, value: Any) -> bool:
        """Judge a model's name, and take `:online` off it; returns whether it was there."""
        name = text(value)
        if _ALWAYS.search(name):
            turn.always_searches(name[:100], "this model always searches and has no domain filter")
        if "@preset/" in name:
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a preset may hold plugins", "preset")
        if not _ONLINE.search(name):
            return False
        holder[key] = _ONLINE.sub("", name)
        return True

    def _plugin(self, turn: Turn, plugin: Json) -> Json | None:
        kind = text(plugin.get("id"))
        if kind in ("file-parser", "response-healing", "auto-router", "moderation"):
            return plugin
        if kind != "web":
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown plugin", kind[:100])
        return _pinned(turn, "plugins.web", plugin, "include_domains", "exclude_domains")

    def tool(self, turn: Turn, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool."""
        if tool.get("type") != _TOOL:
            return super().tool(turn, tool, gone)
        parameters = _pinned(turn, _TOOL, obj(tool.get("parameters") or {}), "allowed_domains", "excluded_domains")
        if parameters is None:
            gone.add(_TOOL)
            return None
        tool["parameters"] = parameters
        return tool

    def chat_tool(self, turn: Turn, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool of a chat request."""
        return self.tool(turn, {"type": "function", **tool} if "type" not in tool else tool, gone)


def _pinned(turn: Turn, name: str, holder: Json, allow: str, block: str) -> Json | None:
    """Return the parameters with a filter and the engine that applies it, or None."""
    found = turn.search(name, _LANGUAGE, domains(holder.get(allow)), domains(holder.get(block)) or ())
    if found is None:
        return None
    kept = {key: value for key, value in holder.items() if key not in (allow, block)}
    kept["engine"] = "exa"
    if found.allowed:
        kept[allow] = list(found.allowed)
    elif found.blocked:
        kept[block] = list(found.blocked)
    return kept


ADAPTER = OpenRouter()

"""OpenRouter: web plugin, `:online` models and server tools, pinned to the engine that applies the filter.

Source: openrouter.ai/docs (web search), November 2026. Native engines may ignore the list, so `exa` is named.
"""

import re
from typing import Any, ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import Json, domains, error_type, items, keep, obj, replace, text
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.surface import Tool
from outward.search.vendors.openai import OpenAI

_LANGUAGE = FilterCapabilities(blocks=True)
_ONLINE = re.compile(r":online(?=:|$)", re.IGNORECASE)
_ALWAYS = re.compile(r"^~?perplexity/|-search-(preview|api)|deep-research|(^|/)compound|(^|/)fusion", re.IGNORECASE)
_OWN = frozenset({"model", "models", "plugins", "preset", "tools", "messages", "web_search_options"})
_TOOL = "openrouter:web_search"


class OpenRouter(OpenAI):
    """The adapter."""

    name = "openrouter"
    original: ClassVar[bool] = False
    languages: ClassVar = {"plugins": _LANGUAGE, _TOOL: _LANGUAGE}

    def responses(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a Responses request."""
        self._own(turn, body)
        super().responses(turn, body)

    def chat(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a chat request."""
        self._own(turn, body)
        super().chat(turn, body)

    def messages(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a request in Anthropic's format."""
        self._own(turn, body)
        super().messages(turn, body)

    def messages_tool(self, turn: GovernedRequest, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool of a request in Anthropic's format; this vendor's own searches run there too."""
        own = text(tool.get("type")).startswith("openrouter:")
        return self.tool(turn, tool, gone) if own else super().messages_tool(turn, tool, gone)

    def _own(self, turn: GovernedRequest, body: Json) -> None:
        """Judge what only this vendor has: presets, `:online`, plugins."""
        if body.get("preset") is not None:
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a preset may hold plugins", "preset")
        plugins = [obj(plugin) for plugin in items(body.get("plugins"))]
        online = [self._online(turn, body, "model", body.get("model"))]
        models = items(body.get("models"))
        for index, model in enumerate(models):
            online.append(self._online(turn, models, index, model))
        others = body.get("fallbacks")
        for other in [obj(each, frozenset({"model"})) for each in others] if isinstance(others, list) else []:
            online += [self._online(turn, other, "model", other.get("model"))]
        if any(online) and not any(plugin.get("id") == "web" for plugin in plugins):
            plugins.append({"id": "web"})
        if plugins:
            replace(body, "plugins", keep(turn, plugins, lambda plugin: self._plugin(turn, plugin)))

    def _online(self, turn: GovernedRequest, holder: Any, key: str | int, value: Any) -> bool:
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

    def _plugin(self, turn: GovernedRequest, plugin: Json) -> Json | None:
        kind = text(plugin.get("id"))
        does = turn.tool(f"plugin:{kind}")
        if does is Tool.OWN:
            for model in items(plugin.get("allowed_models")):  # of a router: what it may choose
                self._online(turn, {}, "model", model)
            return plugin
        if does is not Tool.SEARCH:
            turn.refuse(Reason.WEB_SEARCH_UNFILTERABLE, "this plugin searches, and cannot be limited", kind[:100])
        return _pinned(turn, "plugins.web", plugin, "include_domains", "exclude_domains")

    def tool(self, turn: GovernedRequest, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool."""
        kind = text(tool.get("type"))
        does = turn.tool(kind)
        if does not in (Tool.SEARCH, Tool.FETCH):
            return super().tool(turn, tool, gone)
        if not kind.startswith("openrouter:"):  # the shorthand, which has its parameters beside its type
            kept = _pinned(turn, kind, tool, "allowed_domains", "excluded_domains")
        elif does is Tool.FETCH:
            kept = _narrowed(turn, kind, obj(tool.get("parameters") or {}), "allowed_domains", "blocked_domains")
        else:
            kept = _pinned(turn, kind, obj(tool.get("parameters") or {}), "allowed_domains", "excluded_domains")
        if kept is None:
            gone.add(kind)
            return None
        return {**tool, "parameters": kept} if kind.startswith("openrouter:") else kept

    def chat_tool(self, turn: GovernedRequest, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool of a chat request."""
        return self.tool(turn, {"type": "function", **tool} if "type" not in tool else tool, gone)

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:
        """Return the vendor's error body, which its clients hold to its schema: the code is a number."""
        found = {"code": status, "message": detail, "type": error_type(status), "metadata": {"reason": str(reason)}}
        return {"error": found}


def _pinned(turn: GovernedRequest, name: str, holder: Json, allow: str, block: str) -> Json | None:
    """Return the parameters with a filter and the engine that applies it, or None."""
    kept = _narrowed(turn, name, holder, allow, block)
    return None if kept is None else {**kept, "engine": "exa"}


def _narrowed(turn: GovernedRequest, name: str, holder: Json, allow: str, block: str) -> Json | None:
    obj(holder, frozenset({allow, block}))
    found = turn.search(name, _LANGUAGE, domains(holder.get(allow)), domains(holder.get(block)) or ())
    if found is None:
        return None
    kept = {key: value for key, value in holder.items() if key not in (allow, block)}
    if found.allowed:
        kept[allow] = list(found.allowed)
    elif found.blocked:
        kept[block] = list(found.blocked)
    return kept


ADAPTER = OpenRouter()

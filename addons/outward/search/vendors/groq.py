"""Groq: compound models search by themselves, others with built-in tools; no filter there is documented well."""

import re
from typing import ClassVar

from outward.search.adapter import Json, text
from outward.search.turn import Turn
from outward.search.vendors.openai import OpenAI

_BUILT_IN = frozenset({"browser_search", "web_search", "visit_website", "browser_automation", "wolfram_alpha"})
_ALWAYS = re.compile(r"(^|/)compound", re.IGNORECASE)


class Groq(OpenAI):
    """The adapter."""

    name = "groq"
    original: ClassVar[bool] = False
    searches: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    harmless: ClassVar[frozenset[str]] = frozenset({"function", "custom", "code_interpreter"})
    languages: ClassVar = {"browser_search": None, "compound": None}

    def chat(self, turn: Turn, body: Json) -> None:
        """Judge a chat request."""
        model = text(body.get("model"))
        if _ALWAYS.search(model):
            turn.always_searches(model[:100], "this model searches by itself and has no reliable domain filter")
        for key in ("search_settings", "compound_custom"):
            if body.get(key) is not None and not turn.unfilterable(key, verifiable=False):
                del body[key]
        super().chat(turn, body)

    def tool(self, turn: Turn, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool; the built-in ones that reach the web have no filter."""
        kind = text(tool.get("type"))
        if kind in _BUILT_IN:
            if turn.unfilterable(kind, verifiable=kind == "browser_search"):
                return tool
            gone.add(kind)
            return None
        return tool if kind in self.harmless else super().tool(turn, tool, gone)

    def chat_tool(self, turn: Turn, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool of a chat request: built-in ones stand among the client's."""
        return self.tool(turn, tool, gone)


ADAPTER = Groq()

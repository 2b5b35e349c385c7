"""Groq: compound models search by themselves, others with built-in tools; no filter there is documented well."""

import re
from typing import ClassVar

from outward.search.adapter import Json, text
from outward.search.request import GovernedRequest
from outward.search.vendors.openai import OpenAI

_ALWAYS = re.compile(r"(^|/)compound", re.IGNORECASE)


class Groq(OpenAI):
    """The adapter."""

    name = "groq"
    original: ClassVar[bool] = False
    languages: ClassVar = {"browser_search": None, "compound": None}

    def responses(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a Responses request."""
        self._compound(turn, body)
        super().responses(turn, body)

    def chat(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a chat request."""
        self._compound(turn, body)
        super().chat(turn, body)

    def _compound(self, turn: GovernedRequest, body: Json) -> None:
        """Refuse the models that search by themselves, and take off what tells others to."""
        model = text(body.get("model"))
        if _ALWAYS.search(model):
            turn.always_searches(model[:100], "this model searches by itself and has no reliable domain filter")
        for key in ("search_settings", "compound_custom"):
            if body.get(key) is not None and not turn.unfilterable(key, verifiable=False):
                del body[key]

    def search_tool(self, turn: GovernedRequest, tool: Json, kind: str) -> Json | None:
        """Return a built-in tool that reaches the web where it can be judged by what it finds: none has a filter."""
        return tool if turn.unfilterable(kind, verifiable=kind == "browser_search") else None

    def container(self, turn: GovernedRequest, tool: Json, kind: str) -> None:
        """Do nothing: the machine has no network."""

    def chat_tool(self, turn: GovernedRequest, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool of a chat request: built-in ones stand among the client's."""
        return self.tool(turn, {"type": "function", **tool} if "type" not in tool else tool, gone)


ADAPTER = Groq()

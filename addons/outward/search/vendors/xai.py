"""xAI: the Responses format with filters of its own, and the older live search of chat completions.

Source: docs.x.ai (web search, live search), November 2026. Filters take registrable domains, at most five.
"""

from typing import ClassVar

from outward.search.adapter import Json, domains, items, obj, text
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest, VendorCall
from outward.search.vendors.openai import OpenAI


class XAI(OpenAI):
    """The adapter."""

    name = "xai"
    original: ClassVar[bool] = False
    language: ClassVar[FilterCapabilities] = FilterCapabilities(limit=5, blocks=True, registrable=True)
    block_key: ClassVar[str] = "excluded_domains"
    languages: ClassVar = {"web_search": language, "x_search": None}

    def disguised(self, call: VendorCall) -> str | None:
        """Tell of gRPC, which cannot be read."""
        if "grpc" in call.headers.get("content-type", "").lower() or call.path.lower().startswith("/xai_api"):
            return "gRPC cannot be judged"
        return super().disguised(call)

    def tool(self, turn: GovernedRequest, tool: Json, gone: set[str]) -> Json | None:
        """Judge a tool; search on X has no domain filter."""
        if tool.get("type") == "x_search":
            if turn.unfilterable("x_search", verifiable=False):
                return tool
            gone.add("x_search")
            return None
        return super().tool(turn, tool, gone)

    def container(self, turn: GovernedRequest, tool: Json, kind: str) -> None:
        """Do nothing: code runs without a network there."""

    def chat(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a chat request, live search included."""
        search = body.get("search_parameters")
        if search is not None and text(obj(search, frozenset({"mode", "sources"})).get("mode")) != "off":
            body["search_parameters"] = self._live(turn, search)
        super().chat(turn, body)

    def _live(self, turn: GovernedRequest, search: Json) -> Json:
        """Limit live search to the web, with an allow list; without one it is switched off."""
        sources = [obj(source) for source in items(search.get("sources"))]
        web = next((source for source in sources if source.get("type") == "web"), {})
        found = turn.search(
            "search_parameters",
            self.language,
            domains(web.get("allowed_websites")),
            domains(web.get("excluded_websites")) or (),
        )
        if found is None:
            return {"mode": "off"}
        kept = {key: value for key, value in web.items() if key not in ("allowed_websites", "excluded_websites")}
        kept["type"] = "web"
        if found.allowed:
            kept["allowed_websites"] = list(found.allowed)
        elif found.blocked:
            kept["excluded_websites"] = list(found.blocked)
        return {**search, "sources": [kept]}


ADAPTER = XAI()

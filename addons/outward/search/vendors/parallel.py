"""Parallel: a Responses endpoint that always searches, and a search API whose results are filtered exactly."""

from typing import ClassVar

from outward.search.adapter import Json, body_object, domains, items, obj
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.vendors.openai import OpenAI


class Parallel(OpenAI):
    """The adapter."""

    name = "parallel"
    original: ClassVar[bool] = False
    language: ClassVar[FilterCapabilities] = FilterCapabilities(limit=200, blocks=True)
    languages: ClassVar = {"web_search": language, "search": language}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        if turn.call.schema == "search":
            self._search(turn, body_object(turn, frozenset({"source_policy", "urls"})))
        else:
            super().govern(turn)

    def responses(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a Responses request: without a search tool the vendor would search anywhere."""
        tools = items(body.get("tools"))
        if not any(isinstance(tool, dict) and tool.get("type") == "web_search" for tool in tools):
            body["tools"] = [*tools, {"type": "web_search"}]
        super().responses(turn, body)
        turn.must_survive("this vendor searches with every request")

    def chat(self, turn: GovernedRequest, body: Json) -> None:
        """Refuse chat: it searches, and has no filter."""
        del body
        turn.always_searches("chat", "this endpoint always searches and has no domain filter")

    def _search(self, turn: GovernedRequest, body: Json) -> None:
        turn.filtered = True
        for url in items(body.get("urls")):
            turn.reach(url, "page to extract")
        policy = obj(body.get("source_policy") or {}, frozenset({"include_domains", "exclude_domains"}))
        found = turn.search(
            "search",
            self.language,
            domains(policy.get("include_domains")),
            domains(policy.get("exclude_domains")) or (),
        )
        if found is None:
            turn.must_survive("the request is nothing but a search")
        elif found.allowed:
            policy.pop("exclude_domains", None)
            body["source_policy"] = {**policy, "include_domains": list(found.allowed)}
        elif found.blocked:
            body["source_policy"] = {**policy, "exclude_domains": list(found.blocked)}


ADAPTER = Parallel()

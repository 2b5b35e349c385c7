"""Perplexity: chat that always searches, and its search API.

Source: docs.perplexity.ai (search domain filter), November 2026. One list: names, or blocked ones with `-`.
"""

import re
from typing import Any, ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import Json, Observer, Plain, body_object, items, keep_tools, obj, text
from outward.search.evidence import SearchEvidence
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.surface import Tool
from outward.search.vendors.openai_observer import ResponsesObserver

_LANGUAGE = FilterCapabilities(limit=20, blocks=True)
_KEY = "search_domain_filter"
_SONAR = re.compile(r"sonar|deep-research", re.IGNORECASE)
_RESPONSES = frozenset({"tools", "preset", "profile", "skills", "model", "models"})
_BODY = frozenset({_KEY, "messages", "model", "tools", "query"})


class Perplexity(Plain):
    """The adapter."""

    name = "perplexity"
    languages: ClassVar = {"chat": _LANGUAGE, "search": _LANGUAGE}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "async":
                body = body_object(turn, frozenset({"request"}))
                self._narrow(turn, body.get("request") if isinstance(body.get("request"), dict) else body)
            case "chat":
                self._narrow(turn, body_object(turn, _BODY))
            case "search":
                turn.filtered = True
                self._narrow(turn, body_object(turn, _BODY))
            case "responses":
                self._responses(turn, body_object(turn, _RESPONSES))
            case _:
                super().govern(turn)

    def _responses(self, turn: GovernedRequest, body: Json) -> None:
        """Judge a Responses request: here a model searches with the tools that it is given, and with no others."""
        for key in ("preset", "profile", "skills"):
            if body.get(key) is not None:
                turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a preset brings tools of its own", key)
        for model in (text(each) for each in (body.get("model"), *items(body.get("models")))):
            if _SONAR.search(model):
                turn.always_searches(model[:100], "this model searches whether or not it has a tool")
        keep_tools(turn, body, lambda tool: self._tool(turn, tool))

    def _tool(self, turn: GovernedRequest, tool: Json) -> Json | None:
        kind = text(tool.get("type"))
        does = turn.tool(kind)
        if does is Tool.FETCH or (does is Tool.SEARCH and kind != "web_search"):
            return tool if turn.unfilterable(kind, verifiable=does is Tool.FETCH) else None
        if does is Tool.CONNECTOR:
            turn.reach_server(tool.get("server_url"), "MCP server")
        elif does is Tool.SEARCH:
            filters = obj(tool.get("filters") or {}, frozenset({_KEY}))
            found = turn.search(kind, _LANGUAGE, *_lists(filters))
            if found is None:
                return None
            if found.allowed or found.blocked:
                tool["filters"] = {**filters, _KEY: [*found.allowed, *(f"-{name}" for name in found.blocked)]}
        elif does is not Tool.OWN:
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "what this tool reaches cannot be seen", kind[:100])
        return tool

    def _narrow(self, turn: GovernedRequest, body: Any) -> None:
        found = turn.search("search", _LANGUAGE, *_lists(body))
        if found is None:
            turn.must_survive("this vendor searches with every request")
        elif found.allowed or found.blocked:
            body[_KEY] = [*found.allowed, *(f"-{name}" for name in found.blocked)]

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer:
        """Return a reader of chat completions."""
        return _Counted(seen, _query(turn.json))


def _lists(holder: Json) -> tuple[list[Any] | None, list[Any]]:
    """Return the allow list and the block list that stand in one."""
    given = items(holder.get(_KEY))
    allow = [each for each in given if not str(each).startswith("-")]
    return allow or None, [str(each)[1:] for each in given if str(each).startswith("-")]


def _query(body: Any) -> str:
    """Return what a request asks for: its query, or the last message of a user."""
    holder = body.get("request", body) if isinstance(body, dict) else None
    if not isinstance(holder, dict):
        return ""
    asked = [each for each in items(holder.get("messages")) if isinstance(each, dict) and each.get("role") == "user"]
    content = asked[-1].get("content") if asked else holder.get("query", holder.get("input"))
    found = content if isinstance(content, list) else [content]
    parts = [each.get("text") if isinstance(each, dict) else each for each in found]
    return "\n".join(part for part in parts if isinstance(part, str))


class _Counted(ResponsesObserver):
    """Counts the searches that the vendor reports, as there is no call to be seen.

    Args:
        seen: where what was found goes.
        query: what the request asked for; the vendor does not repeat it.
    """

    def __init__(self, seen: SearchEvidence, query: str) -> None:
        super().__init__(seen, None)
        self._searched = seen
        self._query = query

    def value(self, value: Any) -> None:
        """Read one completion or chunk."""
        if not self._searched.searches and not self._searched.queries:
            self._searched.query(self._query)
        super().value(value.get("response") if isinstance(value, dict) and "response" in value else value)
        self._searched.searches = max(self._searched.searches, self._searched.billed, 1)


ADAPTER = Perplexity()

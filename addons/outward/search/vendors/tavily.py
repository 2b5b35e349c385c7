"""Tavily: search, extract, crawl and map. Source: docs.tavily.com, November 2026."""

from typing import ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import Json, body_object
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.search_api import SearchApi, fetch, narrow_lists

_LANGUAGE = FilterCapabilities(limit=300, blocks=True)
_BODY = frozenset({"include_domains", "exclude_domains", "urls", "url", "allow_external", "query"})


class Tavily(SearchApi):
    """The adapter."""

    name = "tavily"
    languages: ClassVar = {"search": _LANGUAGE}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        body = body_object(turn, _BODY)
        match turn.call.schema:
            case "search":
                narrow_lists(turn, "search", _LANGUAGE, body, ("include_domains", "exclude_domains"))
            case "extract":
                urls = body.get("urls")
                fetch(turn, "extract", urls if isinstance(urls, list) else [urls])
            case "crawl":
                fetch(turn, "crawl", [body.get("url")])
                body["allow_external"] = False
            case _:
                super().govern(turn)

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:  # noqa: ARG002 - part of the interface
        """Return the vendor's error body: its clients show nothing else."""
        return {"detail": {"error": detail}}


ADAPTER = Tavily()

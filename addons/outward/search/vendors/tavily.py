"""Tavily: search, extract, crawl and map. Source: docs.tavily.com, November 2026."""

from typing import ClassVar

from outward.search.adapter import body_object
from outward.search.narrowing import Language
from outward.search.search_api import SearchApi, fetch, narrow_lists
from outward.search.turn import Turn

_LANGUAGE = Language(limit=300, blocks=True)
_BODY = frozenset({"include_domains", "exclude_domains", "urls", "url", "allow_external", "query"})


class Tavily(SearchApi):
    """The adapter."""

    name = "tavily"
    languages: ClassVar = {"search": _LANGUAGE}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        endpoint = turn.call.path.rstrip("/").rpartition("/")[2]
        if turn.call.method != "POST":
            return
        if endpoint == "search":
            narrow_lists(turn, "search", _LANGUAGE, body_object(turn, _BODY), ("include_domains", "exclude_domains"))
        elif endpoint == "extract":
            urls = body_object(turn, _BODY).get("urls")
            fetch(turn, endpoint, urls if isinstance(urls, list) else [urls])
        elif endpoint in ("crawl", "map"):
            body = body_object(turn, _BODY)
            fetch(turn, endpoint, [body.get("url")])
            body["allow_external"] = False
        elif endpoint == "research":
            turn.always_searches(endpoint, "research cannot be limited to permitted sources")
        else:
            turn.always_searches("search", "this endpoint cannot be limited to permitted sources")


ADAPTER = Tavily()

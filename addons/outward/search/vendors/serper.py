"""Serper: Google's results without a domain filter, so the response is filtered; its scraper fetches one page."""

from typing import ClassVar

from outward.search.adapter import body_object
from outward.search.jsonbody import decode
from outward.search.search_api import SearchApi, by_results, fetch, pages
from outward.search.turn import Turn

_SEARCH = frozenset(
    {"search", "news", "images", "videos", "places", "maps", "shopping", "scholar", "patents", "reviews", "lens"}
)


class Serper(SearchApi):
    """The adapter."""

    name = "serper"
    languages: ClassVar = {"search": None}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        endpoint = turn.call.path.strip("/")
        if turn.call.host.startswith("scrape."):
            body = body_object(turn, frozenset({"url"})) if turn.call.body else {}
            fetch(turn, "scrape", pages(turn, body) or [None])
        elif endpoint in _SEARCH:
            if turn.call.body:
                turn.json = decode(turn.call.body)
            by_results(turn, endpoint)
        elif endpoint not in ("autocomplete", "account"):
            turn.always_searches(endpoint[:100] or "search", "this endpoint cannot be limited to permitted sources")


ADAPTER = Serper()

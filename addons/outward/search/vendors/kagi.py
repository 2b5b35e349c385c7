"""Kagi: results are filtered; its answers, its summaries of what it finds and its pages for people are refused."""

from typing import ClassVar
from urllib.parse import parse_qs

from outward.search.adapter import Observer, body_object
from outward.search.search_api import ResultsObserver, SearchApi, by_results, fetch, pages, query_of
from outward.search.seen import Seen
from outward.search.turn import Turn

_ANSWERS = ("/api", "/search", "/html", "/fastgpt", "/assistant")


class Kagi(SearchApi):
    """The adapter."""

    name = "kagi"
    languages: ClassVar = {"search": None}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        path = turn.call.path.rstrip("/")
        if path.startswith("/api/") and path.endswith(("/search", "/enrich/web", "/enrich/news")):
            if turn.call.body:
                body_object(turn, frozenset({"q", "query"}))
            by_results(turn, "search")
        elif path.startswith("/api/") and path.endswith("/summarize"):
            body = body_object(turn, frozenset({"url", "text"})) if turn.call.body else {}
            fetch(turn, "summarize", pages(turn, body))
        elif turn.call.query or turn.call.method != "GET" or path.startswith(_ANSWERS):
            turn.always_searches("answers", "this endpoint cannot be limited to permitted sources")

    def observer(self, turn: Turn, seen: Seen) -> Observer | None:
        """Return a reader of results; the query stands in the address."""
        asked = parse_qs(turn.call.query).get("q")
        return ResultsObserver(seen, asked[0] if asked else query_of(turn)) if turn.searching else None


ADAPTER = Kagi()

"""Kagi: results are filtered; its answers, its summaries of what it finds and its pages for people are refused."""

from typing import ClassVar
from urllib.parse import parse_qs

from outward.search.adapter import Observer, body_object
from outward.search.evidence import SearchEvidence
from outward.search.request import GovernedRequest
from outward.search.search_api import ResultsObserver, SearchApi, by_results, fetch, pages, query_of


class Kagi(SearchApi):
    """The adapter."""

    name = "kagi"
    languages: ClassVar = {"search": None}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "search":
                if turn.call.body:
                    body_object(turn, frozenset({"q", "query"}))
                by_results(turn, "search")
            case "summarize":
                body = body_object(turn, frozenset({"url", "text"})) if turn.call.body else {}
                fetch(turn, "summarize", pages(turn, body))
            case _:
                super().govern(turn)

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer | None:
        """Return a reader of results; the query stands in the address."""
        asked = parse_qs(turn.call.query).get("q")
        return ResultsObserver(seen, asked[0] if asked else query_of(turn)) if turn.searching else None


ADAPTER = Kagi()

"""Brave Search: no domain filter in the request, so the response is filtered. Source: its API documentation, 2026."""

from typing import ClassVar
from urllib.parse import parse_qs

from outward.search.adapter import Observer, body_object
from outward.search.evidence import SearchEvidence
from outward.search.request import GovernedRequest
from outward.search.search_api import ResultsObserver, SearchApi, by_results, query_of


class Brave(SearchApi):
    """The adapter."""

    name = "brave"
    languages: ClassVar = {"search": None}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        if turn.call.schema != "search":
            super().govern(turn)
            return
        if turn.call.body:
            body_object(turn, frozenset({"q"}))
        by_results(turn, turn.call.path.split("/")[3])

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer | None:
        """Return a reader of results; the query stands in the address."""
        asked = parse_qs(turn.call.query).get("q")
        return ResultsObserver(seen, asked[0] if asked else query_of(turn)) if turn.searching else None


ADAPTER = Brave()

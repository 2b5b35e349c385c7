"""Serper: Google's results without a domain filter, so the response is filtered; its scraper fetches one page."""

from typing import ClassVar

from outward.search.adapter import body_object
from outward.search.jsonbody import decode
from outward.search.request import GovernedRequest
from outward.search.search_api import SearchApi, by_results, fetch, pages


class Serper(SearchApi):
    """The adapter."""

    name = "serper"
    languages: ClassVar = {"search": None}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "scrape":
                body = body_object(turn, frozenset({"url"})) if turn.call.body else {}
                fetch(turn, "scrape", pages(turn, body) or [None])
            case "search":
                if turn.call.body:
                    turn.json = decode(turn.call.body)
                by_results(turn, turn.call.path.strip("/") or "search")
            case _:
                super().govern(turn)


ADAPTER = Serper()

"""Firecrawl: a search without a list of domains, so its results are filtered; pages are judged one by one.

Source: docs.firecrawl.dev (v1, v2), November 2026.
"""

from typing import ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import Json, body_object
from outward.search.request import GovernedRequest
from outward.search.search_api import SearchApi, by_results, fetch


class Firecrawl(SearchApi):
    """The adapter."""

    name = "firecrawl"
    languages: ClassVar = {"search": None}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "search":
                body_object(turn, frozenset({"query"}))
                by_results(turn, "search")
            case "scrape":
                fetch(turn, "scrape", [body_object(turn, frozenset({"url"})).get("url")])
            case _:
                super().govern(turn)

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:  # noqa: ARG002 - part of the interface
        """Return the vendor's error body."""
        return {"success": False, "error": detail, "code": str(reason)}


ADAPTER = Firecrawl()

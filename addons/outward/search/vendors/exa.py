"""Exa: search, similar pages, contents; answers and research cannot be limited. Source: docs.exa.ai, November 2026."""

from typing import ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import Json, body_object, items
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.search_api import SearchApi, fetch, narrow_lists

_LANGUAGE = FilterCapabilities(limit=1200, blocks=True)
_BODY = frozenset({"includeDomains", "excludeDomains", "urls", "ids", "url", "query"})


class Exa(SearchApi):
    """The adapter."""

    name = "exa"
    languages: ClassVar = {"search": _LANGUAGE}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        body = body_object(turn, _BODY)
        match turn.call.schema:
            case "search":
                if body.get("url") is not None:  # the page that others are to resemble
                    turn.reach(body["url"], "url")
                narrow_lists(turn, "search", _LANGUAGE, body, ("includeDomains", "excludeDomains"))
            case "contents":
                fetch(turn, "contents", [*items(body.get("urls")), *items(body.get("ids"))])
            case _:
                super().govern(turn)

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:  # noqa: ARG002 - part of the interface
        """Return the vendor's error body."""
        return {"error": detail, "tag": str(reason).upper()}


ADAPTER = Exa()

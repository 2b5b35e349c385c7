"""OpenAI's search endpoint, which Codex asks by itself: queries with domains of their own under one filter.

Source: codex-rs/codex-api (search), November 2026.
"""

from typing import Any

from outward.search.adapter import Json, domains, items, obj
from outward.search.evidence import SearchEvidence
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.search_api import ResultsObserver

LANGUAGE = FilterCapabilities(limit=100, blocks=True)
_FILTER = frozenset({"allowed_domains", "blocked_domains"})
_QUERIES = ("search_query", "image_query")


def alpha_search(turn: GovernedRequest, body: Json) -> None:
    """Narrow the filter, and the domains of every query; pages to open are addresses like any other.

    Raises:
        RefusedError: where nothing is left to search.
    """
    settings = obj(body.get("settings") or {}, frozenset({"filters"}))
    filters = obj(settings.get("filters") or {}, _FILTER)
    found = turn.search(
        "alpha_search", LANGUAGE, domains(filters.get("allowed_domains")), domains(filters.get("blocked_domains")) or ()
    )
    turn.must_survive("the request is nothing but a search")
    kept = {key: value for key, value in filters.items() if key not in _FILTER}
    if found is not None and found.allowed:
        kept["allowed_domains"] = list(found.allowed)
    elif found is not None and found.blocked:
        kept["blocked_domains"] = list(found.blocked)
    body["settings"] = {**settings, "filters": kept} if kept else settings
    commands = obj(body.get("commands") or {}, frozenset(_QUERIES))
    for query in (each for key in _QUERIES for each in items(commands.get(key))):
        _query(turn, obj(query, frozenset({"domains"})))


def _query(turn: GovernedRequest, query: Json) -> None:
    asked = domains(query.get("domains"))
    if asked is None:
        return
    found = turn.search("alpha_search", LANGUAGE, asked)
    turn.must_survive("a query names no domain that is permitted")
    if found is not None and found.allowed:
        query["domains"] = list(found.allowed)


class AlphaObserver(ResultsObserver):
    """Counts every query of the request as a search."""

    def __init__(self, seen: SearchEvidence, body: Any) -> None:
        commands = body.get("commands") if isinstance(body, dict) else None
        asked = [each for key in _QUERIES for each in items((commands or {}).get(key))]
        queries = [str(each.get("q")) for each in asked if isinstance(each, dict)]
        super().__init__(seen, queries[0] if queries else None)
        self._more = queries[1:]
        self._found = seen

    def value(self, value: Any) -> None:
        """Read the document."""
        first = not self.complete
        super().value(value)
        for query in self._more if first else ():
            self._found.search(None, query)

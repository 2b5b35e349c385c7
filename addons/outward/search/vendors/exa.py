"""Exa: search, similar pages, contents; answers and research cannot be limited. Source: docs.exa.ai, November 2026."""

from typing import ClassVar

from outward.search.adapter import body_object, items
from outward.search.narrowing import Language
from outward.search.search_api import SearchApi, fetch, narrow_lists
from outward.search.turn import Turn

_LANGUAGE = Language(limit=1200, blocks=True)
_BODY = frozenset({"includeDomains", "excludeDomains", "urls", "ids", "url", "query"})


class Exa(SearchApi):
    """The adapter."""

    name = "exa"
    languages: ClassVar = {"search": _LANGUAGE}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        path = turn.call.path.strip("/")
        if turn.call.method not in ("POST", "PUT", "PATCH"):
            return
        if path in ("search", "findSimilar"):
            narrow_lists(turn, path, _LANGUAGE, body_object(turn, _BODY), ("includeDomains", "excludeDomains"))
        elif path == "contents":
            body = body_object(turn, _BODY)
            fetch(turn, path, [*items(body.get("urls")), *items(body.get("ids"))])
        else:
            turn.always_searches(path.partition("/")[0][:100], "this endpoint cannot be limited to permitted sources")


ADAPTER = Exa()

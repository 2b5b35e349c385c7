"""Perplexity: chat that always searches, and its search API.

Source: docs.perplexity.ai (search domain filter), November 2026. One list: names, or blocked ones with `-`.
"""

from typing import Any, ClassVar

from outward.search.adapter import (
    Observer,
    Plain,
    body_object,
    items,
    reach_parts,
    unknown_endpoint,
)
from outward.search.narrowing import Language
from outward.search.seen import Seen
from outward.search.turn import Turn
from outward.search.vendors.openai_observer import ResponsesObserver

_LANGUAGE = Language(limit=20, blocks=True)
_KEY = "search_domain_filter"
_BODY = frozenset({_KEY, "messages", "model", "tools", "query"})


class Perplexity(Plain):
    """The adapter."""

    name = "perplexity"
    languages: ClassVar = {"chat": _LANGUAGE, "search": _LANGUAGE}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        path = turn.call.path.rstrip("/")
        if turn.call.method != "POST":
            turn.watch = "/async/" in path
        elif path.endswith("/async/chat/completions"):
            body = body_object(turn, frozenset({"request"}))
            self._narrow(turn, body.get("request") if isinstance(body.get("request"), dict) else body)
        elif path.endswith("/chat/completions"):
            self._narrow(turn, body_object(turn, _BODY))
        elif path.endswith("/search"):
            turn.filtered = True
            self._narrow(turn, body_object(turn, _BODY))
        elif path.endswith("embeddings"):
            unknown_endpoint(turn)
        else:
            turn.always_searches("search", "this endpoint cannot be limited to permitted sources")

    def _narrow(self, turn: Turn, body: Any) -> None:
        reach_parts(turn, body.get("messages"))
        given = items(body.get(_KEY))
        allow = [each for each in given if not str(each).startswith("-")]
        block = [str(each)[1:] for each in given if str(each).startswith("-")]
        found = turn.search("search", _LANGUAGE, allow or None, block)
        if found is None:
            turn.must_survive("this vendor searches with every request")
        elif found.allowed or found.blocked:
            body[_KEY] = [*found.allowed, *(f"-{name}" for name in found.blocked)]

    def observer(self, turn: Turn, seen: Seen) -> Observer:
        """Return a reader of chat completions."""
        del turn
        return _Counted(seen)


class _Counted(ResponsesObserver):
    """Counts the searches that the vendor reports, as there is no call to be seen."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen, None)
        self._searched = seen

    def value(self, value: Any) -> None:
        """Read one completion or chunk."""
        super().value(value.get("response") if isinstance(value, dict) and "response" in value else value)
        self._searched.searches = max(self._searched.searches, self._searched.billed, 1)


ADAPTER = Perplexity()

"""What the adapters of plain search APIs share: nothing survives a strip, and responses are filtered exactly."""

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from outward.core.reasons import Reason
from outward.search.adapter import Json, Observer, Plain, domains
from outward.search.evidence import SearchEvidence
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.results import address_of
from outward.search.tools import Action, SearchTool


class SearchApi(Plain):
    """The base of search APIs."""

    filters_responses: ClassVar[bool] = True

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer | None:
        """Return a reader of results."""
        return ResultsObserver(seen, query_of(turn)) if turn.searching else None


class ResultsObserver:
    """Reads one document of results as one search.

    Args:
        seen: where what was found goes.
        query: what was asked, from the request.
    """

    def __init__(self, seen: SearchEvidence, query: str | None) -> None:
        self._seen, self._query = seen, query
        self.complete = False

    def value(self, value: Any) -> None:
        """Read one document, as it is passed on."""
        if not self.complete:
            self._seen.search(None, self._query)
        self.complete = True
        stack = [value]
        while stack:
            each = stack.pop()
            if isinstance(each, list):
                stack.extend(reversed(each))
            elif isinstance(each, dict):
                url = address_of(each)
                if url is not None and url.startswith("http"):
                    self._seen.source(url, each.get("title"))
                stack.extend(reversed(list(each.values())))


def query_of(turn: GovernedRequest) -> str | None:
    """Return what a request asks, where its body says so."""
    body = turn.json
    found = body.get("query", body.get("q")) if isinstance(body, dict) else None
    return found if isinstance(found, str) else None


def narrow_lists(
    turn: GovernedRequest, tool: str, language: FilterCapabilities, body: Json, keys: tuple[str, str]
) -> None:
    """Narrow an allow list and a block list that stand beside each other.

    Args:
        turn: the request.
        tool: the API's name of what searches.
        language: what its filter can say.
        body: the object that holds the lists.
        keys: their names: allow list, block list.
    """
    allow, block = keys
    turn.filtered = True
    found = turn.search(tool, language, domains(body.get(allow)), domains(body.get(block)) or ())
    if found is None:
        turn.must_survive("the request is nothing but a search")
        return
    body.pop(allow, None)
    body.pop(block, None)
    if found.allowed:
        body[allow] = list(found.allowed)
    elif found.blocked:
        body[block] = list(found.blocked)


def by_results(turn: GovernedRequest, tool: str) -> None:
    """Let a search without a filter pass: its response is filtered exactly."""
    turn.filtered = True
    if turn.stop is not None:
        turn.refuse(turn.stop, "the request is nothing but a search", tool)
    turn.findings.append(SearchTool(tool, Action.OBSERVED))


def pages(turn: GovernedRequest, body: Json) -> list[object]:
    """Return every page that the body or the query names: which of them counts is the server's choice."""
    named = [value for key, value in parse_qsl(turn.call.query, keep_blank_values=True) if key.lower() == "url"]
    return [*named, *([body["url"]] if "url" in body else [])]


def fetch(turn: GovernedRequest, tool: str, urls: Iterable[object]) -> None:
    """Judge pages that the API would fetch."""
    turn.filtered = True
    if turn.stop is not None:
        turn.refuse(turn.stop, "the request is nothing but a fetch", tool)
    for url in urls:
        sight = turn.scope.source(url) if isinstance(url, str) else None
        if sight is None or not sight.permitted:
            reason = Reason.MALFORMED_REQUEST if sight is None else sight.reason
            turn.refuse(reason, "a page outside the allowlist", tool)
    turn.findings.append(SearchTool(tool, Action.ALLOWED))

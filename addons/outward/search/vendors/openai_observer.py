"""Reading OpenAI responses and chat completions, whole and streamed, and those of vendors that copied the format."""

import json
from typing import Any

from outward.search.adapter import Json
from outward.search.evidence import SearchEvidence
from outward.search.machines import machine_of

_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete"})


class ResponsesObserver:
    """Reads responses, their events, and chat completions.

    Args:
        seen: where what was found goes.
        sent: the allow list that went upstream; the vendor echoes it.
    """

    def __init__(self, seen: SearchEvidence, sent: tuple[str, ...] | None) -> None:
        self._seen = seen
        self._sent = sent
        self.complete = False

    def value(self, value: Any) -> None:
        """Read one event, response, or chunk."""
        if not isinstance(value, dict):
            return
        kind = value.get("type")
        if isinstance(kind, str):
            self._event(kind, value)
        elif value.get("object") == "response" or "output" in value:
            self._response(value)
            self._seen.at_work = value.get("status") in ("queued", "in_progress")
            self.complete = not self._seen.at_work
        else:
            self._chat(value)

    def _event(self, kind: str, event: Json) -> None:
        if kind in ("response.created", "response.in_progress", *_ENDS) and isinstance(event.get("response"), dict):
            self._response(event["response"])
        elif kind == "response.output_item.added":
            self._began(event.get("item"))
        elif kind == "response.output_item.done":
            self._item(event.get("item"))
        elif kind == "response.output_text.annotation.added":
            self._annotation(event.get("annotation"))
        self.complete = self.complete or kind in _ENDS

    def _began(self, item: Any) -> None:
        if isinstance(item, dict):
            self._seen.machine(machine_of(item))
            if item.get("type") == "web_search_call":
                self._seen.began(item.get("id"))

    def _response(self, response: Json) -> None:
        for tool in _list(response.get("tools")):
            if isinstance(tool, dict) and str(tool.get("type")).startswith("web_search"):
                filters = tool.get("filters")
                self._seen.promise(self._sent, filters.get("allowed_domains") if isinstance(filters, dict) else None)
        for item in _list(response.get("output")):
            self._item(item)
        self._links(response)
        usage = response.get("tool_usage")
        search = usage.get("web_search") if isinstance(usage, dict) else None
        billed = search.get("num_requests") if isinstance(search, dict) else None
        if isinstance(billed, int):
            self._seen.billed = max(self._seen.billed, billed)

    def _item(self, item: Any) -> None:
        if not isinstance(item, dict):
            return
        self._seen.machine(machine_of(item))
        if item.get("type") == "web_search_call":
            self._call(item)
        for part in _list(item.get("content")):
            if isinstance(part, dict):
                for annotation in _list(part.get("annotations")):
                    self._annotation(annotation)

    def _call(self, item: Json) -> None:
        action = item.get("action")
        if not isinstance(action, dict):
            action = arguments(item.get("arguments"))
        if action.get("type", "search") == "search":
            queries = _list(action.get("queries")) or [action.get("query")]
            self._seen.search(item.get("id"), *queries)
            for source in _list(action.get("sources")):
                if isinstance(source, dict):
                    self._seen.source(source.get("url") or source.get("name"), source.get("title"))
        else:
            self._seen.settled(item.get("id"))
            self._seen.source(action.get("url"))

    def _annotation(self, annotation: Any) -> None:
        if not isinstance(annotation, dict) or annotation.get("type") != "url_citation":
            return
        inner = annotation.get("url_citation")
        found = inner if isinstance(inner, dict) else annotation
        self._seen.citation(found.get("url"), found.get("title"))

    def _chat(self, value: Json) -> None:
        self._links(value)
        for choice in _list(value.get("choices")):
            if not isinstance(choice, dict):
                continue
            self.complete = self.complete or choice.get("finish_reason") is not None
            for key in ("message", "delta"):
                message = choice.get(key)
                if isinstance(message, dict):
                    self._message(message)

    def _message(self, message: Json) -> None:
        before = len(self._seen.citations)
        for annotation in _list(message.get("annotations")):
            self._annotation(annotation)
        if len(self._seen.citations) > before:  # this format shows what was cited, and no call
            self._seen.searches = max(self._seen.searches, 1)
        for tool in _list(message.get("executed_tools")):
            self._executed(tool)

    def _executed(self, tool: Any) -> None:
        """Read a tool that Groq ran by itself."""
        found = tool.get("search_results") if isinstance(tool, dict) else None
        results = _list(found.get("results") if isinstance(found, dict) else found)
        if results:
            self._seen.search(tool.get("id"), arguments(tool.get("arguments")).get("query"))
        for result in results:
            if isinstance(result, dict):
                self._seen.source(result.get("url"), result.get("title"))

    def _links(self, value: Json) -> None:
        """Read lists beside the answer, as xAI and Perplexity send them."""
        for url in _list(value.get("citations")):
            self._seen.citation(url.get("url") if isinstance(url, dict) else url)
        for result in _list(value.get("search_results")):
            if isinstance(result, dict):
                self._seen.source(result.get("url"), result.get("title"))
        usage = value.get("usage")
        count = usage.get("num_search_queries", usage.get("num_sources_used")) if isinstance(usage, dict) else None
        if isinstance(count, int):
            self._seen.billed = max(self._seen.billed, count)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def arguments(value: Any) -> Json:
    """Read a call's arguments, which some vendors send as a JSON string."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}

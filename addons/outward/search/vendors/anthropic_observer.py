"""Reading Anthropic messages: whole, streamed, and as batch results."""

import json
from typing import Any

from outward.search.adapter import Json
from outward.search.evidence import SearchEvidence

# The longest streamed tool input that is pieced together; a query is far shorter.
_LONGEST_INPUT = 1 << 16


class MessagesObserver:
    """Reads message events, messages, and lines of batch results."""

    def __init__(self, seen: SearchEvidence) -> None:
        self._seen = seen
        self._open: dict[Any, tuple[Json, list[str]]] = {}
        self.complete = False

    def value(self, value: Any) -> None:
        """Read one event, message, or line."""
        if not isinstance(value, dict):
            return
        match value.get("type"):
            case "message":
                self._seen.thread(value.get("id"))
                self._message(value)
            case "message_start":
                begun = value.get("message")
                self._seen.thread(begun.get("id") if isinstance(begun, dict) else None)
            case "content_block_start":
                self._start(value.get("index"), value.get("content_block"))
            case "content_block_delta":
                self._delta(value.get("index"), value.get("delta"))
            case "content_block_stop":
                self._stop(value.get("index"))
            case "message_delta":
                self._usage(value.get("usage"))
            case "message_stop":
                self.complete = True
            case None:
                self._line(value)

    def _line(self, value: Json) -> None:
        result = value.get("result")
        if isinstance(result, dict) and isinstance(result.get("message"), dict):
            self._message(result["message"])

    def _message(self, message: Json) -> None:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            self._block(block)
        self._usage(message.get("usage"))
        self.complete = True

    def _start(self, index: Any, block: Any) -> None:
        """Begin a block: called from code, a search comes with its whole input and no deltas."""
        if isinstance(block, dict) and block.get("type") == "server_tool_use" and not block.get("input"):
            if len(self._open) < 256:
                self._open[index] = (block, [])
            if block.get("name") == "web_search":
                self._seen.began(block.get("id"))
        else:
            self._block(block)

    def _delta(self, index: Any, delta: Any) -> None:
        if not isinstance(delta, dict):
            return
        if delta.get("type") == "citations_delta":
            self._citation(delta.get("citation"))
        elif delta.get("type") == "input_json_delta" and index in self._open:
            parts = self._open[index][1]
            if sum(map(len, parts)) < _LONGEST_INPUT:
                parts.append(str(delta.get("partial_json", "")))

    def _stop(self, index: Any) -> None:
        block, parts = self._open.pop(index, (None, []))
        if block is None:
            return
        try:
            whole = json.loads("".join(parts) or "{}")
        except ValueError:
            whole = {}
        self._block({**block, "input": whole})

    def _block(self, block: Any) -> None:
        if not isinstance(block, dict):
            return
        content = block.get("content")
        match block.get("type"):
            case "server_tool_use":
                self._use(block)
            case "web_search_tool_result":
                self._results(block.get("tool_use_id"), content)
            case "web_fetch_tool_result":
                if isinstance(content, dict):
                    self._seen.source(content.get("url"))
            case "text":
                citations = block.get("citations")
                for citation in citations if isinstance(citations, list) else ():
                    self._citation(citation)

    def _results(self, ident: Any, content: Any) -> None:
        if isinstance(content, dict) and content.get("type") == "web_search_tool_result_error":
            self._seen.unrun(ident)
            self._seen.too_large |= content.get("error_code") == "request_too_large"
        for result in content if isinstance(content, list) else ():
            if isinstance(result, dict):
                self._seen.source(result.get("url"), result.get("title"))

    def _use(self, block: Json) -> None:
        asked = block.get("input")
        if block.get("name") == "web_search":
            self._seen.search(block.get("id"), asked.get("query") if isinstance(asked, dict) else None)

    def _citation(self, citation: Any) -> None:
        if isinstance(citation, dict) and "url" in citation:
            self._seen.citation(citation.get("url"), citation.get("title"))

    def _usage(self, usage: Any) -> None:
        counts = usage.get("server_tool_use") if isinstance(usage, dict) else None
        billed = counts.get("web_search_requests") if isinstance(counts, dict) else None
        if isinstance(billed, int):
            self._seen.billed = max(self._seen.billed, billed)

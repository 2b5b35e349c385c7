"""Reading Gemini's grounding metadata and the steps of interactions."""

from typing import Any

from outward.search.adapter import Json
from outward.search.evidence import SearchEvidence, host_of

# Results stand behind the vendor's own redirect; only their domain is known.
_REDIRECTS = frozenset({"vertexaisearch.cloud.google.com"})


class GeminiObserver:
    """Reads chunks of content and interaction events."""

    def __init__(self, seen: SearchEvidence) -> None:
        self._seen = seen
        self.complete = False

    def value(self, value: Any) -> None:
        """Read one chunk, event, or document."""
        if not isinstance(value, dict):
            return
        for candidate in _list(value.get("candidates")):
            if isinstance(candidate, dict):
                self.complete = self.complete or candidate.get("finishReason") is not None
                self._grounding(candidate.get("groundingMetadata"))
                self._fetched(candidate.get("urlContextMetadata"))
        self._interaction(value)

    def _grounding(self, metadata: Any) -> None:
        if not isinstance(metadata, dict):
            return
        for query in _list(metadata.get("webSearchQueries")):
            self._seen.search(f"query:{query}", query)
        chunks = _list(metadata.get("groundingChunks"))
        cited = {
            index
            for support in _list(metadata.get("groundingSupports"))
            if isinstance(support, dict)
            for index in _list(support.get("groundingChunkIndices"))
        }
        for index, chunk in enumerate(chunks):
            web = chunk.get("web") if isinstance(chunk, dict) else None
            if isinstance(web, dict):
                self._result(web, cited=False)
                if index in cited:
                    self._result(web, cited=True)

    def _result(self, web: Json, *, cited: bool) -> None:
        uri, title = web.get("uri"), web.get("title")
        if isinstance(uri, str) and host_of(uri) not in _REDIRECTS:
            (self._seen.citation if cited else self._seen.source)(uri, title)
        else:
            self._seen.redirected(uri, web.get("domain") or title, cited=cited)

    def _fetched(self, metadata: Any) -> None:
        for each in _list(metadata.get("urlMetadata") if isinstance(metadata, dict) else None):
            if isinstance(each, dict):
                self._seen.source(each.get("retrievedUrl"))

    def _interaction(self, value: Json) -> None:
        kind = value.get("event_type") or value.get("type")
        if kind == "interaction.completed" or value.get("status") in ("completed", "failed", "cancelled"):
            self.complete = True
        self._seen.at_work = value.get("status") == "in_progress"
        inner = value.get("interaction")
        self._seen.machine(value.get("environment_id"))
        self._seen.machine(inner.get("environment_id") if isinstance(inner, dict) else None)
        for holder in (value, inner if isinstance(inner, dict) else {}):
            for key in ("steps", "outputs"):
                for step in _list(holder.get(key)):
                    self._step(step)
        for key in ("step", "delta"):
            self._step(value.get(key))

    def _step(self, step: Any) -> None:
        if not isinstance(step, dict):
            return
        arguments = step.get("arguments")
        if step.get("type") == "google_search_call" and isinstance(arguments, dict):
            self._seen.search(step.get("id"), *_list(arguments.get("queries")))
        for result in _list(step.get("result")):
            if isinstance(result, dict) and result.get("url"):
                self._result({"uri": result["url"], "title": result.get("title")}, cited=False)
        for part in (step, *_list(step.get("content"))):
            annotations = part.get("annotations") if isinstance(part, dict) else None
            for annotation in _list(annotations):
                if isinstance(annotation, dict) and annotation.get("url"):
                    self._result({"uri": annotation["url"], "title": annotation.get("title")}, cited=True)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

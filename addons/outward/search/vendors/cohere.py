"""Cohere: connectors of the first chat API have no list of domains; the second has only the client's own tools."""

from typing import ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import (
    TYPED,
    Json,
    Plain,
    body_object,
    items,
    keep,
    obj,
    reach_parts,
    replace,
    text,
    unknown_endpoint,
)
from outward.search.turn import Turn


class Cohere(Plain):
    """The adapter."""

    name = "cohere"
    languages: ClassVar = {"web-search": None}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        path = turn.call.path.rstrip("/")
        if turn.call.method != "POST":
            return
        if path.endswith(("/v1/chat", "/v2/chat", "/v1/generate")):
            self._chat(turn, body_object(turn, frozenset({"connectors", "tools", "messages"})))
        elif not path.endswith(("/embed", "/rerank", "/classify", "/tokenize", "/detokenize", "/summarize")):
            unknown_endpoint(turn)

    def _chat(self, turn: Turn, body: Json) -> None:
        reach_parts(turn, body.get("messages"))
        for tool in items(body.get("tools")):
            kind = text(obj(tool, TYPED).get("type")) or "function"
            if kind != "function":
                turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown tool type", kind[:100])
        if body.get("connectors"):
            replace(body, "connectors", keep(items(body["connectors"]), lambda each: self._connector(turn, each)))

    def _connector(self, turn: Turn, connector: Json) -> Json | None:
        name = text(connector.get("id"))
        if name != "web-search":
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a connector keeps its sources at the vendor", name[:100])
        return connector if turn.unfilterable(name, verifiable=False) else None


ADAPTER = Cohere()

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
    replace,
    text,
)
from outward.search.request import GovernedRequest


class Cohere(Plain):
    """The adapter."""

    name = "cohere"
    languages: ClassVar = {"web-search": None}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        if turn.call.schema == "chat":
            self._chat(turn, body_object(turn, frozenset({"connectors", "tools", "messages"})))
        else:
            super().govern(turn)

    def _chat(self, turn: GovernedRequest, body: Json) -> None:
        for tool in items(body.get("tools")):
            turn.tool(text(obj(tool, TYPED).get("type")) or "function")
        if body.get("connectors"):
            replace(body, "connectors", keep(turn, items(body["connectors"]), lambda each: self._connector(turn, each)))

    def _connector(self, turn: GovernedRequest, connector: Json) -> Json | None:
        name = text(connector.get("id"))
        if name != "web-search":
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a connector keeps its sources at the vendor", name[:100])
        return connector if turn.unfilterable(name, verifiable=False) else None

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:
        """Return the vendor's error body, with what its OpenAI-compatible paths say beside it."""
        return {"message": detail, **super().error(detail, reason, status)}


ADAPTER = Cohere()

"""What a vendor's adapter is, and the shapes that several vendors share.

An adapter recognises searches in a request and says how to narrow or strip them, and reads searches out of a response.
It never decides by policy: it asks the turn.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

from outward.core.reasons import Reason
from outward.search.jsonbody import BodyError, check_keys, decode, encode, folded
from outward.search.narrowing import Language
from outward.search.seen import Seen
from outward.search.turn import Turn

Json = dict[str, Any]


class Observer(Protocol):
    """Reads the JSON values of one response."""

    @property
    def complete(self) -> bool:
        """Whether the response has come to its own end."""

    def value(self, value: Any) -> None:
        """Read one event, line, array element or document."""


class Adapter(Protocol):
    """One vendor's wire format."""

    @property
    def name(self) -> str:
        """The vendor's name in metrics, receipts and audit."""

    @property
    def languages(self) -> Mapping[str, Language | None]:
        """What each search tool's filter can say; None for a tool without one."""

    @property
    def filters_responses(self) -> bool:
        """Whether responses are filtered exactly, so that a tool without a filter does no harm."""

    def govern(self, turn: Turn) -> None:
        """Judge a request: ask the turn about every search, change `turn.json`, or refuse."""

    def observer(self, turn: Turn, seen: Seen) -> Observer | None:
        """Return a reader for the response, or None where it holds no searches."""

    def cut(self, detail: str) -> bytes:
        """Return the vendor's own error event, which ends a stream."""

    def refused_domains(self, status: int, body: bytes) -> tuple[str, ...]:
        """Return the domains for which the vendor refused the whole request."""

    def error(self, detail: str) -> Json:
        """Return the members of an error body that the vendor's clients show to a person."""


class Plain:
    """The behaviour that most vendors share."""

    name = ""
    filters_responses: ClassVar[bool] = False
    languages: ClassVar[Mapping[str, Language | None]] = {}

    def observer(self, turn: Turn, seen: Seen) -> Observer | None:  # noqa: ARG002 - part of the interface
        """Read nothing."""
        return None

    def cut(self, detail: str) -> bytes:
        """Return an error event as OpenAI's clients and their likes read it."""
        return b"event: error\ndata: " + encode(self.error(detail)) + b"\n\n"

    def refused_domains(self, status: int, body: bytes) -> tuple[str, ...]:  # noqa: ARG002 - part of the interface
        """Return nothing: only some vendors refuse domains."""
        return ()

    def error(self, detail: str) -> Json:
        """Return the error member that most clients show."""
        return {"error": {"message": detail, "type": "permission_error", "code": "blocked_by_egress_policy"}}


def body_object(turn: Turn, governed: frozenset[str]) -> Json:
    """Decode the body as a JSON object without look-alikes of governed keys.

    Raises:
        BodyError: when it is anything else.
    """
    turn.json = decode(turn.call.body)
    return obj(turn.json, governed)


def obj(value: Any, governed: frozenset[str] = frozenset()) -> Json:
    """Return a value that must be an object."""
    if not isinstance(value, dict):
        raise BodyError("an object was expected")
    check_keys(value, governed)
    return value


def items(value: Any) -> list[Any]:
    """Return a value that must be a list; null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BodyError("a list was expected")
    return value


def domains(value: Any) -> list[Any] | None:
    """Return a caller's domain list; null and an empty list are none, as the vendors read them."""
    return items(value) or None


def text(value: Any) -> str:
    """Return a value that must be a string; null is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BodyError("a string was expected")
    return value


TYPED = frozenset({"type"})


def keep(tools: list[Any], judge: Callable[[Json], Json | None]) -> list[Any]:
    """Return the tools that stay, each as the judge rewrote it."""
    return [kept for tool in tools if (kept := judge(obj(tool, TYPED))) is not None]


# Content parts by type, and where the address stands that the vendor fetches.
_PARTS: dict[str, tuple[str, ...]] = {
    "image": ("source", "url"),
    "document": ("source", "url"),
    "input_image": ("image_url", "url"),
    "input_file": ("file_url", "url"),
    "image_url": ("image_url", "url"),
    "document_url": ("document_url", "url"),
    "video_url": ("video_url", "url"),
    "audio_url": ("audio_url", "url"),
    "file": ("file", "file_data"),
}
# Arguments of tools are data: no vendor fetches what stands in them.
_DATA = frozenset({"input", "arguments", "args", "input_schema", "parameters", "response"})


def reach_parts(turn: Turn, value: Any) -> None:
    """Judge every address in content parts that the vendor would fetch."""
    for part in _parts(value):
        outer, inner = _PARTS[part["type"]]
        found = obj(part, frozenset({outer})).get(outer)
        if isinstance(found, dict):
            found = obj(found, frozenset({inner})).get(inner)
        if isinstance(found, str) and not found.lstrip().lower().startswith(("data:", "gs:")):
            if outer == "file" and ":" not in found[:12]:
                continue  # base64 data, not an address
            turn.reach(found, f"{part['type']} content")


def _parts(value: Any) -> Iterator[Json]:
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack.extend(each)
        elif isinstance(each, dict):
            kind = each.get("type")
            if isinstance(kind, str) and kind in _PARTS:
                yield each
            is_call = isinstance(kind, str) and kind.endswith(("_use", "_call"))
            stack.extend(inner for key, inner in each.items() if not (is_call and key in _DATA))


_CARRIERS = frozenset(
    folded(key)
    for key in (
        "tools",
        "mcp_servers",
        "plugins",
        "connectors",
        "agent",
        "agent_id",
        "assistant_id",
        "preset",
        "network_policy",
        "web_search_options",
        "web_search",
    )
)


def unknown_endpoint(turn: Turn) -> None:
    """Let an endpoint pass that the adapter does not know only where it plainly carries no tools.

    Raises:
        RefusedError: for a body that is not JSON, or that has a place for tools.
    """
    if not turn.call.body:
        return
    try:
        value = decode(turn.call.body)
    except BodyError:
        turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "an unknown endpoint with a body that cannot be read")
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            if any(folded(key) in _CARRIERS for key in each):
                turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "an unknown endpoint that carries tools")
            stack.extend(each.values())
        elif isinstance(each, list):
            stack.extend(each)


def replace(parent: Json, key: str, value: list[Any]) -> None:
    """Put a list in its place, or remove the key where nothing is left."""
    if value:
        parent[key] = value
    else:
        parent.pop(key, None)

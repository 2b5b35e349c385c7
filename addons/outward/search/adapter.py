"""What a vendor's adapter is, and the shapes that several vendors share.

An adapter recognises searches in a request and says how to narrow or strip them, and reads searches out of a response.
It never decides by policy: it asks the turn.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from outward.core.reasons import MEANINGS, Reason
from outward.search.evidence import SearchEvidence
from outward.search.forms import decode_form, is_form
from outward.search.jsonbody import JsonBodyError, check_keys, decode, encode, folded
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest, VendorCall

Json = dict[str, Any]


class Observer(Protocol):
    """Reads the JSON values of one response."""

    @property
    def complete(self) -> bool:
        """Whether the response has come to its own end."""

    def value(self, value: Any) -> None:
        """Read one event, line, array element or document."""


_ERROR_TYPES = {
    400: "invalid_request_error",
    403: "permission_error",
    413: "request_too_large",
    426: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_type(status: int) -> str:
    """Return the type of an error that Anthropic's, OpenAI's and their likes' clients know for a status."""
    return _ERROR_TYPES.get(status, "api_error")


def claude_code_status(reason: Reason, user_agent: str) -> int | None:
    """Return 400 for Claude Code, which takes a 403 for a login that has failed; None for everybody else."""
    cli = user_agent.lower().startswith(("claude-cli", "claude-code"))
    return 400 if cli and MEANINGS[reason].status == 403 else None


class Adapter(Protocol):
    """One vendor's wire format."""

    @property
    def name(self) -> str:
        """The vendor's name in metrics, receipts and audit."""

    @property
    def languages(self) -> Mapping[str, FilterCapabilities | None]:
        """What each search tool's filter can say; None for a tool without one."""

    @property
    def filters_responses(self) -> bool:
        """Whether responses are filtered exactly, so that a tool without a filter does no harm."""

    def disguised(self, call: VendorCall) -> str | None:
        """Return why a request may be another one than its method and path say, or None."""

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema: ask the turn about every search, change `turn.json`, or refuse."""

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer | None:
        """Return a reader for the response, or None if it holds no searches."""

    def cut(self, detail: str) -> bytes:
        """Return the vendor's own error event, which ends a stream."""

    def refused_domains(self, status: int, body: bytes) -> tuple[str, ...]:
        """Return the domains for which the vendor refused the whole request."""

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:
        """Return the members of an error body that the vendor's clients show to a person."""

    def status(self, reason: Reason, user_agent: str) -> int | None:
        """Return the status of a denial for a client, or None for the reason's own."""


class Plain:
    """The behaviour that most vendors share."""

    name = ""
    filters_responses: ClassVar[bool] = False
    languages: ClassVar[Mapping[str, FilterCapabilities | None]] = {}

    def disguised(self, call: VendorCall) -> str | None:  # noqa: ARG002 - part of the interface
        """Return None: what it says, it is."""
        return None

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by a schema that all vendors share.

        Raises:
            LookupError: for a schema that the adapter does not have.
        """
        match turn.call.schema:
            case "plain":
                body_value(turn)
            case "retrieve":
                turn.watch = True
                body_value(turn)
            case "unlisted":
                unlisted(turn)
            case schema:
                raise LookupError(schema)

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer | None:  # noqa: ARG002 - part of the interface
        """Read nothing."""
        return None

    def cut(self, detail: str) -> bytes:
        """Return an error event as OpenAI's clients and their likes read it."""
        return b"event: error\ndata: " + encode(self.error(detail, Reason.SOURCE_OUTSIDE_ALLOWLIST)) + b"\n\n"

    def refused_domains(self, status: int, body: bytes) -> tuple[str, ...]:  # noqa: ARG002 - part of the interface
        """Return nothing: only some vendors refuse domains."""
        return ()

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:
        """Return the error member that most clients show."""
        return {"error": {"message": detail, "type": error_type(status), "param": None, "code": str(reason)}}

    def status(self, reason: Reason, user_agent: str) -> int | None:  # noqa: ARG002 - part of the interface
        """Return None: the reason's own."""
        return None


def body_object(turn: GovernedRequest, governed: frozenset[str]) -> Json:
    """Decode the body as a JSON object without look-alikes of governed keys.

    Raises:
        BodyError: when it is anything else.
    """
    turn.json = decode(turn.call.body)
    return obj(turn.json, governed)


def body_value(turn: GovernedRequest) -> Any:
    """Decode a body of any shape: JSON, a form, or none.

    Raises:
        BodyError: when it is anything else.
    """
    kind = turn.call.headers.get("content-type", "")
    if not turn.call.body:
        turn.json = None
    elif is_form(kind):
        turn.json = decode_form(turn.call.body, kind)
    else:
        turn.json = decode(turn.call.body)
    return turn.json


def obj(value: Any, governed: frozenset[str] = frozenset()) -> Json:
    """Return a value that must be an object."""
    if not isinstance(value, dict):
        raise JsonBodyError("an object was expected")
    check_keys(value, governed)
    return value


def items(value: Any) -> list[Any]:
    """Return a value that must be a list; null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise JsonBodyError("a list was expected")
    return value


def domains(value: Any) -> list[Any] | None:
    """Return a caller's domain list; null and an empty list are none, as the vendors read them."""
    return items(value) or None


def text(value: Any) -> str:
    """Return a value that must be a string; null is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise JsonBodyError("a string was expected")
    return value


TYPED = frozenset({"type"})


def keep(turn: GovernedRequest, tools: list[Any], judge: Callable[[Json], Json | None]) -> list[Any]:
    """Return the tools that stay, each as the judge rewrote it."""
    return [turn.judged(kept) for tool in tools if (kept := judge(obj(tool, TYPED))) is not None]


_ASKS = re.compile(r"\s*(?:please )?(?:perform|do|run|execute) a (?:web )?search\b", re.IGNORECASE)
_SYSTEM = re.compile(r"performing a web search", re.IGNORECASE)
_FORCED = frozenset({"any", "required"})


def asks_only(body: Json) -> bool:
    """Tell whether a request whose tools are all searches asks for nothing else.

    It does where a tool must be called, and where a program of somebody else asks in the words that it has for that:
    Claude Code searches in a request of its own.
    """
    holders = (body, body.get("completion_args"), body.get("generation_config"))
    choice = next((found for each in holders if isinstance(each, dict) and (found := each.get("tool_choice"))), None)
    if (isinstance(choice, str) and choice in _FORCED) or (isinstance(choice, dict) and choice.get("type") != "auto"):
        return True
    asked = body.get("messages", body.get("input"))
    if isinstance(asked, list):
        asked = asked[0].get("content") if len(asked) == 1 and isinstance(asked[0], dict) else None
    return bool(_ASKS.match(_first_text(asked)) or _SYSTEM.search(_first_text(body.get("system"))))


def _first_text(value: Any) -> str:
    """Return the first words of a content, plain or in parts."""
    if isinstance(value, list):
        value = " ".join(str(part.get("text", ""))[:1000] for part in value[:4] if isinstance(part, dict))
    return value[:4000] if isinstance(value, str) else ""


def keep_tools(
    turn: GovernedRequest, body: Json, judge: Callable[[Json], Json | None], key: str = "tools"
) -> list[Any]:
    """Judge a request's tools in place, and return those that stay.

    Raises:
        RefusedError: where a search was all that the request asked for: without it a model answers from memory, and who
            asked takes that for what was found.
    """
    before = items(body.get(key))
    kept = keep(turn, before, judge)
    if before and not kept and turn.audited and asks_only(body):
        turn.must_survive("a search was all that this request asked for")
    if key in body:
        replace(body, key, kept)
    return kept


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


def unlisted(turn: GovernedRequest) -> None:
    """Judge the body of an endpoint that the policy opened: nobody knows its tools, so it may have no place for them.

    Raises:
        RefusedError: for a body that has one.
    """
    stack = [body_value(turn)]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            if any(folded(key) in _CARRIERS for key in each):
                turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "an endpoint that no table names, with a place for tools")
            stack.extend(each.values())
        elif isinstance(each, list):
            stack.extend(each)


def replace(parent: Json, key: str, value: list[Any]) -> None:
    """Put a list in its place, or remove the key where nothing is left."""
    if value:
        parent[key] = value
    else:
        parent.pop(key, None)

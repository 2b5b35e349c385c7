"""Gemini and Vertex: generateContent, its streams, and interactions.

Google's search tools have no allow list (googleapis/python-genai#2336): they go, or stay to be judged by what they
find. camelCase and snake_case are the same to the vendor, so they are here; a key in both spellings is refused.
"""

import re
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from outward.core.reasons import Reason
from outward.search.adapter import Json, Observer, Plain, items, obj, replace
from outward.search.evidence import SearchEvidence
from outward.search.jsonbody import JsonBodyError, decode, folded
from outward.search.machines import MachineObserver
from outward.search.request import GovernedRequest, VendorCall
from outward.search.surface import DENIALS, Tool
from outward.search.vendors.gemini_interactions import environment, interaction
from outward.search.vendors.gemini_observer import GeminiObserver

_UNVERIFIABLE = frozenset({"googlemaps", "exaaisearch", "parallelaisearch"})
_EXCLUDING = frozenset({"googlesearch", "enterprisewebsearch"})
_REWRITING = frozenset({"$httpmethod", "$httpheaders", "$req", "$ct", "x-http-method-override"})
_STATUS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
_MOST_EXCLUDED = 2000
_URL = re.compile(r"https?://[^\s<>\"'`)\]}]+", re.IGNORECASE)
_HOLD_FILES = frozenset({"parts", "filedata", "functionresponse"})


class Gemini(Plain):
    """The adapter."""

    name = "gemini"
    languages: ClassVar = {"googleSearch": None, "urlContext": None}

    def disguised(self, call: VendorCall) -> str | None:
        """Tell of a parameter that stands for another method, head or body."""
        names = {name.lower() for name, _ in parse_qsl(call.query, keep_blank_values=True)}
        return "a parameter stands for another method, head or body" if names & _REWRITING else None

    def govern(self, turn: GovernedRequest) -> None:
        """Judge a request by its schema."""
        match turn.call.schema:
            case "content":
                self._content(turn, _body(turn))
            case "count":
                turn.audited = False
                self._content(turn, _body(turn))
            case "wrapped" | "wrapped_count":  # Gemini CLI, signed in
                turn.audited = turn.call.schema == "wrapped"
                self._content(turn, obj(_get(_body(turn), "request") or {}))
            case "batch":
                self._batch(turn, _body(turn))
            case "interaction":
                interaction(turn, _body(turn), self.stays)
            case "environment":
                turn.json = environment(turn, _body(turn))
            case _:
                super().govern(turn)

    def _batch(self, turn: GovernedRequest, body: Json) -> None:
        """Judge each request of a batch that holds them itself; its answers come later, and are not read."""
        config = _inner(_inner(body, "batch"), "inputConfig")
        requests = _inner(config, "requests")
        if len(config) != 1 or not requests:
            turn.refuse(*DENIALS["batch"], "batch")
        for each in items(_get(requests, "requests")):
            self._content(turn, _inner(obj(each), "request"))

    def _content(self, turn: GovernedRequest, body: Json) -> None:
        _no_twins(body)
        inner = _get(body, "generateContentRequest")
        if inner is not None:  # countTokens wraps the request
            self._content(turn, obj(inner))
        _no_twins_below(body)
        key = _spelling(body, "tools")
        if key is None:
            return
        given = body[key]
        tools = items(given if isinstance(given, list) else [given])
        before = len(turn.findings)
        kept = [each for tool in tools if (each := self._tool(turn, obj(tool), body))]
        if len(turn.findings) > before:
            if not kept and turn.audited and _asks_only(turn, body):
                turn.must_survive("a search was all that this request asked for")
            replace(body, key, kept)
            config = _spelling(body, "toolConfig")
            if not kept and config is not None:
                del body[config]

    def _tool(self, turn: GovernedRequest, tool: Json, body: Json) -> Json:
        """Return a tool without the capabilities that must go; one object may hold several."""
        _no_twins(tool)
        return {key: value for key, value in tool.items() if self.stays(turn, folded(key), key, value, body)}

    def stays(self, turn: GovernedRequest, name: str, key: str, value: Any, body: Json) -> bool:
        """Tell whether a capability stays.

        Args:
            turn: the request.
            name: of the capability, without case and separators.
            key: the name as it stands in the request.
            value: what stands under it.
            body: of the request.
        """
        does = None if value is None else turn.tool(name)
        if does in (Tool.SEARCH, Tool.FETCH):
            if name in _UNVERIFIABLE or turn.call.schema == "batch":
                return turn.unfilterable(key, verifiable=False)
            return _verified(turn, name, key, value, body)
        if does is Tool.AGENT:
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "what this tool reaches cannot be seen", key[:100])
        if name == "retrieval" and isinstance(value, dict) and _get(value, "externalApi") is not None:
            turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an interface that the vendor would call", key[:100])
        return True

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer:
        """Return a reader of content, its streams, and interactions."""
        if turn.call.schema == "environment":
            return MachineObserver(seen, "id")
        return GeminiObserver(seen)

    def cut(self, detail: str) -> bytes:
        """Return an error as the vendor sends it in a stream."""
        return super().cut(detail).partition(b"\n")[2]

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:
        """Return the error member of the vendor's error bodies (google.rpc.Status).

        Its word stands at the top too: the vendor's client looks for `status` there first.
        """
        del reason
        word = _STATUS.get(status, "FAILED_PRECONDITION")
        return {"status": word, "error": {"code": status, "message": detail, "status": word}}


def _verified(turn: GovernedRequest, name: str, key: str, value: Any, body: Json) -> bool:
    """Tell whether a tool stays that is judged by what it finds; what can be said beforehand is said."""
    if not turn.unfilterable(key):
        return False
    if name in _EXCLUDING and turn.call.host.endswith("aiplatform.googleapis.com"):
        _exclude(turn, obj(value))
    if name == "urlcontext":
        for url in _URL.findall(str(_get(body, "contents") or body.get("input"))):
            turn.reach(url.rstrip(".,;:!?"), "URL in the prompt")
    return True


def _asks_only(turn: GovernedRequest, body: Json) -> bool:
    """Tell whether a request is Gemini CLI's own for a search: one turn, and whatever else tells it apart."""
    turns = _get(body, "contents")
    if isinstance(turns, list) and len(turns) > 1:
        return False
    cli = "geminicli" in turn.call.headers.get("user-agent", "").lower() or turn.call.schema == "wrapped"
    return cli or _get(body, "systemInstruction") is not None


def _body(turn: GovernedRequest) -> Json:
    turn.json = decode(turn.call.body)
    found = obj(turn.json)
    _no_twins(found)
    return found


def _no_twins(value: Json) -> None:
    if len({folded(key) for key in value}) != len(value):
        raise JsonBodyError("a key in two spellings")


def _inner(value: Json, name: str) -> Json:
    """Return an object within another, empty if there is none."""
    _no_twins(value)
    found = obj(_get(value, name) or {})
    _no_twins(found)
    return found


def _spelling(value: Json, name: str) -> str | None:
    """Return the key under which a name stands, in whichever spelling."""
    return next((key for key in value if folded(key) == folded(name)), None)


def _get(value: Json, name: str) -> Any:
    key = _spelling(value, name)
    return None if key is None else value[key]


def _exclude(turn: GovernedRequest, tool: Json) -> None:
    """Add the deny rules to Vertex's exclude list: no substitute for an allow list, but the vendor's own work."""
    key = _spelling(tool, "excludeDomains") or "excludeDomains"
    names = {str(name) for name in items(tool.get(key))} | set(turn.scope.denied.bases)
    if names:
        tool[key] = sorted(names)[:_MOST_EXCLUDED]


def _no_twins_below(body: Json) -> None:
    """Refuse a key in two spellings wherever an address may stand."""
    stack: list[Any] = [_get(body, "contents"), _get(body, "systemInstruction")]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack.extend(each)
        elif isinstance(each, dict):
            _no_twins(each)
            stack.extend(each[key] for key in each if folded(key) in _HOLD_FILES)


ADAPTER = Gemini()

"""Gemini and Vertex: generateContent, its streams, and interactions.

Google's search tools have no allow list (googleapis/python-genai#2336): they go, or stay to be judged by what they
find. camelCase and snake_case are the same to the vendor, so they are here; a key in both spellings is refused.
"""

import re
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from outward.core.reasons import Reason
from outward.search.adapter import Json, Observer, Plain, items, keep, obj, reach_parts, replace, text, unknown_endpoint
from outward.search.jsonbody import BodyError, decode, folded
from outward.search.seen import Seen
from outward.search.turn import Turn
from outward.search.vendors.gemini_observer import GeminiObserver

_SEARCH = frozenset({"googlesearch", "googlesearchretrieval", "enterprisewebsearch"})
_UNVERIFIABLE = frozenset({"googlemaps", "computeruse", "exaaisearch", "parallelaisearch"})
_HARMLESS = frozenset({"functiondeclarations", "codeexecution", "filesearch"})
_EXCLUDING = frozenset({"googlesearch", "enterprisewebsearch"})
_REWRITING = frozenset({"$httpmethod", "$httpheaders", "$req", "$ct", "x-http-method-override"})
_MOST_EXCLUDED = 2000
_URL = re.compile(r"https?://[^\s<>\"'`)\]}]+", re.IGNORECASE)
_TYPES = {"google_search": "googlesearch", "url_context": "urlcontext", "google_maps": "googlemaps"}


class Gemini(Plain):
    """The adapter."""

    name = "gemini"
    languages: ClassVar = {"googleSearch": None, "urlContext": None}

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        path, method = turn.call.path.rstrip("/"), turn.call.method
        names = {name.lower() for name, _ in parse_qsl(turn.call.query, keep_blank_values=True)}
        if names & _REWRITING:
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "a parameter stands for another method, head or body", "query")
        if method != "POST":
            turn.watch = method == "GET" and bool(re.search(r"/interactions/[^/]+$", path))
        elif re.search(r":(generateContent|streamGenerateContent|countTokens)$", path):
            turn.audited = not path.endswith(":countTokens")
            self._content(turn, _body(turn))
        elif path.endswith("/interactions"):
            self._interaction(turn, _body(turn))
        elif re.search(r":batchGenerateContent$|/cachedContents$|/openai/|/endpoints/openapi/|BidiGenerate", path):
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "this endpoint's tools cannot be judged", "endpoint")
        elif re.search(r":(embedContent|batchEmbedContents|predict|asyncBatchEmbedContent)$|^/upload/", path):
            return
        else:
            unknown_endpoint(turn)

    def _content(self, turn: Turn, body: Json) -> None:
        inner = _get(body, "generateContentRequest")
        if inner is not None:  # countTokens wraps the request
            self._content(turn, obj(inner))
        if _get(body, "cachedContent"):
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "cached content may hold tools", "cachedContent")
        _reach_files(turn, body)
        key = _spelling(body, "tools")
        if key is None:
            return
        given = body[key]
        tools = items(given if isinstance(given, list) else [given])
        before = len(turn.findings)
        kept = [each for tool in tools if (each := self._tool(turn, obj(tool), body))]
        if len(turn.findings) > before:
            replace(body, key, kept)
            config = _spelling(body, "toolConfig")
            if not kept and config is not None:
                del body[config]

    def _tool(self, turn: Turn, tool: Json, body: Json) -> Json:
        """Return a tool without the capabilities that must go; one object may hold several."""
        _no_twins(tool)
        return {key: value for key, value in tool.items() if self._stays(turn, folded(key), key, value, body)}

    def _stays(self, turn: Turn, name: str, key: str, value: Any, body: Json) -> bool:
        if name in _HARMLESS or value is None:
            return True
        if name in _SEARCH or name == "urlcontext":
            return _verified(turn, name, key, value, body)
        if name in _UNVERIFIABLE:
            return turn.unfilterable(key, verifiable=False)
        if name == "mcpservers":
            for server in items(value):
                transport = _get(obj(server), "streamableHttpTransport") or {}
                turn.reach(obj(transport).get("url"), "MCP server")
            return True
        if name == "retrieval" and isinstance(value, dict) and _get(value, "externalApi") is None:
            return True
        return turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown tool", key[:100])

    def _interaction(self, turn: Turn, body: Json) -> None:
        if body.get("agent") is not None:
            turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "an agent keeps its tools at the vendor", "agent")
        reach_parts(turn, body.get("input"))
        tools = items(body.get("tools"))
        kept = keep(tools, lambda tool: self._interaction_tool(turn, tool, body))
        if "tools" in body and turn.findings:
            replace(body, "tools", kept)
            config = _get(body, "generationConfig")
            choice = _spelling(config, "toolChoice") if isinstance(config, dict) else None
            if not kept and choice is not None:
                del config[choice]

    def _interaction_tool(self, turn: Turn, tool: Json, body: Json) -> Json | None:
        kind = text(tool.get("type"))
        if kind in ("function", "code_execution", "file_search"):
            return tool
        if kind == "mcp_server":
            turn.reach(tool.get("url"), "MCP server")
            return tool
        return tool if self._stays(turn, _TYPES.get(kind, "unknown " + kind), kind, tool, body) else None

    def observer(self, turn: Turn, seen: Seen) -> Observer:
        """Return a reader of content, its streams, and interactions."""
        del turn
        return GeminiObserver(seen)

    def cut(self, detail: str) -> bytes:
        """Return an error as the vendor sends it in a stream."""
        return super().cut(detail).partition(b"\n")[2]

    def error(self, detail: str) -> Json:
        """Return the error member of the vendor's error bodies (google.rpc.Status)."""
        return {"error": {"code": 403, "message": detail, "status": "PERMISSION_DENIED"}}


def _verified(turn: Turn, name: str, key: str, value: Any, body: Json) -> bool:
    """Tell whether a tool stays that is judged by what it finds; what can be said beforehand is said."""
    if not turn.unfilterable(key):
        return False
    if name in _EXCLUDING and turn.call.host.endswith("aiplatform.googleapis.com"):
        _exclude(turn, obj(value))
    if name == "urlcontext":
        for url in _URL.findall(str(_get(body, "contents") or body.get("input"))):
            turn.reach(url.rstrip(".,;:!?"), "URL in the prompt")
    return True


def _body(turn: Turn) -> Json:
    turn.json = decode(turn.call.body)
    found = obj(turn.json)
    _no_twins(found)
    return found


def _no_twins(value: Json) -> None:
    if len({folded(key) for key in value}) != len(value):
        raise BodyError("a key in two spellings")


def _spelling(value: Json, name: str) -> str | None:
    """Return the key under which a name stands, in whichever spelling."""
    return next((key for key in value if folded(key) == folded(name)), None)


def _get(value: Json, name: str) -> Any:
    key = _spelling(value, name)
    return None if key is None else value[key]


def _exclude(turn: Turn, tool: Json) -> None:
    """Add the deny rules to Vertex's exclude list: no substitute for an allow list, but the vendor's own work."""
    key = _spelling(tool, "excludeDomains") or "excludeDomains"
    names = {str(name) for name in items(tool.get(key))} | set(turn.scope.denied.bases)
    if names:
        tool[key] = sorted(names)[:_MOST_EXCLUDED]


def _reach_files(turn: Turn, body: Json) -> None:
    """Judge file addresses that the vendor would fetch; its own storage aside."""
    stack: list[Any] = [_get(body, "contents"), _get(body, "systemInstruction")]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack.extend(each)
        elif isinstance(each, dict):
            _no_twins(each)
            data = _get(each, "fileData")
            uri = _get(data, "fileUri") if isinstance(data, dict) else None
            if isinstance(uri, str) and not uri.startswith(("gs://", f"https://{turn.call.host}/")):
                turn.reach(uri, "file address")
            stack.extend(each[key] for key in each if folded(key) == "parts")


ADAPTER = Gemini()

"""MCP over Streamable HTTP: `tools/call` on servers whose search tools are configured or well known.

A tool's name is no proof, so only named tools of named hosts count. Since 2026-07-28 headers repeat parts of the body
and must agree with it; what is rewritten in the body is rewritten there too.
"""

from typing import Any, ClassVar

from outward.core.reasons import Reason
from outward.search.adapter import Json, Observer, Plain, items, obj, text
from outward.search.evidence import SearchEvidence
from outward.search.jsonbody import JsonBodyError, decode, folded
from outward.search.narrowing import FilterCapabilities
from outward.search.request import GovernedRequest
from outward.search.results import OWN_URL
from outward.search.search_api import ResultsObserver, by_results, fetch, narrow_lists
from outward.search.surface import Tool
from outward.search.walk import is_address

# Argument names of each format: allow list, block list.
_LISTS: dict[str, tuple[str, str]] = {
    "tavily": ("include_domains", "exclude_domains"),
    "exa": ("includeDomains", "excludeDomains"),
}
# Servers that are known to search, and the format of their tools.
_BRANDS = {".tavily.com": "tavily", ".exa.ai": "exa", ".firecrawl.dev": "firecrawl", ".parallel.ai": "parallel"}
_LANGUAGE = FilterCapabilities(limit=300, blocks=True)
_EARLIER = "the answer to an earlier call, which is not this one to judge"
_PARAM = "mcp-param-"


class Mcp(Plain):
    """The adapter."""

    name = "mcp"
    filters_responses: ClassVar[bool] = True
    languages: ClassVar = {"tavily_search": _LANGUAGE, "web_search_exa": None}

    def govern(self, turn: GovernedRequest) -> None:
        """Judge every message of a request."""
        if turn.call.schema == "listen":
            _listen(turn)
            return
        turn.json = decode(turn.call.body)
        single = not isinstance(turn.json, list)
        for message in [turn.json] if single else turn.json:
            self._message(turn, obj(message, frozenset({"method", "params"})))
        if single:
            _agree(turn, turn.json)

    def _message(self, turn: GovernedRequest, message: Json) -> None:
        method = text(message.get("method"))
        if method == "tasks/result":
            turn.refuse(turn.stop or Reason.WEB_SEARCH_UNINSPECTABLE, _EARLIER, method)
        if method == "resources/read" and _brand(turn.call.host) is not None:
            uri = obj(message.get("params"), frozenset({"uri"})).get("uri")
            fetch(turn, method, [uri] if isinstance(uri, str) and is_address(uri) else [])
        if method != "tools/call":
            return
        params = obj(message.get("params"), frozenset({"name", "arguments"}))
        name = text(params.get("name"))
        kind = turn.mcp_tools.get(name) or self._well_known(turn, name)
        if kind is None:
            return
        arguments = obj(params.setdefault("arguments", {}))
        before = {key: repr(value) for key, value in arguments.items()}
        self._call(turn, name, kind, arguments)
        _mirror(turn, before, arguments)

    def _well_known(self, turn: GovernedRequest, name: str) -> str | None:
        """Return the format of a tool of a server that is known to search; None for a tool that does not."""
        brand = _brand(turn.call.host)
        if brand is None:
            return None  # a server that the policy allows, and a tool that it does not call a search
        does = turn.tool(name)
        if does is Tool.AGENT:
            turn.always_searches(name, "research cannot be limited to permitted sources")
        return None if does is Tool.OWN else brand

    def _call(self, turn: GovernedRequest, name: str, kind: str, arguments: Json) -> None:
        if "research" in name and turn.surface.tool(name) is None:
            turn.always_searches(name, "research cannot be limited to permitted sources")
        pages = [*items(arguments.get("urls")), *([arguments["url"]] if "url" in arguments else [])]
        if pages:
            fetch(turn, name, pages)
            if "crawl" in name or "map" in name:
                arguments["allow_external"] = False
            return
        lists = _LISTS.get(kind)
        plain = kind == "exa" and "advanced" not in name and not any(key in arguments for key in lists or ())
        if lists is None or plain:
            by_results(turn, name)
        else:
            obj(arguments, frozenset(lists))
            narrow_lists(turn, name, _LANGUAGE, arguments, lists)

    def observer(self, turn: GovernedRequest, seen: SearchEvidence) -> Observer | None:
        """Return a reader of the messages that are passed on."""
        if not turn.searching:
            return None
        messages = turn.json if isinstance(turn.json, list) else [turn.json] if turn.json else []
        asked = next((m["params"]["arguments"].get("query") for m in messages if m.get("method") == "tools/call"), None)
        return _ToolObserver(seen, asked if isinstance(asked, str) else None)

    def error(self, detail: str, reason: Reason, status: int = 403) -> Json:
        """Return the members of a JSON-RPC error for a call that nobody can tell."""
        del reason, status
        return rpc_error(None, detail)


class _ToolObserver(ResultsObserver):
    """Reads results out of a tool's structured content and its text."""

    def value(self, value: Any) -> None:
        """Read one JSON-RPC message."""
        result = value.get("result") if isinstance(value, dict) else None
        if not isinstance(result, dict):
            return
        texts = [block.get("text") for block in items(result.get("content")) if isinstance(block, dict)]
        super().value(
            [result.get("structuredContent"), *(_results_in(each) for each in texts if isinstance(each, str))]
        )


def _results_in(content: str) -> Any:
    """Return the results in a tool's text: JSON, or lines that name an address."""
    try:
        return decode(content.encode())
    except (JsonBodyError, UnicodeEncodeError):
        return [{"url": url} for url in OWN_URL.findall(content)]


def _listen(turn: GovernedRequest) -> None:
    """Let a stream of messages pass, each filtered; one that is taken up again answers calls that nobody here saw."""
    turn.filtered = turn.watch = True
    if "last-event-id" in turn.call.headers:
        turn.refuse(turn.stop or Reason.WEB_SEARCH_UNINSPECTABLE, _EARLIER, "stream")


_RESULTS_ONLY = ("opencode/",)


def rpc_id(body: bytes) -> str | int | None:
    """Return the id of the one call in a body; None if there is none, or there are several."""
    try:
        message = decode(body)
    except JsonBodyError:
        return None
    found = message.get("id") if isinstance(message, dict) and "method" in message else None
    return found if isinstance(found, (str, int)) and not isinstance(found, bool) else None


def rpc_error(call: str | int | None, message: str, user_agent: str = "") -> Json:
    """Return the answer to a call that is refused: an error (JSON-RPC 2.0, 5.1).

    For a client that looks for a result only, and shows nothing of an error, it is a result that has failed (MCP
    2025-11-25, tools, error handling).
    """
    answer: Json = {"jsonrpc": "2.0", "id": call}
    if user_agent.lower().startswith(_RESULTS_ONLY):
        return {**answer, "result": {"content": [{"type": "text", "text": message}], "isError": True}}
    return {**answer, "error": {"code": -32001, "message": message}}


def _brand(host: str) -> str | None:
    """Return the format of the tools of a server that is known to search."""
    return next((brand for suffix, brand in _BRANDS.items() if host.endswith(suffix)), None)


def _agree(turn: GovernedRequest, message: Json) -> None:
    """Refuse headers that say something else than the body.

    Raises:
        BodyError: on a mismatch.
    """
    headers = turn.call.headers
    params = message.get("params")
    name = params.get("name", params.get("uri")) if isinstance(params, dict) else None
    if headers.get("mcp-method", message.get("method")) != message.get("method"):
        raise JsonBodyError("Mcp-Method and the body differ")
    if "mcp-name" in headers and headers["mcp-name"] != name:
        raise JsonBodyError("Mcp-Name and the body differ")


def _mirror(turn: GovernedRequest, before: dict[str, str], arguments: Json) -> None:
    """Make the headers that repeat arguments agree with the rewritten ones."""
    names = {folded(header.removeprefix(_PARAM)): header for header in turn.call.headers if header.startswith(_PARAM)}
    for key in {*before, *arguments}:
        header = names.get(folded(key))
        if header is not None and before.get(key) != (repr(arguments[key]) if key in arguments else None):
            value = arguments.get(key)
            turn.headers[header] = value if isinstance(value, str) else None


ADAPTER = Mcp()

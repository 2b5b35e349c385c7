"""Exact filtering of search results: in JSON of any shape, and in the text that MCP tools return.

What a result is: an object with an address of its own. What was written from all results together (answers, contexts)
goes when a result goes, because it may hold what the result held.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from outward.search.jsonbody import JsonBodyError, crowded, decode, encode

Permits = Callable[[str], bool]
_ADDRESS = ("url", "link", "website", "source_url", "sourceUrl", "pageUrl")
_WRITTEN = frozenset({"answer", "context", "output", "summary", "summarizer", "mixed", "answerBox", "text_summary"})
_URL = re.compile(r"https?://[^\s<>\"'`)\]}]+", re.IGNORECASE)
OWN_URL = re.compile(r"^\W*(?:URL|Link|Source)\W*:\W*(https?://\S+)", re.IGNORECASE | re.MULTILINE)
_BEGINS = re.compile(r"(?m)^(?=\W*(?:Title\W*:|\d{1,3}[.)]\s|#{1,4}\s|---\s*$))")
REMOVED = "[results outside the allowlist were removed]"


def address_of(value: dict[str, Any]) -> str | None:
    """Return the address that an object stands for, or None."""
    for key in _ADDRESS:
        found = value.get(key)
        if isinstance(found, str) and found:
            return found
    return None


def filter_json(value: Any, permits: Permits) -> int:
    """Remove from a value, in place, every result that is not permitted; returns how many were removed."""
    removed, stack = 0, [value]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            kept = [item for item in each if _stays(item, permits)]
            removed += len(each) - len(kept)
            each[:] = kept
            stack.extend(kept)
        elif isinstance(each, dict):
            gone = [key for key, item in each.items() if isinstance(item, dict) and not _stays(item, permits)]
            for key in gone:
                del each[key]
            removed += len(gone)
            stack.extend(each.values())
    if removed and isinstance(value, dict):
        for key in _WRITTEN & value.keys():
            del value[key]
    return removed


def _stays(item: Any, permits: Permits) -> bool:
    if isinstance(item, dict):
        url = address_of(item)
        return url is None or permits(url)
    return not (isinstance(item, str) and _URL.fullmatch(item)) or permits(item)


def filter_text(text: str, permits: Permits) -> str:
    """Return a tool's text without the results that are not permitted: JSON exactly, prose by its sections."""
    if text.lstrip().startswith(("{", "[")):
        try:
            value = decode(text.encode())
        except (JsonBodyError, UnicodeEncodeError):
            pass
        else:
            return encode(value).decode() if filter_json(value, permits) else text
    if all(permits(url) for url in _URL.findall(text)):
        return text
    sections = _BEGINS.split(text)
    kept = [section for section in sections if _section_stays(section, permits)]
    return "".join((*kept, REMOVED))


def _section_stays(section: str, permits: Permits) -> bool:
    """Judge a section by the address that it gives itself, else by every address in it."""
    own = OWN_URL.findall(section)
    return all(permits(url) for url in own or _URL.findall(section))


def filter_tool_results(message: Any, permits: Permits) -> None:
    """Filter the results within one JSON-RPC message of an MCP server, in place."""
    for each in message if isinstance(message, list) else [message]:
        result = each.get("result") if isinstance(each, dict) else None
        if not isinstance(result, dict):
            continue
        if "structuredContent" in result:
            filter_json(result["structuredContent"], permits)
        for block in result.get("content") or ():
            if isinstance(block, dict) and isinstance(block.get("text"), str):
                block["text"] = filter_text(block["text"], permits)
        content = result.get("content")
        if isinstance(content, list):
            content[:] = [block for block in content if _block_stays(block, permits)]


def _block_stays(block: Any, permits: Permits) -> bool:
    """Judge a link or an embedded resource by its address."""
    if not isinstance(block, dict):
        return True
    inner = block.get("resource")
    uri = inner.get("uri") if isinstance(inner, dict) else block.get("uri")
    return not (isinstance(uri, str) and uri.startswith("http")) or permits(uri)


def filter_events(body: bytes, change: Callable[[Any], None]) -> bytes:
    """Rewrite the data of server-sent events; what is not JSON is dropped.

    An event without data says where to go on from, or keeps the connection open: MCP's clients fail without it.
    """
    out = []
    for event in re.split(rb"\r\n\r\n|\n\n|\r\r", body):
        lines = [line for line in re.split(rb"\r\n|\n|\r", event) if line]
        if not lines:
            continue
        others = [line for line in lines if not line.startswith((b"data", b":"))]
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        if not data.strip():
            bare = [b"data:"] if any(line.startswith(b"data") for line in lines) else []
            out.append(b"\n".join((*others, *bare) or (b":",)) + b"\n\n")
            continue
        try:
            value = json.loads(data) if not crowded(data) else None
        except (ValueError, RecursionError):
            value = None
        if value is None:
            continue
        change(value)
        out.append(b"\n".join((*others, b"data: " + encode(value))) + b"\n\n")
    return b"".join(out)

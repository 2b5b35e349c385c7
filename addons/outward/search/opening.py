"""The line of a policy that would let through what no table names. Never echoes what may be somebody's own name."""

import re

from outward.core.reasons import Reason

_OPENS = {
    Reason.WEB_SEARCH_UNKNOWN_ENDPOINT: "allow_endpoints",
    Reason.WEB_SEARCH_UNKNOWN_TOOL: "allow_tools",
    Reason.WEB_SEARCH_UNKNOWN_FIELD: "allow_fields",
}
_PLAIN = re.compile(r"[A-Za-z0-9_.:{}/ -]{1,200}")
_WORD = re.compile(r"v\d+(?:(?:alpha|beta|internal)\d*)?|[a-z][a-z_.-]*(?::[a-zA-Z]+)?|\{\}:[a-zA-Z]+", re.IGNORECASE)
_LONGEST_WORD = 32


def opening(host: str, vendor: str, reason: Reason, what: str) -> str | None:
    """Return the line of a policy that would let something unknown through, or None if it cannot be said plainly.

    Example:
        >>> opening("api.openai.com", "openai", Reason.WEB_SEARCH_UNKNOWN_ENDPOINT, "POST /v1/new/{}")
        'vendors: {api.openai.com: {adapter: openai, allow_endpoints: ["POST /v1/new/{}"]}}'
    """
    key = _OPENS.get(reason)
    if key is None or not _PLAIN.fullmatch(what):
        return None
    return f'vendors: {{{host}: {{adapter: {vendor}, {key}: ["{what}"]}}}}'


def endpoint_line(method: str, path: str) -> str:
    """Return a method and a path with `{}` for whatever looks like somebody's own name."""
    segments = (_segment(each) for each in path.strip("/").split("/"))
    return f"{method} /{'/'.join(segments)}"


def _segment(text: str) -> str:
    name, colon, verb = text.partition(":")
    if colon and verb.isalpha() and len(verb) < _LONGEST_WORD:
        return f"{_segment(name)}:{verb}"
    return text if len(text) <= _LONGEST_WORD and _WORD.fullmatch(text) else "{}"

"""Two nets for whatever a body names that the vendor would fetch or call.

The first are the keys that the vendor's table knows, the second any address under a key that it does not know.
"""

import re
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from outward.core.reasons import Reason
from outward.search.jsonbody import folded
from outward.search.surface import DENIALS, Field, Fields
from outward.search.turn import Turn

_ADDRESS = re.compile(r"[\s\x00-\x1f]*(?:https?|wss?|ftps?|s3|gs|git(?:\+\w+)?|ssh):[/\\]", re.IGNORECASE)
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_HOST = re.compile(r"\s*(?:[/\\]{2})?(?:[\w-]+\.)+[\w-]+\.?(?::\d+)?(?:[/\\?#]|\s*$)")
_FILE = re.compile(
    r"[\w .()-]+\.(?:pdf|png|jpe?g|gif|webp|txt|md|csv|jsonl?|wav|mp3|mp4|m4a|webm|docx?|xlsx?|pptx?|html?)",
    re.IGNORECASE,
)  # a file's name, which has no more than the form of a host's
_NOTHING: dict[str, tuple[Field, str]] = {}
_fold = lru_cache(maxsize=8192)(folded)
_UNKNOWN: tuple[Field | None, str] = (None, "")


def is_address(text: str) -> bool:
    """Tell whether a text begins as an address that a server could fetch."""
    return _ADDRESS.match(text) is not None


def walk(turn: Turn, body: Any) -> None:
    """Judge every address in a body.

    Raises:
        RefusedError: for one that the group may not reach, one under an unknown key, and what cannot be seen.
    """
    fields, allowed = turn.surface.fields, turn.valve.fields
    stack: list[tuple[Any, str, tuple[Field | None, str]]] = [(body, "", _UNKNOWN)]
    while stack:
        value, key, under = stack.pop()
        if isinstance(value, str):
            _string(turn, value, key, under[0])
        elif isinstance(value, list):
            stack.extend((each, key, under) for each in value if isinstance(each, (str, dict, list)))
        elif isinstance(value, dict):
            kind = value.get("type")
            named = kind if isinstance(kind, str) else ""
            typed, nested = fields.typed.get(named, _NOTHING), fields.nested.get(key, _NOTHING)
            for name, inner in value.items():
                if inner is None or inner is True or inner is False or isinstance(inner, (int, float)):
                    continue
                fold = _fold(name)
                what: tuple[Field | None, str] = (
                    typed.get(fold) or nested.get(fold) or fields.plain.get(fold) or _UNKNOWN
                )
                if what[0] is Field.DATA or (what[0] is Field.TEXT and isinstance(inner, str)):
                    continue
                if what[0] is Field.DENIED:
                    _denied(turn, name, what[1])
                elif what[0] is None and _known(allowed, named, key, fold):
                    continue
                else:
                    stack.append((inner, fold, what))


def query(turn: Turn) -> None:
    """Judge what the query of a governed request names."""
    if turn.call.query:
        pairs = parse_qsl(turn.call.query, keep_blank_values=True)
        walk(turn, {name: [value for each, value in pairs if each == name] for name, _ in pairs})


def _known(allowed: Fields | None, kind: str, parent: str, key: str) -> bool:
    """Tell whether the policy allows a key that the table does not know."""
    if allowed is None:
        return False
    return (
        key in allowed.typed.get(kind, _NOTHING) or key in allowed.nested.get(parent, _NOTHING) or key in allowed.plain
    )


def _string(turn: Turn, text: str, key: str, what: Field | None) -> None:
    if what is Field.FETCH:
        fetched(turn, text, key)
    elif what is None and _ADDRESS.match(text):
        turn.unknown(Reason.WEB_SEARCH_UNKNOWN_FIELD, "an address under a key that is not known", key)


def fetched(turn: Turn, text: str, what: str) -> None:
    """Judge an address that the vendor would fetch; its own storage and data in the address itself aside."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        if _HOST.match(text) and not _FILE.fullmatch(text):  # some servers take a host for an address
            turn.reach("https://" + text.strip().lstrip("/\\"), what)
    elif (name := scheme[1].lower()) != "data" and name not in turn.surface.storage and not _own(turn, text):
        turn.reach(text, what)


def _own(turn: Turn, text: str) -> bool:
    """Tell whether an address is one of the files that the vendor keeps at the host that the request goes to."""
    return "own" in turn.surface.storage and text.lower().startswith(f"https://{turn.call.host}/")


def _denied(turn: Turn, key: str, word: str) -> None:
    reason, detail = DENIALS[word]
    turn.refuse(reason, detail, key[:100])

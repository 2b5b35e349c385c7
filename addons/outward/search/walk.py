"""Two nets for whatever a body names that the vendor would fetch or call.

The first are the keys that the vendor's table knows, the second any address under a key that it does not know.
"""

import re
from typing import Any
from urllib.parse import parse_qsl

from outward.core.reasons import Reason
from outward.search.request import GovernedRequest
from outward.search.surface import DENIALS, TOP, FieldKind, Fields, ValuePlace

_ADDRESS = re.compile(r"[\s\x00-\x1f]*(?:https?|wss?|ftps?|s3|gs|git(?:\+\w+)?|ssh):[/\\]", re.IGNORECASE)
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_HOST = re.compile(r"\s*(?:[/\\]{2})?(?:[\w-]+\.)+[\w-]+\.?(?::\d+)?(?:[/\\?#]|\s*$)")
_FILE = re.compile(
    r"[\w .()-]+\.(?:pdf|png|jpe?g|gif|webp|txt|md|csv|jsonl?|wav|mp3|mp4|m4a|webm|docx?|xlsx?|pptx?|html?)",
    re.IGNORECASE,
)  # a file's name, which has no more than the form of a host's
_NOTHING: dict[str, tuple[FieldKind, str]] = {}
_STORES = {"gs": "https://storage.googleapis.com/", "s3": "https://s3.amazonaws.com/"}  # buckets, by their hosts
_HOLDERS = frozenset({dict, list})  # neither a parser of JSON nor that of forms makes others


def is_address(text: str) -> bool:
    """Tell whether a text begins as an address that a server could fetch."""
    return _ADDRESS.match(text) is not None


def walk(turn: GovernedRequest, body: Any) -> None:
    """Judge every address in a body.

    Raises:
        RefusedError: for one that the group may not reach, one under an unknown key, and what cannot be seen.
    """
    stack: list[tuple[Any, ValuePlace]] = [(body, TOP)]
    while stack:
        value, at = stack.pop()
        if type(value) is dict:
            _members(turn, value, at, stack)
        elif type(value) is list:
            for each in value:
                if type(each) is str:
                    _string(turn, each, at)
                elif type(each) in _HOLDERS:
                    stack.append((each, at))
        elif type(value) is str:
            _string(turn, value, at)


def _members(turn: GovernedRequest, value: dict[str, Any], at: ValuePlace, stack: list[tuple[Any, ValuePlace]]) -> None:
    """Judge the strings of an object, and put what holds more on the stack."""
    fields, kind = turn.surface.fields, value.get("type")
    named = kind if type(kind) is str else ""
    if named and turn.strays(value, named):
        _stray(turn, named, at)
    known = fields.within(named, at.fold)
    for name, inner in value.items():
        held = type(inner)
        if held is not str and held not in _HOLDERS:
            continue
        place = known.get(name) or fields.learn(known, named, at.fold, name)
        what = place.what
        if (
            what is FieldKind.DATA
            or (what is FieldKind.TEXT and held is str)
            or (what is None and held is str and ":" not in inner)
        ):
            continue  # an address has a colon
        if what is FieldKind.DENIED:
            _denied(turn, name, place.word)
        elif what is not None or not _opened(turn.valve.fields, named, at.fold, place.fold):
            if held is str:
                _string(turn, inner, place)
                continue
            if what is None and held is list and place.fold != "tools":
                _tools(turn, inner, place)
            stack.append((inner, place))


def _tools(turn: GovernedRequest, listed: list[Any], at: ValuePlace) -> None:
    """Refuse a list that holds tools of whatever kind: next to one that is known may stand one that nobody knows."""
    for each in listed:
        kind = each.get("type") if type(each) is dict else None
        if type(kind) is str and id(each) not in turn.known and turn.surface.tool(kind) is not None:
            _stray(turn, kind, at)


def _stray(turn: GovernedRequest, kind: str, at: ValuePlace) -> None:
    """Refuse a tool that nobody judged: where it stands, no table knows of tools."""
    if at.fold == "tools":
        turn.refuse(Reason.WEB_SEARCH_UNKNOWN_TOOL, "a tool that this endpoint does not have", kind[:100])
    turn.unknown(Reason.WEB_SEARCH_UNKNOWN_FIELD, "a tool of the vendor's under a key that is not known", at.fold)


def query(turn: GovernedRequest) -> None:
    """Judge what the query of a governed request names."""
    if turn.call.query:
        pairs = parse_qsl(turn.call.query, keep_blank_values=True)
        walk(turn, {name: [value for each, value in pairs if each == name] for name, _ in pairs})


def _opened(allowed: Fields | None, kind: str, parent: str, key: str) -> bool:
    """Tell whether the policy allows a key that the table does not know."""
    if allowed is None:
        return False
    return (
        key in allowed.typed.get(kind, _NOTHING) or key in allowed.nested.get(parent, _NOTHING) or key in allowed.plain
    )


def _string(turn: GovernedRequest, text: str, at: ValuePlace) -> None:
    if at.what is FieldKind.FETCH:
        fetched(turn, text, at.fold)
    elif at.what is None and _ADDRESS.match(text):
        turn.unknown(Reason.WEB_SEARCH_UNKNOWN_FIELD, "an address under a key that is not known", at.fold)


def fetched(turn: GovernedRequest, text: str, what: str) -> None:
    """Judge an address that the vendor would fetch; its own storage and data in the address itself aside."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        if _HOST.match(text) and not _FILE.fullmatch(text):  # some servers take a host for an address
            turn.reach("https://" + text.strip().lstrip("/\\"), what)
    elif (name := scheme[1].lower()) != "data" and name not in turn.surface.storage and not _own(turn, text):
        bucket = _STORES.get(name)
        turn.reach(text if bucket is None else bucket + text[scheme.end() :].lstrip("/\\"), what)


def _own(turn: GovernedRequest, text: str) -> bool:
    """Tell whether an address is one of the files that the vendor keeps at the host that the request goes to."""
    return "own" in turn.surface.storage and text.lower().startswith(f"https://{turn.call.host}/")


def _denied(turn: GovernedRequest, key: str, word: str) -> None:
    reason, detail = DENIALS[word]
    turn.refuse(reason, detail, key[:100])

"""Strict JSON: a body is read only where every parser would read it alike, and written anew after it was judged.

Refuses duplicate keys, depth, non-finite numbers, lone surrogates and other encodings than UTF-8 (RFC 8259, RFC 7493).
"""

import json
import math
import re
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson

MAX_DEPTH = 128
# Of one text. The longest conversations hold some tens of thousands; half a million take a third of a second to read.
MOST_VALUES = 500_000
_STRUCTURE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{\[,]', re.DOTALL)
_QUOTE = ord('"')
_HOLDERS = frozenset({dict, list})  # a parser makes no others
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonBodyError(ValueError):
    """The body is not the one JSON text that every parser would read alike."""


class TooManyValuesError(JsonBodyError):
    """The body holds more values than are read; a few kilobytes of gzip unfold to millions."""

    def __init__(self) -> None:
        super().__init__(f"more than {MOST_VALUES:,} JSON values: objects, lists and what they hold")


def crowded(text: bytes) -> bool:
    """Tell, without parsing, whether a JSON text holds too many values: `{`, `[` and `,` outside strings.

    Example:
        >>> crowded(b"[" + b"{}," * 300_000 + b"{}]"), crowded(b'{"a": "' + b"," * 600_000 + b'"}')
        (True, False)
    """
    if sum(text.count(sign) for sign in (b"{", b"[", b",")) <= MOST_VALUES:
        return False
    signs = (match for match in _STRUCTURE.finditer(text) if text[match.start()] != _QUOTE)
    return next(islice(signs, MOST_VALUES, None), None) is not None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JsonBodyError("a key that stands twice in one object")
    return found


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonBodyError("a number that no program can hold")
    return value


def _constant(_text: str) -> float:
    raise JsonBodyError("a number that JSON does not have")


def decode(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        CrowdedError: when it holds more values than are read.
        BodyError: when parsers could differ about it.
    """
    if crowded(body):
        raise TooManyValuesError
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)
    except JsonBodyError:
        raise
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise JsonBodyError("not JSON in UTF-8") from error
    if _deeper(value, MAX_DEPTH):
        raise JsonBodyError("JSON nested too deeply")
    if _SURROGATE.search(body):
        _check_text(value)
    return value


def encode(value: Any) -> bytes:
    """Write a judged value, compact, keys in the order of the request."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits; or a lone surrogate, which has no UTF-8 form here either
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def _deeper(value: Any, limit: int) -> bool:
    level = [value] if type(value) in _HOLDERS else []
    for _ in range(limit):
        below: list[Any] = []
        for each in level:
            inner = each.values() if type(each) is dict else each
            below += [held for held in inner if type(held) in _HOLDERS]
        if not below:
            return False
        level = below
    return True


def _check_text(value: Any) -> None:
    """Refuse lone surrogates: they have no UTF-8 form (RFC 8259 8.2)."""
    try:
        encode(value)
    except UnicodeEncodeError as error:
        raise JsonBodyError("a lone surrogate") from error


def folded(key: str) -> str:
    """Return a key as a careless parser would compare it: without case and separators."""
    return key.replace("_", "").replace("-", "").casefold()


def check_keys(value: dict[str, Any], governed: frozenset[str]) -> None:
    """Refuse other spellings of governed keys, which a lenient server might read.

    Raises:
        BodyError: when a key differs from a governed one only in case or separators.
    """
    for key in value:
        if key not in governed and (meant := _meant(key, governed)) is not None:
            raise JsonBodyError(f"another spelling of {meant!r}")


@lru_cache(maxsize=8192)
def _meant(key: str, governed: frozenset[str]) -> str | None:
    """Return the governed key that another one would be read as by a careless parser."""
    fold = folded(key)
    return next((each for each in governed if folded(each) == fold), None)

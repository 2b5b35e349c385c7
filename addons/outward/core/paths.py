"""Request paths: one normal form and the globs that rules hold against it.

A path that two servers could read differently has no normal form; a rule with paths then does not match.
"""

import re
from dataclasses import dataclass

_ODD = re.compile(r"[\x00-\x20\x7f-\U0010ffff\\#]|//|%(?![0-9A-Fa-f]{2})|%(?:2[fF]|5[cC]|25|[01][0-9A-Fa-f]|7[fF])")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")  # RFC 3986 2.3


class OddPathError(ValueError):
    """The path could mean different things to different servers."""


def normal_path(raw: str) -> str:
    """Return the normal form of a path without query (RFC 3986 6.2.2).

    Raises:
        OddPathError: for dot segments, empty segments, encoded separators, double encoding, control characters.
    """
    if not raw.startswith("/") or _ODD.search(raw):
        raise OddPathError(raw)
    path = _ESCAPE.sub(_decode, raw)
    if any(segment.partition(";")[0] in (".", "..") for segment in path.split("/")):
        raise OddPathError(raw)
    return path


def _decode(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


@dataclass(frozen=True, slots=True)
class PathGlob:
    """A glob over the normal path: `*` within a segment, `**` as a whole segment for any number of segments."""

    text: str

    def __post_init__(self) -> None:
        """Refuse what could not match or would surprise.

        Raises:
            ValueError: with a sentence for the person who wrote the glob.
        """
        if not self.text.startswith("/"):
            raise ValueError("a path starts with `/`")
        if any("**" in segment and segment != "**" for segment in self.text.split("/")):
            raise ValueError("`**` must be a whole segment, such as `/repos/**`")
        try:
            normal_path(self.text)
        except OddPathError as error:
            raise ValueError("a path without dot segments, `//`, `\\` or encoded separators") from error

    def matches(self, path: str) -> bool:
        """Tell whether a normal path matches."""
        return _match(self.text.split("/")[1:], path.split("/")[1:])


def _match(pattern: list[str], path: list[str]) -> bool:
    """Match segments; row by row, so that the work is bounded by their product."""
    reachable = {0}
    for index, segment in enumerate(pattern):
        if segment == "**":
            first = min(reachable) + (index == len(pattern) - 1)
            reachable = set(range(first, len(path) + 1))
        else:
            reachable = {at + 1 for at in reachable if at < len(path) and _segment(segment, path[at])}
        if not reachable:
            return False
    return len(path) in reachable


def _segment(pattern: str, text: str) -> bool:
    """Match one segment with `*`: leftmost pieces, each found once, so linear."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    if not text.startswith(first) or len(text) < len(first) + len(rest[-1]) or not text.endswith(rest[-1]):
        return False
    at, end = len(first), len(text) - len(rest[-1])
    for piece in rest[:-1]:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True

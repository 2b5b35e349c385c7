"""Request paths: the globs that rules hold against them, and the normal form of a path that has only one.

A path that servers could read differently is held against a rule in every reading (see `readings`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

ODD = re.compile(r"[^!-\"$-~]|%(?![0-9A-Fa-f]{2})")  # what no URL holds (RFC 3986 2)
_ODD = re.compile(r"[^!-\"$-\[\]-~]|//|%(?![0-9A-Fa-f]{2})|%(?:2[fF]|5[cC]|25|[01][0-9A-Fa-f]|7[fF])")
ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_NO_GLOB = re.compile(r"//|\\|%(?:2[aA]|[01][0-9A-Fa-f]|7[fF])")
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")  # RFC 3986 2.3


class OddPathError(ValueError):
    """The path could mean different things to different servers."""


def normal_path(raw: str) -> str:
    """Return the normal form of a path without query (RFC 3986 6.2.2).

    Raises:
        OddPathError: for dot segments, empty segments, encoded separators, double encoding, control characters.

    Example:
        >>> normal_path("/a/%41b")
        '/a/Ab'
    """
    if not raw.startswith("/") or _ODD.search(raw):
        raise OddPathError(raw)
    path = unreserved(raw)
    if any(segment.partition(";")[0] in (".", "..") for segment in path.split("/")):
        raise OddPathError(raw)
    return path


def unreserved(text: str) -> str:
    """Decode what means the same decoded, and write the other escapes in capitals (RFC 3986 6.2.2).

    Example:
        >>> unreserved("%41%2F")
        'A%2F'
    """
    return ESCAPE.sub(_decode, text)


def _decode(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


@dataclass(frozen=True, slots=True)
class PathGlob:
    """A glob over a path: `*` within a segment, `**` as a whole segment for any number of segments.

    Attributes:
        text: as written.
        segments: its segments.
        plain: no reader takes it for another one.
        everything: it is `/**`, which is every path.
    """

    text: str
    segments: tuple[str, ...] = field(init=False, repr=False, compare=False)
    plain: bool = field(init=False, repr=False, compare=False)
    everything: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what could not match or would surprise.

        Raises:
            ValueError: with a sentence for the person who wrote the glob.
        """
        segments = tuple(self.text.split("/")[1:])
        object.__setattr__(self, "segments", segments)
        object.__setattr__(self, "plain", not re.search("[%;]", self.text))
        object.__setattr__(self, "everything", self.text == "/**")
        if not self.text.startswith("/"):
            raise ValueError("a path starts with `/`")
        if any("**" in segment and segment != "**" for segment in segments):
            raise ValueError("`**` must be a whole segment, such as `/repos/**`")
        dotted = any(unreserved(segment).partition(";")[0] in (".", "..") for segment in segments)
        if dotted or ODD.search(self.text) or _NO_GLOB.search(self.text):
            raise ValueError("a path without dot segments, `//`, `\\`, `%2A` or control characters")


def match(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Match segments; row by row, so that the work is bounded by their product.

    Example:
        >>> match(("v1", "**"), ("v1", "users", "7"))
        True
    """
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

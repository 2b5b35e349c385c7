"""The readings of a request path: what servers that decode, cut, merge and resolve differently would take it for.

Owns the steps that a reader may take, and their closure: every order of them, with at most two decodings (RFC 3986 2.1,
3.3, 5.2.4, 6.2.2). A rule's globs take the same steps beside the path, so that an escape in a rule is the escape in a
request. Bounded by the characters that are written while reading; what costs more cannot be read.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from outward.core.paths import ESCAPE, ODD, OddPathError, PathGlob, match, unreserved

type Segments = tuple[str, ...]

_BUDGET = 64 * 1024  # characters of all readings together; measured: 5 ms of CPU for a path made to cost most
_DECODINGS = 2  # of escapes: some servers decode twice (CWE-174)
_MANY = re.compile(r"[\\%;]|//|/\.\.?(?:/|$)")  # whatever could be read in more than one way
_UNREADABLE = re.compile(
    r"[\x00-\x1f\x7f]"  # control characters end a text for some readers
    r"|[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]|[\xf8-\xff][\x80-\xbf]"  # overlong UTF-8 (RFC 3629 3, 10)
    r"|%u[0-9A-Fa-f]{4}"  # not of any standard; some servers decode it
)


def allows(globs: Sequence[PathGlob], path: str, *, encoded_slash: bool = False) -> bool:
    """Tell whether a path matches in all of its readings; one that cannot be read matches `/**` alone.

    Example:
        >>> allows([PathGlob("/v1/**")], "/v1/x"), allows([PathGlob("/v1/**")], "/v1/../x")
        (True, False)
    """
    if any(glob.everything for glob in globs):
        return True
    try:
        return all(_matched(*reading) for reading in _readings(path, globs, encoded_slash=encoded_slash))
    except OddPathError:
        return False


def denies(globs: Sequence[PathGlob], path: str, *, encoded_slash: bool = False) -> bool:
    """Tell whether a path matches in any of its readings; one that cannot be read does.

    Example:
        >>> denies([PathGlob("/admin/**")], "/x/%2e%2e/admin/")
        True
    """
    try:
        return any(_matched(*reading) for reading in _readings(path, globs, encoded_slash=encoded_slash))
    except OddPathError:
        return True


def objection(globs: Sequence[PathGlob], path: str, *, encoded_slash: bool) -> str | None:
    """Return what speaks against a path that would match as it is written; None if it would not.

    Example:
        >>> objection([PathGlob("/v1/**")], "/v1/../admin", encoded_slash=False)
        'its escapes, parameters, empty or dot segments can be read as another path, which the rule does not allow'
    """
    try:
        matched = [_matched(*reading) for reading in _readings(path, globs, encoded_slash=encoded_slash)]
    except OddPathError as error:
        return f"{error}, so that no rule with paths allows it"
    if not matched[0]:
        return None
    if not encoded_slash and allows(globs, path, encoded_slash=True):
        return "an encoded slash (%2F) could separate segments; `encoded_slash: true` on the rule says that it does not"
    return "its escapes, parameters, empty or dot segments can be read as another path, which the rule does not allow"


def _matched(path: Segments, globs: tuple[Segments, ...]) -> bool:
    return any(match(glob, path) for glob in globs)


def _readings(
    path: str, globs: Sequence[PathGlob], *, encoded_slash: bool
) -> Iterator[tuple[Segments, tuple[Segments, ...]]]:
    """Yield the segments of a path in every reading, each with those of the globs; the plain have one."""
    if not path.startswith("/") or ODD.search(path):
        raise OddPathError("the path holds a character or an escape that no URL has")
    if _MANY.search(path) or not all(glob.plain for glob in globs):
        yield from _closure(path, globs, encoded_slash=encoded_slash)
    else:
        yield _split(path), tuple(glob.segments for glob in globs)


def _closure(
    path: str, globs: Sequence[PathGlob], *, encoded_slash: bool
) -> Iterator[tuple[Segments, tuple[Segments, ...]]]:
    """Yield the segments of a path in every reading, each with those of the globs in the same reading.

    Args:
        path: raw path without query.
        globs: of a rule.
        encoded_slash: whether an encoded slash is a part of its segment for certain.

    Raises:
        OddPathError: a reading holds what servers do not agree on at all, or there are too many readings.
    """
    everyone = (_split(unreserved(path)), *(_split(unreserved(glob.text)) for glob in globs))
    steps = _steps(encoded_slash=encoded_slash)
    spent, seen, waiting = 0, {(everyone, 0)}, [(everyone, 0)]
    while waiting:
        state, decoded = waiting.pop()
        spent += sum(map(len, state[0])) + len(state[0])
        if spent > _BUDGET:
            raise OddPathError("the path can be read in too many ways")
        if any(_UNREADABLE.search(segment) for segment in state[0]):
            raise OddPathError("the path holds a control character or overlong UTF-8")
        yield state[0], state[1:]
        for step, decodes in steps:
            if decoded + decodes > _DECODINGS:
                continue
            following = tuple(map(step, state)), decoded + decodes
            if following[0] != state and following not in seen:
                seen.add(following)
                waiting.append(following)


def _steps(*, encoded_slash: bool) -> tuple[tuple[Callable[[Segments], Segments], int], ...]:
    """Return the steps, each with whether it decodes; a decoded slash stays in its segment until one splits there."""
    return (
        (partial(_each, _decode), 1),
        (partial(_each, _compatible), 0),
        (_cut, 0),
        (_merge, 0),
        (_resolve, 0),
        (partial(_split_at, "\\"), 0),
        *(() if encoded_slash else ((partial(_split_at, "/"), 0),)),
    )


def _split(path: str) -> Segments:
    return tuple(path.removeprefix("/").split("/"))


def _each(change: Callable[[str], str], segments: Segments) -> Segments:
    return tuple(map(change, segments))


def _split_at(separator: str, segments: Segments) -> Segments:
    return tuple(piece for segment in segments for piece in segment.split(separator))


def _decode(text: str) -> str:
    """Decode every escape once, to octets; what then stands there escaped is brought to its normal form."""
    return unreserved(ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)) if "%" in text else text


def _cut(segments: Segments) -> Segments:
    """Cut parameters off (RFC 3986 3.3)."""
    return tuple(segment.partition(";")[0] for segment in segments)


def _merge(segments: Segments) -> Segments:
    """Merge empty segments; a slash at the end stays."""
    return (*(segment for segment in segments[:-1] if segment), segments[-1])


def _resolve(segments: Segments) -> Segments:
    """Resolve dot segments (RFC 3986 5.2.4)."""
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return tuple(kept)


def _compatible(text: str) -> str:
    """Map full-width and other compatibility characters, as best-fit and NFKC readers do."""
    if text.isascii():
        return text
    try:
        return unicodedata.normalize("NFKC", text.encode("latin-1").decode("utf-8")).encode("utf-8").decode("latin-1")
    except UnicodeError:
        return text

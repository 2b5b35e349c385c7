"""Paths against servers that read them otherwise: none of these decoders shares a line with the product."""

import posixpath
import re
import unicodedata
from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st

from outward.core.paths import PathGlob
from outward.core.readings import allows, denies

PIECES = st.sampled_from(
    ["/", "//", "public", "secret", "x", ".", "..", "...", ";", ";v=1", "%2e", "%2E", "%252e", "%2f", "%2F", "%252F", "%25",
     "%3b", "%253B", "%5c", "%255c", "\\", "%00", "%2500", "%c0%ae", "%c0%af", "%e0%80%af", "%ef%bc%8e", "%ef%bc%8f", "%EF%BC%9B",
     "%73ecret", "%2573ecret", "secre%74", "%40", "@", "%", "%zz", "%u002e"]
)  # fmt: skip
PATHS = st.builds(
    lambda start, rest: start + "".join(rest),
    st.sampled_from(["/public/", "/", "/secret/", "/x/"]),
    st.lists(PIECES, max_size=8),
)


def decoded(path: str) -> str:
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


def lenient(path: str) -> str:
    """Decode overlong UTF-8 as decoders of old did."""
    return re.sub(
        "[\xc0\xc1]([\x80-\xbf])|\xe0[\x80-\x9f]([\x80-\xbf])",
        lambda found: chr(ord(found[1] or found[2]) & 0x3F),
        decoded(path),
    )


def cut(path: str) -> str:
    return re.sub(";[^/]*", "", path)


def merged(path: str) -> str:
    return re.sub("/+", "/", path)


def resolved(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/" + "/".join(parts) + ("/" if path.endswith(("/.", "/..")) and parts else "")


def slashed(path: str) -> str:
    return path.replace("\\", "/")


def compatible(path: str) -> str:
    try:
        return unicodedata.normalize("NFKC", path.encode("latin-1").decode("utf-8")).encode("utf-8").decode("latin-1")
    except UnicodeError:
        return path


def normed(path: str) -> str:
    """Normalise as Python's own library does, which drops the slash at the end."""
    clean = posixpath.normpath(path) if path else path
    return clean + "/" if path.endswith("/") and not clean.endswith("/") else clean


def ended(path: str) -> str:
    """Stop at the first NUL."""
    return path.partition("\0")[0]


DECODERS = st.sampled_from([decoded, lenient])
OTHERS = st.sampled_from([cut, merged, resolved, slashed, compatible, normed, ended])


@st.composite
def servers(draw):
    """Draw a reader of paths: up to two decodings, other steps around them."""
    steps = draw(st.lists(OTHERS, max_size=3))
    for _ in range(draw(st.integers(0, 2))):
        steps.insert(draw(st.integers(0, len(steps))), draw(DECODERS))
    return [*steps, draw(st.sampled_from([resolved, normed, merged, cut]))]


@settings(max_examples=2000, deadline=None)
@given(PATHS, servers())
def test_no_server_serves_what_the_rules_did_not_mean(path, steps) -> None:
    served = path
    for step in steps:
        served = step(served)
    if allows([PathGlob("/public/**")], path):
        assert served.lstrip("/").startswith("public"), served
        assert resolved(served).lstrip("/").startswith("public"), served
    if re.match("/secret/.", served):
        assert denies([PathGlob("/secret/**")], path), served


@settings(deadline=None)
@given(PATHS)
def test_encoded_slash_only_ever_lets_more_pass_and_never_a_dot_segment_out(path) -> None:
    if allows([PathGlob("/public/**")], path):
        assert allows([PathGlob("/public/**")], path, encoded_slash=True)
    if allows([PathGlob("/public/**")], path, encoded_slash=True):
        assert resolved(cut(slashed(path))).startswith("/public/")

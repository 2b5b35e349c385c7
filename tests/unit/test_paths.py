"""Paths: one normal form, and globs that cannot be talked around."""

import pytest

from outward.core.paths import OddPathError, PathGlob, match, normal_path
from outward.core.readings import allows, denies


@pytest.mark.parametrize(
    ("raw", "normal"),
    [("/", "/"), ("/a/b", "/a/b"), ("/%61", "/a"), ("/%7euser", "/~user"), ("/a%20b", "/a%20b"), ("/a%e2%82", "/a%E2%82"),
     ("/a;x=1", "/a;x=1"), ("/a.b/..c", "/a.b/..c"), ("/V1", "/V1")],
)  # fmt: skip
def test_the_normal_form(raw: str, normal: str) -> None:
    assert normal_path(raw) == normal


@pytest.mark.parametrize(
    "raw",
    ["", "a", "*", "/a/../b", "/a/./b", "/..", "/.", "/a/..;x/b", "/%2e%2e/a", "/a/%2E", "//a", "/a//b", "/a\\b", "/a%5cb",
     "/a%2fb", "/a%2Fb", "/a%00", "/a%0d", "/a%7f", "/a%252e", "/a%", "/a%2", "/a%zz", "/a b", "/a\x00", "/a\x7f", "/aé", "/a#b"],
)  # fmt: skip
def test_a_path_that_could_be_read_otherwise_has_none(raw: str) -> None:
    with pytest.raises(OddPathError) as refused:
        normal_path(raw)
    assert str(refused.value) == raw


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/v1/**", "/v1/x", True),
        ("/v1/**", "/v1/x/y", True),
        ("/v1/**", "/v1/", True),
        ("/v1/**", "/v1", False),
        ("/v1/**", "/v1x", False),
        ("/v1/**", "/V1/x", False),
        ("/v1/**", "/x/v1/y", False),
        ("/**", "/", True),
        ("/**", "/a/b", True),
        ("/a/**/z", "/a/z", True),
        ("/a/**/z", "/a/b/c/z", True),
        ("/a/**/z", "/a/b/c", False),
        ("/*", "/a", True),
        ("/*", "/a/b", False),
        ("/a*", "/abc", True),
        ("/a*c", "/abc", True),
        ("/a*c", "/ac", True),
        ("/ab*bc", "/abc", False),
        ("/a*b*c", "/aXbYc", True),
        ("/a*b*c", "/aXcYb", False),
        ("/a*b*c", "/aXYc", False),
        # Each piece is found once, behind the one before it and in front of the end.
        ("/a*b*b", "/ab", False),
        ("/ab*b*c", "/abc", False),
        ("/*xy*yz*", "/xyz", False),
        ("/*x*y*", "/xyx", True),
        ("/*x*", "/x", True),
        ("/*.json", "/x.json", True),
        ("/*.json", "/x.jsonp", False),
        ("/x", "/x", True),
        ("/x", "/x/y", False),
        ("/x/y", "/x", False),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    assert match(PathGlob(glob).segments, path.split("/")[1:]) is matches
    assert allows([PathGlob(glob)], path) is denies([PathGlob(glob)], path) is matches


@pytest.mark.parametrize("glob", ["", "v1", "/a**", "/**a", "/a/../b", "//a", "/a%2ab", "/a\\b", "/a%00", "/a b"])
def test_globs_that_would_surprise_are_refused(glob: str) -> None:
    with pytest.raises(ValueError, match=r"path|segment"):
        PathGlob(glob)


@pytest.mark.parametrize(
    ("glob", "what"),
    [
        ("v1", "a path starts with `/`"),
        ("/a**", "`**` must be a whole segment, such as `/repos/**`"),
        ("/a/../b", "a path without dot segments, `//`, `\\`, `%2A` or control characters"),
    ],
)
def test_a_refused_glob_says_what_is_wrong(glob: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"path|segment") as refused:
        PathGlob(glob)
    assert str(refused.value) == what


def test_matching_is_bounded_for_a_hostile_pair() -> None:
    """Many wildcards against a long path: the work is the product of the segments, not a power of them."""
    glob = PathGlob("/**/a" * 50 + "/" + "*a" * 50 + "b")
    assert not allows([glob], "/a" * 2000 + "/" + "a" * 4000)

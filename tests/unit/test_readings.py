"""The readings of a path: an allow rule needs all of them, a deny rule any."""

import pytest

from outward.core.paths import PathGlob
from outward.core.readings import allows, denies, objection


@pytest.mark.parametrize(
    "path",
    ["/public/..%3B/secret", "/public/..;/secret", "/public/%2e%2e%3bx/secret", "/public/..%2Fsecret", "/public/%252e%252e/secret",
     "/public/..%5Csecret", "/public/..\\secret", "/public/..%252Fsecret", "/public//../../secret", "/public/a/../../secret",
     "/public/%00", "/public/%0a", "/public/%2500", "/public/%c0%ae%c0%ae/secret", "/public/%e0%80%ae./secret", "/public/a%",
     "/public/%zz", "/public/%EF%BC%8E%EF%BC%8E/secret", "/public/%E2%80%A5/secret", "/public/..%EF%BC%8Fsecret", "/public/%25u002e",
     "/public/.%3b/..%3b/secret", "/public\\..\\secret", "public/x", "", "/public/é", "/public/..%EF%BC%9B/secret", "/secret/../publi"],
)  # fmt: skip
def test_no_encoding_leads_out_of_what_is_allowed(path: str) -> None:
    assert not allows([PathGlob("/public/**")], path)
    assert allows([PathGlob("/**")], path)


@pytest.mark.parametrize(
    "path",
    ["/secret;v=1/x", "/secret%3Bv/x", "/public/..%3B/secret/x", "//secret/x", "/./secret/x", "/%73ecret/x", "/%2573ecret/x",
     "/secret%2Fx", "/secret%252Fx", "/secret\\x", "/secret%5Cx", "/%EF%BD%93ecret/x", "/\\secret\\x", "/x/../secret/x",
     "/x%00", "/%", "/%c0%af", "*", ";/secret/x"],
)  # fmt: skip
def test_no_encoding_leads_round_a_denial(path: str) -> None:
    assert denies([PathGlob("/secret/**")], path)


def test_every_character_of_a_rule_may_come_escaped() -> None:
    for path in ("/@evil/pkg", "/%40evil/pkg", "/%2540evil/pkg"):
        assert denies([PathGlob("/@evil/**")], path), path
        assert denies([PathGlob("/%40evil/**")], path), path
    assert not denies([PathGlob("/@evil/**")], "/%40good/pkg")


@pytest.mark.parametrize(
    ("glob", "path", "plainly", "with_encoded_slash"),
    [
        ("/**", "/@babel%2fcore", True, True),
        ("/**", "/a//b", True, True),
        ("/@babel/**", "/@babel/core", True, True),
        ("/@babel%2fcore", "/@babel%2Fcore", True, True),
        ("/api/v4/projects/**", "/api/v4/projects/acme%2Fapp", True, True),
        ("/api/v4/projects/acme%2Fapp/**", "/api/v4/projects/acme%2fapp/issues", True, True),
        ("/api/v4/projects/*/issues", "/api/v4/projects/acme%2Fapp/issues", False, True),
        ("/api/v4/projects/*/issues", "/api/v4/projects/acme%252Fapp/issues", False, True),
        ("/@*", "/@babel%2fcore", False, True),
        ("/a/**", "/a//b", True, True),
        ("/a/*", "/a//b", False, False),
        ("/a%20b/**", "/a%20b/c", True, True),
        ("/a/**", "/a/b;v=1", True, True),
        ("/a/b", "/a/b;v=1", False, False),
        ("/a/**", "/a/./b/../c", True, True),
        ("/a/**", "/a/100%25", True, True),
        ("/a/**", "/a/caf%C3%A9%FC", True, True),
    ],
)
def test_what_no_reading_speaks_against_passes(glob: str, path: str, plainly: bool, with_encoded_slash: bool) -> None:
    globs = [PathGlob(glob)]
    assert (allows(globs, path), allows(globs, path, encoded_slash=True)) == (plainly, with_encoded_slash)


def test_a_path_of_many_readings_is_bounded() -> None:
    path = "/a;%3B%253b//%2e%252e/\\..%2f" * 400
    assert not allows([PathGlob("/a/**")], path)
    assert denies([PathGlob("/x/**")], path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/p/a%2Fb/i", "`encoded_slash: true`"),
        ("/p/..%3B/i", "can be read as another path"),
        ("/p/a%00/i", "control character"),
        ("/p/%/i", "no URL has"),
        ("/q/x/i", None),
    ],
)
def test_an_objection_names_what_speaks_against_a_path(path: str, said: str | None) -> None:
    told = objection([PathGlob("/p/*/i")], path, encoded_slash=False)
    assert told is None if said is None else told is not None and said in told


def test_a_dot_segment_at_the_end_leaves_its_slash() -> None:
    for path in ("/secret/.", "/secret/x/..", "/secret/%2e", "/secret/x/%252e."):
        assert denies([PathGlob("/secret/")], path), path
        assert not denies([PathGlob("/secret")], path), path

"""Which patterns cover which."""

from harness.policies import rule
from outward.core.cover import covering
from outward.core.model import Pattern, PatternKind
from outward.core.policy import Rules


def test_a_star_covers_public_names_only() -> None:
    star = Rules([rule("*")])
    assert list(covering(star, Pattern(PatternKind.EXACT, "a.example"))) == list(star.all)
    assert list(covering(star, Pattern(PatternKind.EXACT, "localhost"))) == []


def test_networks_cover_what_lies_in_them() -> None:
    wide = Rules([rule("10.0.0.0/8"), rule("a.example")])
    assert [str(each.pattern) for each in covering(wide, rule("10.1.0.0/16").pattern)] == ["10.0.0.0/8"]
    assert list(covering(wide, rule("11.0.0.0/16").pattern)) == []
    assert list(covering(wide, Pattern(PatternKind.NETWORK))) == []
    assert list(covering(Rules(), rule("10.1.0.0/16").pattern)) == []

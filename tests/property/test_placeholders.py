"""The fast look for placeholders misses nothing that the slow one finds, in any disguise, and leaves usual heads alone."""

import base64
from collections.abc import Callable
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from outward.core import placeholders
from outward.core.placeholders import found_in, may_hold, placeholder

NAMES = ["github", "k", "A_b-9"]
AROUND = st.text(st.characters(max_codepoint=255), max_size=7)
CASES: list[Callable[[str], str]] = [str, str.upper, str.title, str.swapcase]


def escaped(text: str, which: int) -> str:
    """Escape the characters that the bits of a number name; escaping an escape is a disguise too."""
    return "".join(f"%{ord(each):02x}" if ord(each) < 128 and which >> at & 1 else each for at, each in enumerate(text))


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


DISGUISES = st.lists(
    st.one_of(
        st.sampled_from(CASES),
        st.sampled_from([base64_of, lambda text: base64_of(text).translate(str.maketrans("+/", "-_")).rstrip("="), quote]),
        st.integers(0, 2**60).map(lambda which: lambda text: escaped(text, which)),
    ),
    max_size=4,
)  # fmt: skip


@given(st.sampled_from(NAMES), AROUND, AROUND, DISGUISES, AROUND, AROUND)
@example("github", "", "", [base64_of, lambda text: escaped(text, 2**60 - 1)], "", "")
def test_whatever_the_slow_one_finds_the_fast_one_sees(
    name: str, within: str, behind: str, disguises: list[Callable[[str], str]], before: str, after: str
) -> None:
    text = within + placeholder(name) + behind
    for disguise in disguises:
        text = disguise(text)
    text = before + text + after
    with mock.patch.object(placeholders, "may_hold", return_value=True):
        slow = found_in(text, NAMES)
    assert found_in(text, NAMES) == slow
    assert slow is None or may_hold(text.encode("ascii", "replace"))


@pytest.mark.parametrize("lead", ["", "x", "xy"])
@pytest.mark.parametrize(
    "letters", [*CASES, lambda text: "".join(a + b.upper() for a, b in zip(text[::2], text[1::2], strict=True))]
)
def test_every_form_of_base64_is_seen(lead: str, letters: Callable[[str], str]) -> None:
    """Otherwise the other test here might have asked for none of them."""
    text = base64_of(lead + letters(placeholder("k")))
    assert found_in(text, NAMES) == "k"


def test_usual_heads_take_no_second_look() -> None:
    assert not may_hold(
        b"GET /search?q=a%20b%2Fc&r=https%3A%2F%2Fa.test%3Fx%3D HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n"
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n"
        b"Authorization: Bearer " + base64.b64encode(bytes(range(256))) + b"\r\n\r\n"
    )

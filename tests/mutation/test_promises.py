"""The breaks of `promises.yaml` fit the sources as they are, so that `promises.py` tries what it says."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from promises import Break, breaks, broken


@pytest.mark.parametrize("each", breaks(), ids=lambda each: each["broken"])
def test_a_break_fits(each: Break) -> None:
    """What it changes is there once, and what is left is Python."""
    compile(broken(each), each["file"], "exec")


def test_every_promise_is_broken_somewhere() -> None:
    """Fourteen promises, fourteen numbers."""
    assert {each["promise"] for each in breaks()} == set(range(1, 15))

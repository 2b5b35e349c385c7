"""How the processes below one are found, however deep they lie, within bounds."""

import math
from pathlib import Path

import pytest

from outward.cli import descent


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Lay out processes as /proc does, each the child of the one before; return how many lie below the first."""
    for pid in range(1, 1500):
        children = tmp_path / str(pid) / "task" / str(pid) / "children"
        children.parent.mkdir(parents=True)
        children.write_text(f"{pid + 1} " if pid < 1499 else "")
    monkeypatch.setattr(descent, "_PROC", tmp_path)
    return 1498


def test_a_chain_of_processes_is_followed_to_its_end(deep: int) -> None:
    assert list(descent._below(1, math.inf)) == list(range(deep + 1, 1, -1))


def test_the_look_ends_with_its_patience(deep: int) -> None:
    assert deep
    assert list(descent._below(1, 0.0)) == []

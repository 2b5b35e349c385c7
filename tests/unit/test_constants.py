"""Whoever meets a number learns why it is that one: a source, a precedent, a measurement or a reason stands beside it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import outward

PACKAGE = Path(outward.__file__).parent
ROOMS = ("core", "http1", "http2", "tls", "dns", "proxy")


def bare(source: str) -> Iterator[str]:
    """Yield the module's numbers that have no comment, neither on their line nor above those that they stand among."""
    lines = source.split("\n")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and is_number(node.value) and "#" not in lines[node.lineno - 1]:
            above = node.lineno - 2
            while above >= 0 and lines[above] and not lines[above].startswith("#") and "#" not in lines[above]:
                above -= 1
            if above < 0 or "#" not in lines[above]:
                yield lines[node.lineno - 1]


def is_number(value: ast.expr) -> bool:
    match value:
        case ast.Constant():
            return isinstance(value.value, int | float) and not isinstance(value.value, bool)
        case ast.BinOp():
            return is_number(value.left) and is_number(value.right)
        case ast.Tuple():
            return all(map(is_number, value.elts))
    return False


@pytest.mark.parametrize("room", ROOMS)
def test_each_number_says_why(room: str) -> None:
    found = {path.name: list(bare(path.read_text())) for path in (PACKAGE / room).rglob("*.py")}
    assert {name: numbers for name, numbers in found.items() if numbers} == {}


def test_a_bare_number_is_found() -> None:
    assert list(bare("A = 1  # so\nB = 2\n\nC = 2 * 3\nD = 4, 5\n# because\nE = 6\n")) == ["C = 2 * 3", "D = 4, 5"]

"""The examples of the core's docstrings are true, and there is one for each public function."""

import ast
import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

import pytest

import outward.core
from harness.policies import pattern
from outward.core import model
from outward.core.model import ClientEntry, Credential, Place, Rule
from outward.core.names import Host
from outward.core.paths import PathGlob
from outward.core.policy import Group, Policy
from outward.core.rules import Rules
from outward.core.urls import question_of

MODULES = [f"outward.core.{each.name}" for each in pkgutil.iter_modules(outward.core.__path__)]


def rule(text: str, *, paths: Iterable[str] | None = None, **limits: object) -> Rule:
    """Build a rule with limits as a policy writes them; sets and lists are made immutable."""
    kinds = {set: frozenset, list: tuple}
    made = {name: kinds.get(type(value), lambda same: same)(value) for name, value in limits.items()}
    globs = None if paths is None else tuple(map(PathGlob, paths))
    return Rule(pattern(text), Place("outward.yaml", 1), paths=globs, **made)  # type: ignore[arg-type]


def policy(
    *allow: Rule, deny: Iterable[Rule] = (), clients: Iterable[ClientEntry] | None = None, **settings: object
) -> Policy:
    """Build a policy with one group `dev`; anyone is in it unless clients are named."""
    group = Group("dev", Rules(allow), Rules(deny), **settings)  # type: ignore[arg-type]
    anyone = ClientEntry(Credential.ANYONE, Place("outward.yaml", 9), "dev")
    return Policy(groups={"dev": group}, clients=(anyone,) if clients is None else tuple(clients))


# What every example knows, beside what its own module does; `core/__init__.py` tells readers.
SHARED = {
    **{name: value for name, value in vars(model).items() if not name.startswith("_")},
    "Host": Host,
    "Rules": Rules,
    "ip_address": ip_address,
    "ip_network": ip_network,
    "policy": policy,
    "question_of": question_of,
    "rule": rule,
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    module = importlib.import_module(name)
    shared = {key: value for key, value in SHARED.items() if key not in vars(module)}
    assert doctest.testmod(module, extraglobs=shared).failed == 0


def lacking(source: str) -> Iterator[str]:
    """Yield the public functions without an example, and the public classes with methods of which none has one."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not shows(node):
            yield node.name
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            public = [each for each in node.body if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")]
            if not all(map(is_property, public)) and not any(map(shows, (node, *public))):
                yield node.name


def is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list)


def shows(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return ">>>" in (ast.get_docstring(node) or "")


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_an_example(name: str) -> None:
    assert not list(lacking(inspect.getsource(importlib.import_module(name))))


def test_a_function_without_one_is_found() -> None:
    assert list(lacking('def f():\n    """Do."""\nclass C:\n    def m(self): ...\ndef _g(): ...')) == ["f", "C"]

"""The examples of the core's docstrings are true."""

import doctest
import importlib
import pkgutil
from ipaddress import ip_address

import pytest

import outward.core
from outward.core.names import Host

MODULES = [f"outward.core.{each.name}" for each in pkgutil.iter_modules(outward.core.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module, extraglobs={"ip_address": ip_address, "Host": Host})
    assert found.failed == 0


def test_there_are_examples() -> None:
    tests = [test for name in MODULES for test in doctest.DocTestFinder().find(importlib.import_module(name))]
    assert sum(bool(test.examples) for test in tests) > 20

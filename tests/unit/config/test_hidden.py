"""`run --hide`: the shipped table, where its secrets are bound, and what the command gets instead."""

import re

import pytest
import yaml

from outward.config import hidden
from outward.config.hidden import HideError, hide_variables, known
from outward.config.patterns import parse_pattern
from outward.config.sets import Hosts
from outward.core.secrets import Injection

TABLE = yaml.safe_load(hidden._TABLE.read_text(encoding="utf-8"))
MACHINE = {
    "npm": lambda: Hosts(("npm.example", "proxy.example:8443", "*.wild.example")),
    "pip": lambda: Hosts(("index.example",)),
}


@pytest.mark.parametrize("variable", TABLE)
def test_every_row_of_the_table_can_be_used_or_says_why_not(variable):
    row = TABLE[variable]
    if "refused" in row:
        with pytest.raises(HideError, match=re.escape(row["refused"])):
            hide_variables([variable], {variable: "a-value-of-1"}, MACHINE)
        return
    assert row.keys() - {"basic", "value", "also"} == {"hosts", "header", "source"}
    assert ("basic" in row) != ("value" in row)
    found = hide_variables([variable], {variable: "a-value-of-1"}, MACHINE)
    (entry,) = found.entries
    assert (entry.name, entry.env, entry.file, entry.groups) == (variable, variable, None, ())
    assert found.bound
    for host, injections in found.bound.items():
        assert [each.header for each in injections] == [row["header"], *(["authorization"] if "also" in row else [])]
        for injection in injections:
            injection.check()
            assert not injection.always
        assert parse_pattern(host, public_suffix=False)[0] in entry.hosts
    assert found.names == {variable: variable}


def test_hosts_of_the_machine_are_those_that_it_uses():
    """A registry's token goes to the registries by name, never to a wildcard; uploads to the index's own name for them."""
    assert set(hide_variables(["NPM_TOKEN"], {"NPM_TOKEN": "a-value-of-1"}, MACHINE).bound) == {
        "npm.example",
        "proxy.example",
    }
    found = hide_variables(["TWINE_PASSWORD"], {"TWINE_PASSWORD": "a-value-of-1"}, MACHINE)
    basic = Injection("authorization", "__token__:{TWINE_PASSWORD}", basic=True, always=False)
    assert found.bound == {"upload.index.example": (basic,)}


def test_two_variables_with_one_value_are_one_secret():
    environ = {"GH_TOKEN": "a-value-of-1", "GITHUB_TOKEN": "a-value-of-1", "PLAIN": "x"}
    found = hide_variables(["GH_TOKEN", "GITHUB_TOKEN"], environ, MACHINE)
    assert [entry.name for entry in found.entries] == ["GH_TOKEN"]
    assert found.names == {"GH_TOKEN": "GH_TOKEN", "GITHUB_TOKEN": "GH_TOKEN"}
    held = "outward-secret-GH_TOKEN"
    assert found.environment(environ) == {"GH_TOKEN": held, "GITHUB_TOKEN": held, "PLAIN": "x"}


def test_two_values_for_one_header_of_one_host_are_refused():
    environ = {"GH_TOKEN": "value-one", "GITHUB_TOKEN": "value-two"}
    with pytest.raises(HideError, match="GH_TOKEN and GITHUB_TOKEN are both sent to api"):
        hide_variables(["GH_TOKEN", "GITHUB_TOKEN"], environ, MACHINE)


def test_two_values_for_two_headers_of_one_host_stand_side_by_side():
    environ = {"ANTHROPIC_API_KEY": "value-one", "ANTHROPIC_AUTH_TOKEN": "value-two"}
    for order in (environ, reversed(environ)):
        found = {each.header: each.names for each in hide_variables(order, environ, MACHINE).bound["api.anthropic.com"]}
        assert found == {"x-api-key": ("ANTHROPIC_API_KEY",), "authorization": ("ANTHROPIC_AUTH_TOKEN",)}


def test_a_second_header_is_bound_where_it_is_free():
    found = hide_variables(["ANTHROPIC_API_KEY"], {"ANTHROPIC_API_KEY": "a-value-of-1"}, MACHINE).bound[
        "api.anthropic.com"
    ]
    assert [each.written for each in found] == [
        '{header: x-api-key, value: "{ANTHROPIC_API_KEY}"}',
        '{header: authorization, value: "Bearer {ANTHROPIC_API_KEY}"}',
    ]


@pytest.mark.parametrize(
    ("variable", "environ", "told"),
    [
        (
            "MY_KEY",
            {"MY_KEY": "a-value-of-1"},
            "my_key: {env: MY_KEY, hosts: [api.example.com]}",
        ),
        ("GH_TOKEN", {}, "GH_TOKEN is not set"),
        ("GH_TOKEN", {"GH_TOKEN": ""}, "GH_TOKEN is not set"),
        ("GH_TOKEN", {"GH_TOKEN": "sixteen"}, "GH_TOKEN has fewer than 8 characters"),
    ],
)
def test_what_cannot_be_hidden_says_what_to_do(variable, environ, told):
    with pytest.raises(HideError, match=re.escape(told)):
        hide_variables([variable], environ, MACHINE)


def test_no_message_holds_a_value():
    for variable in ("MY_KEY", "AWS_SECRET_ACCESS_KEY"):
        with pytest.raises(HideError) as caught:
            hide_variables([variable], {variable: "hunter2"}, MACHINE)
        assert "hunter2" not in str(caught.value)


def test_a_registry_that_is_nowhere_is_said():
    none = {"npm": lambda: Hosts(()), "pip": lambda: Hosts(())}
    with pytest.raises(HideError, match="this machine names no host that NPM_TOKEN is sent to"):
        hide_variables(["NPM_TOKEN"], {"NPM_TOKEN": "a-value-of-1"}, none)


def test_all_that_is_known_leaves_out_what_cannot_be_hidden():
    environ = {
        "GH_TOKEN": "a-value-of-1",
        "AWS_SECRET_ACCESS_KEY": "a-value-of-1",
        "HOME": "/",
        "OPENAI_API_KEY": "",
        "GROQ_API_KEY": "EMPTY",
    }
    assert known(environ) == ["GH_TOKEN"]


def test_a_value_within_another_variable_is_hidden_too():
    found = hide_variables(["GH_TOKEN"], {"GH_TOKEN": "t0ken-t0"}, MACHINE)
    assert found.environment({"GH_TOKEN": "t0ken-t0", "URL": "https://x:t0ken-t0@github.com"}) == {
        "GH_TOKEN": "outward-secret-GH_TOKEN",
        "URL": "https://x:outward-secret-GH_TOKEN@github.com",
    }

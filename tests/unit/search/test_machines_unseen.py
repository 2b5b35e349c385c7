"""What a machine at a vendor does is seen by nobody here: it gets hosts that the group may send whatever it likes."""

import copy
from typing import Any

import pytest

from harness.governing import Desk
from outward.config.load import load_text
from outward.core.reasons import Reason
from outward.search.sandbox import reachable
from outward.search.scope import Scope

TEXT = """\
version: 1
groups:
  above:
    {ceiling}
    allow: []
  above/g:
    web_search: {{enabled: true}}
    allow: {allow}
    deny: {deny}
clients: [{{group: above/g, anyone: true}}]
"""


def given(allow: str, deny: str = "[]", ceiling: str = "") -> tuple[list[str], list[str]]:
    """What a machine gets that asks for everything, and for two entries by name."""
    policy = load_text(TEXT.format(allow=allow, deny=deny, ceiling=ceiling), env={}, machine={}).policy
    assert policy is not None
    group = policy.groups["above/g"]
    scope = Scope(policy, group, group.web_search)
    asked = ["api.example.com", "*.example.com"]
    return reachable(scope, None, wildcards=True), reachable(scope, asked, wildcards=True)


@pytest.mark.parametrize(
    "rule",
    [
        "{host: api.example.com, methods: [GET, HEAD]}",
        '{host: api.example.com, paths: ["/"]}',
        '{host: "*.example.com", methods: [GET, HEAD]}',
        '{host: "*.example.com", paths: ["/", "/**"]}',
        "{host: api.example.com, ports: [8443]}",
        "{host: api.example.com, until: 2020-01-01}",
    ],
)
def test_a_rule_that_allows_a_part_of_a_host_opens_it_to_no_machine(rule: str) -> None:
    assert given(f"[{rule}]") == ([], [])


@pytest.mark.parametrize(
    "rule",
    [
        "api.example.com",
        "{host: api.example.com, methods: [POST]}",
        '{host: api.example.com, paths: ["/private/**"]}',
        "{host: api.example.com, ports: [80]}",
        '{host: "*.example.com", methods: [DELETE]}',
    ],
)
def test_a_host_that_a_deny_rule_names_even_in_part_is_no_machines(rule: str) -> None:
    assert given('[api.example.com, "*.example.com"]', f"[{rule}]") == ([], [])


def test_a_ceiling_that_allows_a_part_of_a_host_opens_it_to_no_machine() -> None:
    assert given("[api.example.com]", ceiling="ceiling: [{host: api.example.com, methods: [GET]}]") == ([], [])
    whole = ["api.example.com"]
    assert given("[api.example.com]", ceiling="ceiling: [api.example.com]") == (whole, whole)


def test_what_the_group_may_send_whatever_it_likes_is_a_machines() -> None:
    both = ["*.example.com", "api.example.com"]
    part = "{host: api.example.com, methods: [GET]}"
    assert given(f'[{part}, api.example.com, "*.example.com"]', "[{host: other.test, methods: [POST]}]") == (both, both)
    assert given(f"[{part}, api.example.com]", "[{host: api.example.com, ports: [22]}]") == (both[1:], both[1:])


@pytest.mark.parametrize(
    ("host", "path", "body"),
    [
        ("api.openai.com", "/v1/responses", {"input": "hi", "tools": [{"type": "mcp", "server_label": "x"}]}),
        ("api.anthropic.com", "/v1/messages", {"messages": [], "mcp_servers": [{"type": "url", "name": "x"}]}),
    ],
)
def test_a_server_of_tools_that_the_group_may_only_read_from_is_not_called_by_the_vendor(
    host: str, path: str, body: dict[str, Any]
) -> None:
    """The vendor posts what the model says to it."""
    for rule, reason in (("{host: m.test, methods: [GET, HEAD]}", Reason.METHOD_NOT_ALLOWED), ("m.test", None)):
        sent = copy.deepcopy(body)
        for each in sent.get("mcp_servers", ()) or sent["tools"]:
            each["server_url" if "server_label" in each else "url"] = "https://m.test/mcp"
        desk = Desk(TEXT.format(allow=f"[{rule}]", deny="[]", ceiling=""))
        assert desk.ask(host, path, sent, group="above/g").deny is reason

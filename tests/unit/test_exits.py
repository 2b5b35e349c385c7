"""Through which allowed hosts data can leave."""

import pytest

from outward.config.load import load_text
from outward.core.exits import writable


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("a.example", ["a.example"]),
        ("'*.a.example'", ["*.a.example"]),
        ("{host: a.example, methods: [GET, HEAD]}", []),
        ("{host: a.example, methods: [GET, PUT]}", ["a.example"]),
        ("{host: a.example, paths: ['/x/**']}", []),
        ("{host: a.example, methods: [POST], paths: ['/x/**']}", []),
    ],
)
def test_hosts_that_take_writes(rule: str, told: list[str]):
    text = f"version: 1\ngroups: {{dev: {{allow: [{rule}]}}, dev/sub: {{allow: []}}}}\nclients: [{{group: dev, anyone: true}}]\n"
    policy = load_text(text, env={}, machine={}).policy
    assert list(writable(policy.groups["dev"])) == told
    assert list(writable(policy.groups["dev/sub"])) == told, "what is inherited counts"

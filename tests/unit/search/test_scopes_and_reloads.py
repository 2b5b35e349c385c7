"""A reload while something is judged: what was begun under the old policy leaves nothing behind under the new one."""

import threading

import pytest

from outward.config.load import load_text
from outward.core.policy import Policy
from outward.search import scope
from outward.search.scope import Scope, Scopes

TEXT = """\
version: 1
groups:
  g:
    web_search: {{enabled: true}}
    allow: [a.example.com, b.example.com]
    {more}
clients: [{{group: g, anyone: true}}]
"""


def load(more: str = "") -> Policy:
    policy = load_text(TEXT.format(more=more), env={}, machine={}).policy
    assert policy is not None
    return policy


def test_a_scope_that_takes_long_stays_with_the_policy_that_it_was_begun_under(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = load(), load("deny: [b.example.com]")
    scopes, inside, go_on = Scopes(), threading.Event(), threading.Event()

    def slow(policy, group, settings) -> Scope:
        if policy is old:
            inside.set()
            assert go_on.wait(60)
        return Scope(policy, group, settings)

    def of(policy: Policy) -> Scope:
        return scopes.of(policy, policy.groups["g"], policy.groups["g"].web_search)

    monkeypatch.setattr(scope, "Scope", slow)
    begun = threading.Thread(target=lambda: of(old))
    begun.start()
    assert inside.wait(60)
    assert of(new).candidates == ("a.example.com",)
    go_on.set()
    begun.join(60)
    assert of(new).candidates == ("a.example.com",)
    assert of(new) is of(new)
    assert of(old).candidates == ("a.example.com", "b.example.com")

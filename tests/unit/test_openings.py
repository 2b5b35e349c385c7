"""The addresses that entries open, where names resolved to some that are not public."""

from ipaddress import ip_address

import pytest

from outward.config.load import load_text
from outward.core.entries import exactly
from outward.core.evidence import Demand, Evidence
from outward.core.model import Place, Rule
from outward.core.openings import open_addresses
from outward.core.policy import Policy
from outward.core.proposal import Known, propose
from outward.core.urls import question_of
from outward.core.widen import sets_for, taken

TEXT = """\
version: 1
upstream: {internal: [10.9.0.0/16]}
groups:
  g:
    allow:
      - {host: old.test, methods: [GET]}
      - {host: open.test, addresses: [10.1.0.0/16]}
clients: [{group: g, anyone: true}]
"""


def policy() -> Policy:
    found = load_text(TEXT, env={}, machine={}).policy
    assert found is not None
    return found


def lines(url: str, *addresses: str, group: str = "g", method: str | None = None) -> list[str]:
    question = question_of(url, group, method)
    found = propose(policy(), [Demand(question, Evidence(1))], Known())
    open_addresses(policy(), found, {question: frozenset(map(ip_address, addresses))})
    return [each.text for each in found.proposals]


@pytest.mark.parametrize(
    ("url", "addresses", "entries"),
    [
        ("new.test", ["10.2.0.1"], ['{host: "new.test", ports: [80, 443], addresses: ["10.2.0.1/32"]}']),
        ("new.test", ["203.0.114.1", "fd00::1", "10.2.0.1"],
         ['{host: "new.test", ports: [80, 443], addresses: ["10.2.0.1/32", "fd00::1/128"]}']),
        ("open.test", ["10.2.0.1"], ['{host: "open.test", ports: [443], addresses: ["10.2.0.1/32"]}']),
        ("open.test", ["10.1.0.1"], []),
        ("new.test", ["10.9.0.1"], ["new.test"]),
        ("new.test", ["127.0.0.1", "169.254.169.254"], ["new.test"]),
        ("10.2.0.1", ["10.2.0.1"], ['{host: "10.2.0.1", ports: [443], addresses: ["10.2.0.1/32"]}']),
    ],
)  # fmt: skip
def test_an_entry_opens_what_a_name_led_to_and_what_can_be_opened(url: str, addresses: list[str], entries: list[str]):
    assert lines(url, *addresses) == entries


def test_an_entry_for_addresses_alone_keeps_the_limits_of_the_rule_that_is_there():
    assert lines("https://old.test/", "10.2.0.1", method="GET") == [
        '{host: "old.test", ports: [443], methods: [GET], addresses: ["10.2.0.1/32"]}'
    ]


def test_only_the_entry_of_the_host_that_was_met_is_opened_and_a_set_takes_the_place_of_the_other_alone():
    questions = [question_of(host, "g") for host in ("a.test", "b.test")]
    two = tuple(Rule(exactly(each.host), Place("sets", 0)) for each in questions)
    known = Known(sets={"@two": two})
    found = propose(policy(), [Demand(each, Evidence(1)) for each in questions], known)
    open_addresses(policy(), found, {questions[0]: frozenset({ip_address("10.2.0.1")})})
    list(taken(found, sets_for(policy(), found, known)))
    assert sorted(each.text for each in found.proposals) == [
        '"@two"',
        '{host: "a.test", ports: [80, 443], addresses: ["10.2.0.1/32"]}',
    ]


def test_an_amended_rule_and_groups_that_nobody_knows_open_nothing():
    assert lines("https://old.test/", "10.2.0.1", group="other") == []

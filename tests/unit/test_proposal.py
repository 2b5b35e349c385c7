"""The smallest change that would have allowed what was blocked: entries, what is left out, sets and wildcards."""

from dataclasses import replace

import pytest

from outward.config import known
from outward.config.load import load_text
from outward.config.suffixes import registrable
from outward.core.evidence import Demand, Evidence
from outward.core.model import Question
from outward.core.policy import Policy
from outward.core.proposal import Known, Proposed, propose
from outward.core.urls import question_of
from outward.core.widen import offered, sets_for, taken, wildcards_for
from outward.search.registry import governed, vendor_of

TEXT = """\
version: 1
sets: {two: [s1.example, s2.example], read: [{host: r.example, methods: [GET, HEAD]}], more: [s1.example, s2.example, s3.example]}
groups:
  g:
    allow:
      - {host: api.example, methods: [GET], paths: ["/ok/**"]}
      - {host: api.example, ports: [9443], methods: [GET]}
      - {host: gone.example, methods: [GET], until: 2020-01-01}
      - plain.example:22
      - full.example
      - {host: "*.w.example", methods: [GET], paths: ["/ok/**"]}
    deny: [never.example]
  g/below: {}
  other: {mode: report}
clients: [{group: g, anyone: true}]
"""


def policy() -> Policy:
    found = load_text(TEXT, env={}, machine={}, vendor_of=vendor_of).policy
    assert found is not None
    return found


def beside(**more: object) -> Known:
    values = {"exits": known.exits(), "writable": known.writable(), "governed": governed(), "registrable": registrable}
    return Known(**{**values, "amendable": lambda _rule, _key: True, **more})


def asked(*urls: str, group: str | None = "g") -> list[Demand]:
    """Return demands: a URL behind its method, or a host alone for a tunnel."""
    split = [url.split() for url in urls]
    questions = [question_of(words[-1], group or "g", words[0] if words[1:] else None) for words in split]
    if group is None:
        questions = [Question(None, each.host, each.port) for each in questions]
    return [Demand(each, Evidence(1)) for each in questions]


def proposed(*urls: str, group: str | None = "g", include: tuple[str, ...] = (), **more: object) -> Proposed:
    return propose(policy(), asked(*urls, group=group), beside(**more), include)


def lines(found: Proposed) -> list[str]:
    return [each.text + ("  # instead" if each.instead else "") for each in found.proposals]


@pytest.mark.parametrize(
    ("urls", "wanted"),
    [
        (["a.example", "a.example:80"], ["a.example"]),
        (["a.example:8443", "a.example:9443"], ['{host: "a.example", ports: [8443, 9443]}']),
        (
            ["GET https://a.example/x", "GET https://a.example/y", "POST https://a.example/x"],
            [
                '{host: "a.example", ports: [443], methods: [GET, POST], paths: ["/x"]}',
                '{host: "a.example", ports: [443], methods: [GET], paths: ["/y"]}',
            ],
        ),
        (["GET https://a.example/x", "a.example:443"], ["a.example"]),
        (["GET https://a.example/a*b"], ['{host: "a.example", ports: [443], methods: [GET]}']),
        (
            [f"GET https://a.example/{number}" for number in range(21)],
            ['{host: "a.example", ports: [443], methods: [GET]}'],
        ),
        (
            ["GET https://api.example/no", "GET https://api.example/No"],
            ['{host: "api.example", ports: [80, 443], methods: [GET], paths: ["/ok/**", "/No", "/no"]}  # instead'],
        ),
        (
            ["POST https://api.example:9443/x", "PUT https://api.example:9443/x"],
            ['{host: "api.example", ports: [9443], methods: [POST, PUT], paths: ["/x"]}'],
        ),
        (
            ["GET https://api.example/no", "POST https://api.example/ok/1"],
            [
                '{host: "api.example", ports: [443], methods: [POST], paths: ["/ok/1"]}',
                '{host: "api.example", ports: [80, 443], methods: [GET], paths: ["/ok/**", "/no"]}  # instead',
            ],
        ),
        (["GET https://a.w.example/no"], ['{host: "a.w.example", ports: [443], methods: [GET], paths: ["/no"]}']),
        (["plain.example:23"], ['{host: "plain.example", ports: [22, 23]}  # instead']),
    ],
)
def test_entries(urls: list[str], wanted: list[str]):
    found = proposed(*urls)
    assert lines(found) == wanted
    assert sum(each.evidence.count for each in found.proposals) == len(urls)


def test_what_cannot_be_amended_is_added():
    found = proposed("GET https://api.example/no", amendable=lambda _rule, _key: False)
    assert lines(found) == ['{host: "api.example", ports: [443], methods: [GET], paths: ["/no"]}']


@pytest.mark.parametrize(
    ("urls", "why"),
    [
        (["gist.github.com"], "anybody can send or fetch through it (`@pastes`)"),
        (["github.com"], "anybody with an account can write there (`@publish`)"),
        (["POST https://github.com/x"], "anybody with an account can write there (`@publish`)"),
        (["xn--pypl-53dc.com"], "its name looks like `paypal` and is not: `pаypаl` is `xn--pypl-53dc`"),
        (["never.example"], "The rule was written on purpose: ask the one who owns the policy."),
        (["10.1.1.1"], 'This address is not public. If it is meant to be reached, its rule needs `addresses: ["10.1.1.1/32"]`.'),
        (["GET https://gone.example/"], "Ask for a later `until` on the rule, or for its removal."),
        ([f"GET https://api.example/{number}" for number in range(21)], "21 paths were asked for: write a pattern that covers them"),
        (["GET http://full.example:443/"], "it speaks something else than TLS"),
    ],
)  # fmt: skip
def test_left_out(urls: list[str], why: str):
    found = proposed(*urls)
    assert ([each.why for each in found.left_out], found.proposals) == ([why], [])
    assert found.left_out[0].evidence.count == len(urls)
    assert bool(proposed(*urls, include=(found.left_out[0].host.name,)).proposals) is found.left_out[0].named


def test_a_host_that_takes_writes_is_left_out_with_the_set_that_lets_it_be_read():
    [left] = proposed("github.com", sets=SETS).left_out
    assert left.why.endswith("(`@publish`); `@developer-version-control` lets it be read")


def test_reading_what_others_write_to_is_proposed():
    assert lines(proposed("GET https://github.com/x")) == [
        '{host: "github.com", ports: [443], methods: [GET], paths: ["/x"]}'
    ]


def test_strangers_other_groups_and_what_is_allowed():
    assert (proposed("a.example", group=None).strangers, proposed("a.example", group=None).proposals) == (1, [])
    assert (proposed("a.example", group="elsewhere").gone, proposed("plain.example:22").settled) == (1, 1)
    assert [each.group for each in proposed("a.example", group="other").proposals] == ["other"]
    assert [each.group for each in proposed("a.example", group="g/below").proposals] == ["g/below"]


SETS = known.named([TEXT], {}, __import__("datetime").date(2026, 11, 30))


def test_a_set_takes_the_place_of_its_names_and_is_only_offered_where_it_adds_some():
    sets = {name: SETS[name] for name in ("@two", "@more", "@read")}
    found = proposed("s1.example", "s2.example", "x.example", sets=sets)
    offers = sets_for(policy(), found, beside(sets=sets))
    assert [(offer.text, offer.adds) for offer in offers] == [('"@two"', 0), ('"@more"', 1)]
    assert [offer.text for offer in offered(found, offers, 3)] == ['"@two"']
    assert [offer.text for offer in taken(found, offers)] == ['"@two"']
    assert sorted(lines(found)) == ['"@two"', "x.example"]
    assert found.proposals[-1].evidence.count == 2


@pytest.mark.parametrize(
    ("urls", "adds"),
    [
        (["r.example"], [0]),
        (["GET https://r.example/x"], [0]),
        (["POST https://r.example/x"], []),
        (["HEAD https://r.example/x"], []),
        (["r.example:8443"], []),
        (["plain.example:23"], []),
    ],
)
def test_a_set_names_no_method_that_was_not_seen(urls: list[str], adds: list[int]):
    sets = {"@read": SETS["@read"]}
    found = proposed(*urls, sets=sets)
    assert [offer.adds for offer in sets_for(policy(), found, beside(sets=sets))] == adds


@pytest.mark.parametrize(
    ("parent", "wanted"),
    [
        ("example.com", ['"*.example.com"']),
        ("sub.example.com", []),  # not directly below the registrable domain
        ("co.uk", []),
        ("github.io", []),
        ("openai.com", []),  # api.openai.com is governed
        ("amazonaws.com", []),
        ("docker.io", []),
    ],
)
def test_wildcards(parent: str, wanted: list[str]):
    hosts = [f"{name}.{parent}" for name in ("n1", "n2", "n3")]
    found = proposed(*hosts, include=tuple(hosts))
    assert [offer.text for offer in wildcards_for(policy(), found, beside())] == wanted
    few = proposed(*hosts[:2], include=tuple(hosts))
    assert wildcards_for(policy(), few, beside()) == []


def test_a_wildcard_stands_for_no_other_port():
    found = proposed("n1.example.com", "n2.example.com", "n3.example.com", "n3.example.com:22", "n4.example.com")
    offers = wildcards_for(policy(), found, beside())
    assert [offer.adds for offer in offers] == [None]
    assert len(list(taken(found, offers))) == 1
    assert sorted(lines(found)) == ['"*.example.com"', '{host: "n3.example.com", ports: [22], tls: false}']


def test_what_speaks_something_else_is_not_allowed_by_now():
    """Its tunnel would be opened; what is said in it would be refused again."""
    question = replace(question_of("full.example", "g"), bare=True)
    found = propose(policy(), [Demand(question, Evidence(3))], beside())
    assert (found.settled, found.proposals) == (0, [])
    assert found.left_out[0].text == '{host: "full.example", ports: [443], tls: false}  # above line 10'


def test_evidence_adds_up():
    one, other = Evidence(1, frozenset({"a"}), 1.0, 2.0), Evidence(2, frozenset({"b"}), 0.5, 1.5)
    assert one + other + Evidence() == Evidence(3, frozenset({"a", "b"}), 0.5, 2.0)


def test_what_programs_report_beside_their_work_is_left_out_unless_it_is_named():
    found = proposed("telemetry.nextjs.org", telemetry=known.telemetry())
    assert [(each.why, each.named) for each in found.left_out] == [
        ("programs report there beside their work (`@telemetry`)", True)
    ]
    named = proposed("telemetry.nextjs.org", telemetry=known.telemetry(), include=("telemetry.nextjs.org",))
    assert lines(named) == ["telemetry.nextjs.org"]

"""What a decision says, and that no rule is lost on the way to it."""

import pytest

from harness.policies import group, policy, rule
from outward.core.decide import decide
from outward.core.model import Decision, DenyDelivery, Ech, Lane, LaneChoice, Mode, Question, Verdict
from outward.core.names import Host, canonical_host
from outward.core.reasons import Reason
from outward.core.rules import Rules


@pytest.mark.parametrize("text", ["a.test", "*.test", "*", "192.0.2.0/24"])
def test_every_rule_of_a_host_counts_however_many_there_are(text: str) -> None:
    """A rule is added to what was written before it, never in its place."""
    host = canonical_host("192.0.2.1" if text[0].isdigit() else "a.test")
    rules = [rule(text, ports=frozenset({port})) for port in (1, 2, 3)]
    assert list(Rules(rules).for_host(host)) == rules
    subject = policy(group(*rules))
    assert [decide(subject, Question("dev", host, port)).allowed for port in (1, 2, 3, 4)] == [True, True, True, False]


def test_a_decision_carries_all_that_is_known_of_it() -> None:
    """The lanes, the record and the denial read nothing else."""
    subject = group(
        rule("a.test"), mode=Mode.REPORT, denial=DenyDelivery.INSIDE, ech=Ech.REFUSE, lane=LaneChoice.INSPECT
    )
    expected = Decision(
        verdict=Verdict.ALLOW,
        reason=Reason.RULE,
        rule=rule("a.test"),
        group="dev",
        lane=Lane.INSPECT,
        mode=Mode.REPORT,
        question=Question("dev", Host("a.test"), 443),
        vendor=None,
        needs_inspection=False,
        denial=DenyDelivery.INSIDE,
        ech=Ech.REFUSE,
        generation="g1",
    )
    assert decide(policy(subject), Question("dev", Host("a.test"), 443)) == expected
    assert decide(policy(subject), Question("?", Host("a.test"), 443)) == Decision(
        reason=Reason.UNKNOWN_CLIENT, question=Question("?", Host("a.test"), 443), generation="g1"
    )


def test_what_governance_refuses_is_a_denial_in_report_mode_too() -> None:
    subject = group(mode=Mode.REPORT, lane=LaneChoice.TUNNEL)
    decision = decide(policy(subject, vendor_of=lambda _host: "acme"), Question("dev", Host("model.test"), 443))
    assert (decision.allowed, decision.reason) == (False, Reason.WEB_SEARCH_UNINSPECTABLE)
    assert decision.would_deny is False


def test_the_first_of_several_misses_is_told() -> None:
    """The most specific one: what a wider or a later rule is missing is of less use to who reads it."""
    rules = [rule("a.test", ports=frozenset({8443})), rule("a.test", methods=frozenset({"PUT"}))]
    decision = decide(policy(group(*rules)), Question("dev", Host("a.test"), 443, "GET", "/"))
    assert (decision.reason, decision.rule) == (Reason.PORT_NOT_ALLOWED, rules[0])


@pytest.mark.parametrize(
    ("facts", "port", "mode", "reason"),
    [
        ({}, 443, Mode.ENFORCE, Reason.NOT_TLS),
        ({}, 443, Mode.REPORT, Reason.NOT_TLS),
        ({"tls": False}, 443, Mode.ENFORCE, Reason.RULE),
        ({}, 8443, Mode.ENFORCE, Reason.RULE),
    ],
)
def test_a_request_in_the_clear_to_the_port_of_tls_needs_a_rule_that_says_so(
    facts: dict[str, object], port: int, mode: Mode, reason: Reason
) -> None:
    """It would be told to everybody on the way, and could only end in an error."""
    subject = policy(group(rule("a.test", **facts), mode=mode))
    decision = decide(subject, Question("dev", Host("a.test"), port, "GET", "/", clear=True))
    assert (decision.reason, decision.allowed) == (reason, reason is Reason.RULE)
    assert decide(subject, Question("dev", Host("a.test"), 443, "GET", "/")).allowed


@pytest.mark.parametrize(
    ("tls", "vendor", "reason"),
    [(False, None, Reason.RULE), (True, None, Reason.NOT_TLS), (False, "acme", Reason.NOT_TLS)],
)
def test_what_is_neither_tls_nor_http_needs_a_rule_that_says_so(tls: bool, vendor: str | None, reason: Reason) -> None:
    subject = policy(group(rule("a.test", tls=tls)), vendor_of=lambda _host: vendor)
    assert decide(subject, Question("dev", Host("a.test"), 443, bare=True)).reason is reason


def test_a_request_in_the_clear_that_no_rule_names_is_refused_there_in_report_mode_too() -> None:
    decision = decide(policy(group(mode=Mode.REPORT)), Question("dev", Host("a.test"), 443, "GET", "/", clear=True))
    assert (decision.allowed, decision.reason, decision.would_deny) == (False, Reason.NOT_TLS, False)


def test_what_no_rule_allows_is_told_as_that_whatever_else_speaks_against_it() -> None:
    """Another reason would send its reader to ask for the wrong thing."""
    subject = policy(group(lane=LaneChoice.TUNNEL), vendor_of=lambda _host: "acme")
    for question in (
        Question("dev", Host("a.test"), 443),
        Question("dev", Host("a.test"), 443, "GET", "/", clear=True),
    ):
        assert decide(subject, question).reason is Reason.NO_RULE

"""`decide`: a table of questions and answers over one policy."""

from dataclasses import replace

import pytest

from harness.policies import pattern
from outward.core.decide import decide
from outward.core.model import (
    Decision,
    DenyDelivery,
    Ech,
    Lane,
    LaneChoice,
    Mode,
    Pattern,
    PatternKind,
    Place,
    Question,
    Rule,
    Stage,
    Verdict,
)
from outward.core.names import Host, canonical_host
from outward.core.paths import PathGlob
from outward.core.policy import Group, Policy
from outward.core.reasons import MEANINGS, Reason
from outward.core.rules import Rules


def rule(text: str, line: int = 1, **facts: object) -> Rule:
    """Build a rule from a pattern as a person would write it."""
    return Rule(pattern(text), Place("policy.yaml", line), **facts)  # type: ignore[arg-type]


def deny(text: str, line: int = 1, **facts: object) -> Rule:
    return rule(text, line, **({"ports": None} | facts))


def policy(*groups: Group, vendor: str | None = None) -> Policy:
    return Policy(
        "g1", {group.path: group for group in groups}, vendor_of=lambda host: "acme" if host == vendor else None
    )


READS = rule(
    "api.test", 3, methods=frozenset({"GET", "HEAD"}), paths=(PathGlob("/v1/**"), PathGlob("/health"))
)  # only reads, only there
TOP = Group(
    "top",
    allow=Rules(
        [rule("docs.test", 1), rule("*.wild.test", 2), READS, rule("db.test", 4, ports=frozenset({5432}), tls=False)]
    ),
    deny=Rules([deny("secret.wild.test", 9), deny("*.bad.test", 10)]),
    ceiling=Rules([rule("*.example.test", 11), rule("bad.test", 12), rule("*.bad.test", 13)]),
)
LEAF = Group(
    "top/leaf",
    parent=TOP,
    allow=Rules([rule("a.example.test", 20), rule("outside.test", 21), rule("bad.test", 22), rule("x.bad.test", 23)]),
)


def ask(host: str, port: int = 443, method: str | None = None, path: str | None = None, group: str = "top") -> Decision:
    return decide(policy(TOP, LEAF), Question(group, canonical_host(host), port, method, path))


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("get", "/v1/x", Reason.METHOD_NOT_ALLOWED),
        ("GET", "", Reason.PATH_NOT_ALLOWED),
        ("GET", None, Reason.PATH_NOT_ALLOWED),
    ],
)
def test_a_request_is_judged_by_method_and_path(method: str, path: str | None, reason: Reason) -> None:
    assert ask("api.test", 443, method, path).reason is reason


def test_an_empty_ceiling_lets_descendants_add_nothing() -> None:
    top = Group("t", ceiling=Rules())
    leaf = Group("t/l", parent=Group("t/m", parent=top), allow=Rules([rule("a.test")]))
    assert decide(policy(leaf), Question("t/l", Host("a.test"), 443)).reason is Reason.NO_RULE


def test_a_ceiling_is_judged_on_ports_methods_and_paths_too() -> None:
    top = Group("t", ceiling=Rules([rule("a.test", methods=frozenset({"GET"}))]))
    leaf = Group("t/l", parent=top, allow=Rules([rule("a.test", ports=None)]))
    assert decide(policy(leaf), Question("t/l", Host("a.test"), 443, "GET", "/")).allowed
    assert not decide(policy(leaf), Question("t/l", Host("a.test"), 443, "POST", "/")).allowed
    assert not decide(policy(leaf), Question("t/l", Host("a.test"), 22)).allowed


@pytest.mark.parametrize(
    ("choice", "host", "lane"),
    [
        (LaneChoice.AUTO, "docs.test", Lane.TUNNEL),
        (LaneChoice.AUTO, "api.test", Lane.INSPECT),
        (LaneChoice.AUTO, "half.test", Lane.INSPECT),
        (LaneChoice.AUTO, "model.test", Lane.INSPECT),
        (LaneChoice.INSPECT, "docs.test", Lane.INSPECT),
        (LaneChoice.TUNNEL, "docs.test", Lane.TUNNEL),
        (LaneChoice.INSPECT, "db.test", Lane.TUNNEL),
    ],
)
def test_the_lane_follows_what_must_be_seen(choice: LaneChoice, host: str, lane: Lane) -> None:
    allow = [*TOP.allow.all, rule("half.test"), rule("model.test")]
    group = Group("g", lane=choice, allow=Rules(allow), deny=Rules([deny("half.test", paths=(PathGlob("/x"),))]))
    port = 5432 if host == "db.test" else 443
    decision = decide(policy(group, vendor="model.test"), Question("g", Host(host), port))
    assert (decision.allowed, decision.lane) == (True, lane)
    assert decision.vendor == ("acme" if host == "model.test" else None)


def test_any_matching_rule_with_paths_asks_for_sight_even_if_another_rule_allowed_first() -> None:
    group = Group("g", allow=Rules([rule("a.test"), rule("*.test", paths=(PathGlob("/x"),))]))
    assert decide(policy(group), Question("g", Host("a.test"), 443)).lane is Lane.INSPECT


def test_a_tunnel_group_denies_what_it_could_only_judge_by_looking() -> None:
    group = Group(
        "g",
        lane=LaneChoice.TUNNEL,
        allow=Rules([READS, rule("half.test"), rule("model.test")]),
        deny=Rules([deny("half.test", methods=frozenset({"POST"}))]),
    )
    subject = policy(group, vendor="model.test")
    reasons = [
        decide(subject, Question("g", Host(host), 443)).reason for host in ("api.test", "half.test", "model.test")
    ]
    assert reasons == [Reason.METHOD_NOT_ALLOWED, Reason.DENIED_BY_RULE, Reason.WEB_SEARCH_UNINSPECTABLE]


@pytest.mark.parametrize(
    ("path", "method", "denied"),
    [
        ("/x", "GET", True),
        ("/y", "GET", False),
        ("/x", "POST", False),
        ("/x/../y", "GET", False),
        ("/y/../x", "GET", True),
        ("/y%00", "GET", True),
        ("/x", None, False),
    ],
)
def test_a_deny_rule_with_method_and_path_denies_just_that_and_what_cannot_be_read(
    path: str, method: str | None, denied: bool
) -> None:
    narrow = deny("a.test", methods=frozenset({"GET"}), paths=(PathGlob("/x"),))
    group = Group("g", allow=Rules([rule("a.test")]), deny=Rules([narrow, deny("a.test", ports=frozenset({22}))]))
    decision = decide(policy(group), Question("g", Host("a.test"), 443, method, path))
    assert (decision.reason is Reason.DENIED_BY_RULE) is denied


@pytest.mark.parametrize(
    ("host", "port", "verdict", "reason", "would_deny"),
    [
        ("nowhere.test", 443, Verdict.ALLOW, Reason.REPORT_ONLY, True),
        ("secret.wild.test", 443, Verdict.ALLOW, Reason.REPORT_ONLY, True),
        ("docs.test", 443, Verdict.ALLOW, Reason.RULE, False),
        ("docs.test", 22, Verdict.ALLOW, Reason.REPORT_ONLY, True),
    ],
)
def test_report_mode_softens_only_what_is_about_rules(
    host: str, port: int, verdict: Verdict, reason: Reason, would_deny: bool
) -> None:
    group = Group("g", allow=TOP.allow, deny=TOP.deny, mode=Mode.REPORT)
    decision = decide(policy(group), Question("g", Host(host), port))
    assert (decision.verdict, decision.reason, decision.would_deny) == (verdict, reason, would_deny)


def test_a_star_covers_public_names_only_and_no_addresses() -> None:
    group = Group("g", allow=Rules([rule("*"), rule("10.0.0.0/8")]))
    asked = {host: decide(policy(group), Question("g", canonical_host(host), 443)).allowed
             for host in ("public.example", "localhost", "db", "x.internal", "8.8.8.8", "10.1.1.1", "[2606:4700::1]")}  # fmt: skip
    assert asked == {"public.example": True, "localhost": False, "db": False, "x.internal": False, "8.8.8.8": False,
                     "10.1.1.1": True, "[2606:4700::1]": False}  # fmt: skip


def test_a_star_that_denies_covers_everything_with_a_name() -> None:
    group = Group("g", allow=Rules([rule("localhost"), rule("a.test")]), deny=Rules([deny("*")]))
    assert not decide(policy(group), Question("g", Host("localhost"), 443)).allowed


def test_the_closest_miss_is_told() -> None:
    group = Group("g", allow=Rules([rule("*"), rule("a.test", ports=frozenset({8443}))]))
    assert decide(policy(group), Question("g", Host("a.test"), 22)).reason is Reason.PORT_NOT_ALLOWED


@pytest.mark.parametrize("group", [None, "", "nobody", "top/"])
def test_a_client_without_a_group_of_the_policy_is_unknown(group: str | None) -> None:
    decision = decide(policy(TOP), Question(group, Host("docs.test"), 443))
    assert (decision.allowed, decision.reason, decision.group) == (False, Reason.UNKNOWN_CLIENT, None)


def test_a_failure_inside_denies() -> None:
    def broken(_host: str) -> str | None:
        raise RuntimeError

    decision = decide(Policy("g9", {"top": TOP}, vendor_of=broken), Question("top", Host("docs.test"), 443))
    assert decision == Decision(generation="g9")
    assert decision.reason is Reason.INTERNAL_ERROR
    assert decide(None, None) == Decision()  # type: ignore[arg-type]


def test_the_zero_values_deny() -> None:
    assert (bool(Verdict.DENY), Verdict(0), Decision().allowed, Decision().denial, Decision().ech) == (
        False, Verdict.DENY, False, DenyDelivery.CONNECT, Ech.PASS,
    )  # fmt: skip
    assert not decide(Policy(), Question("g", Host("a.test"), 443)).allowed


def test_a_pattern_without_content_matches_nothing() -> None:
    empty = Rule(Pattern(PatternKind.NETWORK), Place("policy.yaml", 1))
    assert not decide(Policy("g", {"g": Group("g", allow=Rules([empty]))}), Question("g", Host("a.test"), 443)).allowed


def test_rules_show_as_they_were_written() -> None:
    assert [str(each.pattern) for each in (rule("a.test"), rule("*.a.test"), rule("*"), rule("10.0.0.0/8"))] == [
        "a.test", "*.a.test", "*", "10.0.0.0/8",
    ]  # fmt: skip
    assert str(Place("f.yaml", 3)) == "f.yaml:3"


def test_every_reason_has_a_meaning_and_denials_have_error_types() -> None:
    assert set(MEANINGS) == set(Reason)
    assert all(meaning.error for reason, meaning in MEANINGS.items() if meaning.status >= 400 and reason)
    assert {stage.value for stage in Stage} == {"connect", "tls", "request", "address", "search", "response"}


def test_a_ceiling_with_methods_asks_for_sight() -> None:
    """What an ancestor permits to be read only must not be written through a tunnel."""
    top = Group("t", ceiling=Rules([rule("a.test", methods=frozenset({"GET"}))]))
    leaf = Group("t/l", parent=top, allow=Rules([rule("a.test")]))
    assert decide(policy(leaf), Question("t/l", Host("a.test"), 443)).lane is Lane.INSPECT
    raw = Group("t/l", parent=top, allow=Rules([rule("a.test", tls=False)]))
    assert decide(policy(raw), Question("t/l", Host("a.test"), 443)).reason is Reason.NO_RULE


def test_a_rule_without_tls_opens_no_way_round_what_must_be_seen() -> None:
    """Bytes that nobody reads can be held to no path, and to no search policy: they are refused, or read all the same."""
    raw = Rules([rule("a.test", tls=False), rule("model.test", tls=False)])
    group = Group("g", allow=raw, deny=Rules([deny("a.test", paths=(PathGlob("/admin"),))]))
    subject = policy(group, vendor="model.test")
    decisions = [decide(subject, Question("g", Host(host), 443)) for host in ("a.test", "model.test")]
    assert [each.reason for each in decisions] == [Reason.DENIED_BY_RULE, Reason.RULE]
    assert decisions[1].lane is Lane.INSPECT
    l4_only = policy(replace(group, lane=LaneChoice.TUNNEL), vendor="model.test")
    assert decide(l4_only, Question("g", Host("model.test"), 443)).reason is Reason.WEB_SEARCH_UNINSPECTABLE


@pytest.mark.parametrize("choice", [LaneChoice.TUNNEL, LaneChoice.AUTO])
def test_report_mode_tunnels_no_vendor(choice: LaneChoice) -> None:
    """Report mode never softens search governance: a vendor that no rule names is inspected, or refused."""
    group = Group("g", mode=Mode.REPORT, lane=choice)
    decision = decide(policy(group, vendor="model.test"), Question("g", Host("model.test"), 443))
    expected = (False, Lane.TUNNEL) if choice is LaneChoice.TUNNEL else (True, Lane.INSPECT)
    assert (decision.allowed, decision.lane) == expected

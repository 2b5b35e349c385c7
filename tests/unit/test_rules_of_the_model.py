"""Rules that say more than a host: everything below a name, an end, an owner, addresses of their own."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from harness.policies import group, policy, rule
from outward.config.load import load_text
from outward.core.addresses import METADATA, Own
from outward.core.cover import covering, rule_covers
from outward.core.decide import address_denied, address_refused, decide
from outward.core.model import Decision, Lane, Mode, Question, Stage
from outward.core.names import Host, canonical_host
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules
from outward.ops.metrics import Metrics
from outward.proxy.judge import Judge
from outward.records.events.values import Event

TEN = ip_network("10.0.0.0/8")
PRIVATE = ip_address("10.1.2.3")


def ask(subject: Policy, host: str, port: int = 443, method: str | None = None, path: str | None = None) -> Decision:
    return decide(subject, Question("dev", canonical_host(host), port, method, path))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("h.test", True), ("a.h.test", True), ("a.b.h.test", True), ("ah.test", False), ("test", False)],
)
def test_a_dot_before_a_name_is_the_name_and_everything_below_it(host: str, allowed: bool) -> None:
    assert ask(policy(group(rule(".h.test"))), host).allowed is allowed
    assert ask(policy(group(rule("*"), deny=(rule(".h.test"),))), host).reason is not Reason.RULE or not allowed


def test_a_dot_covers_what_both_of_its_halves_cover() -> None:
    rules = Rules([rule(".h.test")])
    for narrow in ("h.test", "a.h.test", "*.h.test", ".h.test", "*.a.h.test", ".a.h.test"):
        assert list(covering(rules, rule(narrow).pattern)) == list(rules.all), narrow
    assert list(covering(Rules([rule("*.h.test"), rule("h.test")]), rule(".h.test").pattern)) == []
    assert str(rule(".h.test").pattern) == ".h.test"


@pytest.mark.parametrize(
    ("today", "reason"),
    [("2027-01-30", Reason.RULE), ("2027-01-31", Reason.RULE_EXPIRED), ("2028-01-01", Reason.RULE_EXPIRED),
     ("", Reason.RULE_EXPIRED)],
)  # fmt: skip
def test_an_allow_rule_ends_on_its_day_and_a_deny_rule_never(today: str, reason: Reason) -> None:
    ending = replace(rule("a.test"), until="2027-01-31")
    subject = replace(policy(group(rule("a.test", ports=frozenset({1})), ending)), today=today)
    assert ask(subject, "a.test").reason is reason
    assert ask(replace(subject, groups={"dev": group(ending, mode=Mode.REPORT)}), "a.test").reason is reason
    denied = group(rule("a.test"), deny=(replace(rule("a.test"), until="2020-01-01"),))
    assert ask(replace(policy(denied), today=today), "a.test").reason is Reason.DENIED_BY_RULE


def test_an_ended_ceiling_admits_nothing() -> None:
    above = Group("dev", ceiling=Rules([replace(rule("a.test"), until="2020-01-01")]))
    below = Group("dev/x", Rules([rule("a.test")]), parent=above)
    subject = replace(policy(above, below), today="2026-01-01")
    assert decide(subject, Question("dev/x", Host("a.test"), 443)).reason is Reason.NO_RULE


def test_addresses_of_a_rule_open_them_for_its_host_alone() -> None:
    own = Own(listeners=frozenset({(PRIVATE, 8080)}))
    subject = Policy(groups={"dev": group(rule("a.test", addresses=(TEN,)), rule("b.test"), rule("*.c.test"))})
    mine, other = ask(subject, "a.test"), ask(subject, "b.test")
    assert address_refused(subject, mine, PRIVATE, 443, own) is None
    assert address_refused(subject, other, PRIVATE, 443, own) is not None
    assert address_refused(subject, Decision(), PRIVATE, 443, own) is not None
    assert address_refused(subject, mine, PRIVATE, 8080, own) is not None
    everything = rule("a.test", addresses=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    wide = Policy(groups={"dev": group(everything)})
    for address in (*METADATA, ip_address("127.0.0.1"), ip_address("::1")):
        assert address_refused(wide, ask(wide, "a.test"), address, 443, own) is not None, address


def test_report_mode_opens_no_addresses() -> None:
    subject = Policy(groups={"dev": group(rule("a.test", ports=frozenset({1}), addresses=(TEN,)), mode=Mode.REPORT)})
    decision = ask(subject, "a.test")
    assert (decision.reason, decision.would_reason) == (Reason.REPORT_ONLY, Reason.PORT_NOT_ALLOWED)
    assert address_refused(subject, decision, PRIVATE, 443, Own()) is not None


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1"])
def test_a_denied_network_takes_what_is_only_another_way_to_it(address: str) -> None:
    subject = policy(group(rule("*"), deny=(rule("192.0.2.0/24"), rule("10.0.0.0/8"))))
    denying = address_denied(subject, ask(subject, "a.test"), ip_address(address))
    assert denying is not None
    assert str(denying.pattern) == "10.0.0.0/8"


@pytest.mark.parametrize(("method", "denied"), [(None, True), ("POST", True), ("GET", False)])
def test_a_denied_network_denies_what_its_rule_says(method: str | None, denied: bool) -> None:
    subject = policy(group(rule("*"), deny=(rule("198.51.100.0/24", methods=frozenset({"POST"})),)))
    decision = ask(subject, "a.test", method=method, path=None if method is None else "/")
    assert (address_denied(subject, decision, ip_address("198.51.100.1")) is not None) is denied
    assert address_denied(subject, decision, ip_address("198.51.101.1")) is None
    assert address_denied(subject, Decision(), ip_address("198.51.100.1")) is None


class _Recorder:
    def record(self, event: Event) -> None:
        raise AssertionError(event)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_judge_refuses_a_denied_network_and_report_mode_says_what_it_would_have_done(mode: Mode) -> None:
    subject = policy(group(rule("a.test"), deny=(rule("198.51.100.0/24"),), mode=mode))
    judge, address, event = Judge(subject, _Recorder(), Metrics(), Own()), ip_address("198.51.100.1"), Event()
    decision = judge.decide_connect("dev", Host("a.test"), 443)
    reason, denying = judge.address(address, 443, decision)
    judge.reached(event, decision, address)
    if mode is Mode.ENFORCE:
        assert (reason, str(denying and denying.pattern)) == (Reason.DENIED_BY_RULE, "198.51.100.0/24")
    else:
        assert reason is None
        assert (event.reason, event.would_reason, event.stage, event.would_deny) == (
            Reason.REPORT_ONLY, Reason.DENIED_BY_RULE, Stage.ADDRESS, True)  # fmt: skip


@pytest.mark.parametrize(
    ("port", "method", "path", "would"),
    [(22, None, None, Reason.PORT_NOT_ALLOWED), (443, "PUT", "/v1", Reason.METHOD_NOT_ALLOWED)],
)
def test_report_mode_tells_the_true_reason(port: int, method: str | None, path: str | None, would: Reason) -> None:
    narrow = rule("a.test", ports=frozenset({443}), methods=frozenset({"GET"}))
    decision = ask(policy(group(narrow, mode=Mode.REPORT)), "a.test", port, method, path)
    assert (decision.allowed, decision.reason, decision.would_reason) == (True, Reason.REPORT_ONLY, would)


def test_a_softened_denial_opens_no_plain_tunnel() -> None:
    """A rule for another port says nothing of what may be spoken at this one."""
    decision = ask(policy(group(rule("a.test", ports=frozenset({5432}), tls=False), mode=Mode.REPORT)), "a.test", 443)
    assert (decision.allowed, decision.plain, decision.lane) == (True, False, Lane.TUNNEL)
    right = ask(policy(group(rule("a.test", ports=frozenset({5432}), tls=False))), "a.test", 5432)
    assert (right.allowed, right.plain) == (True, True)


def test_a_rule_is_wider_only_if_it_lasts_as_long_and_opens_as_much() -> None:
    plain, ending = rule("a.test"), rule("a.test", until="2027-01-01")
    opening = rule("a.test", addresses=(TEN,))
    assert rule_covers(plain, ending)
    assert not rule_covers(ending, plain)
    assert rule_covers(opening, plain)
    assert not rule_covers(plain, opening)


TEXT = """\
version: 1
groups:
  g:
    allow:
      - {{host: .example.com, {facts}}}
clients: [{{group: g, anyone: true}}]
"""


def test_the_new_keys_load() -> None:
    facts = "owner: team-a, note: for the build, until: 2099-01-31, addresses: [10.0.0.0/8, 'fd00::/8'], paths: [/a], encoded_slash: true"
    loaded = load_text(TEXT.format(facts=facts), env={}, machine={})
    assert loaded.policy is not None, loaded.findings
    found = loaded.policy.groups["g"].allow.all[0]
    assert (str(found.pattern), found.owner, found.note, found.until) == (
        ".example.com", "team-a", "for the build", "2099-01-31")  # fmt: skip
    assert (found.addresses, found.encoded_slash) == ((TEN, ip_network("fd00::/8")), True)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("until: soon", "`until` is not a day"),
        ("until: 2027-02-30", "`until` is not a day"),
        ("until: [1]", "`until` is not a day"),
        ("addresses: [a.test]", "not a network of addresses"),
        ("addresses: []", "`addresses` is a list with at least one value"),
        ("encoded_slash: true", "`encoded_slash` has no meaning here"),
        ("owner: [x]", "`owner` is a text"),
        ("until: 2020-01-01", "this rule has allowed nothing since 2020-01-01"),
    ],
)
def test_what_they_may_not_say_is_told(facts: str, said: str) -> None:
    findings = load_text(TEXT.format(facts=facts), env={}, machine={}).findings
    assert [finding.message for finding in findings] == [said]


def test_addresses_stand_on_no_deny_rule_and_on_no_star() -> None:
    text = TEXT.format(facts="methods: [GET]").replace(
        "allow:\n",
        'deny:\n      - {host: a.example, addresses: [10.0.0.0/8]}\n    allow:\n      - {host: "*", addresses: [10.0.0.0/8]}\n',
    )
    messages = [finding.message for finding in load_text(text, env={}, machine={}).findings]
    assert messages == ["`addresses` opens, and a deny rule opens nothing", "`addresses` of every public host"]

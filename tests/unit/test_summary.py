"""The summary at the end of `outward run`."""

from functools import partial
from ipaddress import ip_network

import pytest

from outward.cli.summary import MAX_ROWS, Summary
from outward.config.known import exits, telemetry
from outward.config.load import load_text
from outward.config.sets import Hosts
from outward.config.starter import starter_policy
from outward.core.decide import decide
from outward.core.evidence import Demand, Evidence
from outward.core.model import Credential, Mode, Pattern, PatternKind, Place, Question, Rule, Verdict
from outward.core.names import canonical_host
from outward.core.policy import Group, Policy
from outward.core.proposal import Known, propose
from outward.core.reasons import Reason
from outward.core.rules import Rules
from outward.records.events.values import Event


def summarised(*events: Event) -> Summary:
    """Return a summary of events of a group without rules of its own for them."""
    summary = Summary()
    summary.policy = Policy(groups={"local": Group("local")})
    for event in events:
        summary.add(event)
    return summary


def blocked(host: str = "blocked.example", reason: Reason = Reason.NO_RULE, port: int = 443) -> Event:
    return Event(group="local", host=host, port=port, reason=reason, method="CONNECT")


def test_nothing_blocked_is_nothing_said() -> None:
    """Quiet is the sign of a policy that fits."""
    summary = summarised()
    summary.add(Event(verdict=Verdict.ALLOW, reason=Reason.RULE, host="a.example", port=443))
    assert list(summary.text("local")) == []


def test_each_host_stands_once_with_its_count_reason_and_line() -> None:
    """The most frequent comes first; the lines that would allow them stand together at the end."""
    summary = summarised()
    for event in (blocked("b.example", port=8443), blocked(), blocked(), blocked("d.example", Reason.DENIED_BY_RULE)):
        summary.add(event)
    assert list(summary.text("local")) == [
        "outward: blocked 3 hosts",
        "  blocked.example    2x  no_rule: No rule allows this host",
        "  b.example:8443     1x  no_rule: No rule allows this host",
        "  d.example          1x  denied_by_rule: A deny rule names this host",
        "      The rule was written on purpose: ask the one who owns the policy.",
        "outward: what is allowed can only be read from; what a request asks for can still carry data out",
        "to allow, in the configuration under groups, local, allow:",
        "  - blocked.example",
        '  - "b.example:8443"',
    ]


def test_without_a_configuration_the_summary_is_one() -> None:
    """Written as it stands, it allows what was blocked and still all that the starter policy does."""
    summary = summarised()
    summary.policy = Policy(
        groups={
            "local": Group(
                "local", allow=Rules([Rule(Pattern(PatternKind.EXACT, "a.example"), Place("", 1), frozenset({22}))])
            )
        }
    )
    summary.opened = (ip_network("10.1.2.3"),)
    events = (
        blocked("b.example", port=8443),
        blocked(),
        blocked("a.example", Reason.NOT_TLS, 22),
        blocked("2606:4700::1"),
    )
    for event in events:
        summary.add(event)
    lines = list(summary.text("local"))
    start = next(index for index, line in enumerate(lines) if line.startswith("to allow, write to "))
    assert lines[start].endswith("/outward/outward.yaml:")  # the user's own: `upstream` does not count in a tree's
    machine = {name: partial(Hosts, (f"{name}.mirror.example",)) for name in ("pip", "npm", "apt")}
    loaded = load_text("\n".join(lines[start + 1 :]), env={}, machine=machine)
    starter = starter_policy(env={}, machine=machine)
    assert (loaded.findings, loaded.policy.internal) == ((), summary.opened)
    assert [entry.kind for entry in loaded.policy.clients] == [Credential.ANYONE]
    written, started = ({rule.pattern for rule in each.policy.groups["local"].allow.all} for each in (loaded, starter))
    assert {pattern.value for pattern in written - started} == {event.host for event in events}
    assert started < written
    for event in events:
        host = canonical_host(f"[{event.host}]" if ":" in event.host else event.host)
        asked = Question("local", host, event.port)
        assert decide(loaded.policy, asked).allowed


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("update.googleapis.com", "programs report there beside their work (`@telemetry`)"),
        ("pastebin.com", "anybody can send or fetch through it (`@pastes`)"),
    ],
)
def test_no_line_is_offered_that_suggest_leaves_out(host: str, why: str) -> None:
    """Both judge alike; the summary says why, and how the line is had all the same."""
    summary = summarised()
    summary.add(blocked(host))
    summary.add(blocked("b.example"))
    lines = list(summary.text("local"))
    assert f"      No line is offered: {why}; `outward suggest --include {host}` proposes one." in lines
    assert lines[-1] == "  - b.example"
    (plain,) = [row for row in summary.as_json() if row["host"] == host]
    assert (plain["suggestion"], plain["left_out"]) == (None, why)
    asked = Demand(Question("local", canonical_host(host), 443), Evidence(1))
    known = Known(exits=exits(), telemetry=telemetry())
    assert [left.why for left in propose(summary.policy, [asked], known).left_out] == [why]


def test_what_needs_no_address_opened_can_stand_in_the_working_tree() -> None:
    """There it counts once somebody trusts it."""
    summary = summarised()
    summary.opened = ()
    summary.add(blocked())
    lines = list(summary.text("local"))
    assert "to allow, write to outward.yaml in this folder, then `outward trust`:" in lines
    assert not any("upstream" in line for line in lines)


def test_report_mode_names_what_it_would_have_blocked() -> None:
    """What was let through appears with the line that it will need."""
    summary = summarised()
    event = blocked()
    event.verdict, event.reason, event.would_deny, event.mode = Verdict.ALLOW, Reason.REPORT_ONLY, True, Mode.REPORT
    event.would_reason = Reason.NO_RULE
    summary.add(event)
    assert next(summary.text("local")) == "outward: would have blocked 1 host"
    assert summary.as_json()[0]["suggestion"] == "- blocked.example"


def test_what_report_mode_could_not_let_through_stands_apart() -> None:
    """What does not resolve neither looks like a host that only lacks a rule, nor like the work of the rules."""
    summary = summarised()
    for event in (blocked(reason=Reason.RESOLVE_FAILED), blocked("down.example", Reason.UPSTREAM_FAILED)):
        event.mode = Mode.REPORT
        event.detail = "Connection refused" if event.reason is Reason.UPSTREAM_FAILED else None
        if event.reason is Reason.RESOLVE_FAILED:
            event.would_deny, event.would_reason = True, Reason.NO_RULE
        summary.add(event)
    assert {row["reason"] for row in summary.as_json()} == {"no_rule", "resolve_failed", "upstream_failed"}
    assert list(summary.text("local")) == [
        "outward: would have blocked 1 host",
        "  blocked.example    1x  no_rule: No rule allows this host",
        "outward: could not reach 2 hosts",
        "  blocked.example    1x  resolve_failed: The host name does not resolve",
        "      Check the spelling and the proxy's DNS servers.",
        "  down.example       1x  upstream_failed: The destination could not be reached",
        "      Connection refused. Check that it is up, and that this is its port; then try again.",
        "outward: what is allowed can only be read from; what a request asks for can still carry data out",
        "to allow, in the configuration under groups, local, allow:",
        "  - blocked.example",
    ]


def test_rows_are_bounded() -> None:
    """A command that tries a million hosts does not fill the memory or the screen."""
    summary = summarised()
    for number in range(MAX_ROWS + 5):
        summary.add(blocked(f"h{number}.example"))
    assert len(summary.rows) == MAX_ROWS
    assert "  and 5 more" in summary.text("local")


def test_what_failed_is_not_called_blocked() -> None:
    """Which hop and which error stand there once for rows in turn; the same advice is not repeated."""
    events = [blocked(f"h{number}.example", Reason.TIMEOUT) for number in range(3)]
    for event in events:
        event.detail = "the parent proxy: no answer"
    summary = summarised(*events, blocked("x.example", Reason.DENIED_BY_RULE))
    assert [line for line in summary.text("local") if not line.startswith("  ")] == [
        "outward: blocked 1 host",
        "outward: could not reach 3 hosts",
        "outward: what is allowed can only be read from; what a request asks for can still carry data out",
    ]
    assert sum("The parent proxy: no answer. Try again." in line for line in summary.text("local")) == 1
    assert all(len(line) <= 40 for line in summary.text("local", 40) if line.startswith("      "))


def test_each_method_and_path_that_was_asked_has_a_line() -> None:
    """What one line would allow is not all that was blocked."""
    rule = Rule(Pattern(PatternKind.EXACT, "a.example"), Place("", 1), methods=frozenset({"GET"}))
    summary = summarised()
    summary.policy = Policy(groups={"local": Group("local", allow=Rules([rule]))})
    for path in ("/one", "/two", "/one"):
        event = blocked("a.example", Reason.METHOD_NOT_ALLOWED)
        event.method, event.path, event.scheme = "POST", path, "https"
        summary.add(event)
    assert summary.as_json()[0]["suggestions"] == [
        f'- {{host: "a.example", ports: [443], methods: [POST], paths: ["{path}"]}}' for path in ("/one", "/two")
    ]


def test_a_flagged_source_is_told_as_what_it_is() -> None:
    """The host was allowed: nothing would have been blocked, and no line is missing."""
    event = blocked("api.vendor.example", Reason.SOURCE_OUTSIDE_ALLOWLIST)
    event.verdict, event.would_deny = Verdict.ALLOW, True
    lines = list(summarised(event).text("local"))
    assert lines[0] == "outward: searches through 1 host named sources outside the allowlist"
    assert not any("to allow" in line or "no_rule" in line for line in lines)


def test_an_ipv6_address_has_brackets() -> None:
    """Else its last group and the port are one."""
    assert any("[2606:4700::1]:8443 " in line for line in summarised(blocked("2606:4700::1", port=8443)).text("local"))


def test_the_summary_says_through_what_data_can_leave() -> None:
    """Who reads what was blocked learns what was not."""
    hosts = ", ".join(f"h{number}.example" for number in range(7))
    text = f"version: 1\ngroups: {{local: {{allow: [{hosts}]}}}}\nclients: [{{group: local, anyone: true}}]\n"
    summary = summarised(blocked("x.example", Reason.DENIED_BY_RULE))
    summary.policy = load_text(text, env={}, machine={}).policy
    told = (
        "outward: the policy lets data be sent to h0.example, h1.example, h2.example, h3.example, h4.example and 2 more"
    )
    assert told in list(summary.text("local"))


def test_what_the_group_ignores_is_not_told() -> None:
    """Noise is counted in the records; here it would hide what matters, and be suggested."""
    text = (
        "version: 1\ngroups: {local: {ignore: [a.example, '*.b.example', .c.example]}}\n"
        "clients: [{group: local, anyone: true}]\n"
    )
    hosts = ("a.example", "x.a.example", "b.example", "x.b.example", "c.example", "x.c.example")
    summary = summarised(*(blocked(host) for host in hosts))
    summary.policy = load_text(text, env={}, machine={}).policy
    assert {row["host"] for row in summary.as_json()} == {"x.a.example", "b.example"}
    assert "outward: blocked 2 hosts" in list(summary.text("local"))

"""The summary at the end of `outward run`."""

from functools import partial
from ipaddress import ip_network

import pytest

from outward.cli.summary import MAX_ROWS, Summary
from outward.config.load import load_text
from outward.config.sets import Hosts
from outward.config.starter import starter_policy
from outward.core.model import Credential, Mode, Question, Verdict
from outward.core.names import canonical_host
from outward.core.policy import decide
from outward.core.reasons import Reason
from outward.core.suggest import suggestion
from outward.records.events import Event


def blocked(host: str = "blocked.example", reason: Reason = Reason.NO_RULE, port: int = 443) -> Event:
    return Event(host=host, port=port, reason=reason, method="CONNECT")


def test_nothing_blocked_is_nothing_said() -> None:
    """Quiet is the sign of a policy that fits."""
    summary = Summary()
    summary.add(Event(verdict=Verdict.ALLOW, reason=Reason.RULE, host="a.example", port=443))
    assert list(summary.text("local", report=False)) == []


def test_each_host_stands_once_with_its_count_reason_and_line() -> None:
    """The most frequent comes first; the lines that would allow them stand together at the end."""
    summary = Summary()
    for event in (blocked("b.example", port=8443), blocked(), blocked(), blocked("d.example", Reason.DENIED_BY_RULE)):
        summary.add(event)
    assert list(summary.text("local", report=False)) == [
        "outward: blocked 3 hosts",
        "  blocked.example    2x  no_rule: No rule allows this host",
        "  b.example:8443     1x  no_rule: No rule allows this host",
        "  d.example          1x  denied_by_rule: A deny rule names this host",
        "                         The rule was written on purpose: ask the one who owns the policy.",
        "to allow, in the configuration under groups, local, allow:",
        "  - blocked.example",
        '  - "b.example:8443"',
    ]


def test_without_a_configuration_the_summary_is_one() -> None:
    """Written as it stands, it allows what was blocked and still all that the starter policy does."""
    summary = Summary()
    summary.opened = (ip_network("10.1.2.3"),)
    events = (
        blocked("b.example", port=8443),
        blocked(),
        blocked("a.example", Reason.NOT_TLS, 22),
        blocked("2606:4700::1"),
    )
    for event in events:
        summary.add(event)
    lines = list(summary.text("local", report=False))
    start = lines.index("to allow, write to outward.yaml in this folder:")
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


def test_report_mode_names_what_it_would_have_blocked() -> None:
    """What was let through appears with the line that it will need."""
    summary = Summary()
    event = blocked()
    event.verdict, event.reason, event.would_deny, event.mode = Verdict.ALLOW, Reason.REPORT_ONLY, True, Mode.REPORT
    summary.add(event)
    assert next(summary.text("local", report=True)) == "outward: would have blocked 1 host"
    assert summary.as_json()[0]["suggestion"] == "- blocked.example"


def test_what_report_mode_could_not_let_through_stands_apart() -> None:
    """What does not resolve neither looks like a host that only lacks a rule, nor like the work of the rules."""
    summary = Summary()
    for event in (blocked(reason=Reason.RESOLVE_FAILED), blocked("down.example", Reason.UPSTREAM_FAILED)):
        event.mode = Mode.REPORT
        event.would_deny = event.reason is Reason.RESOLVE_FAILED
        summary.add(event)
    assert {row["reason"] for row in summary.as_json()} == {"no_rule", "resolve_failed", "upstream_failed"}
    assert list(summary.text("local", report=True)) == [
        "outward: would have blocked 1 host",
        "  blocked.example    1x  no_rule: No rule allows this host",
        "outward: could not reach 2 hosts, rules aside",
        "  blocked.example    1x  resolve_failed: The host name does not resolve",
        "                         Check the spelling and the proxy's DNS servers.",
        "  down.example       1x  upstream_failed: The destination could not be reached",
        "                         Try again; check its certificate.",
        "to allow, in the configuration under groups, local, allow:",
        "  - blocked.example",
    ]


def test_rows_are_bounded() -> None:
    """A command that tries a million hosts does not fill the memory or the screen."""
    summary = Summary()
    for number in range(MAX_ROWS + 5):
        summary.add(blocked(f"h{number}.example"))
    assert len(summary.rows) == MAX_ROWS
    assert "  and 5 more" in summary.text("local", report=False)


@pytest.mark.parametrize(
    ("reason", "host", "port", "method", "line"),
    [
        (Reason.NO_RULE, "a.example", 443, None, "- a.example"),
        (Reason.NO_RULE, "a.example", None, None, "- a.example"),
        (Reason.NO_RULE, "a.example", 5432, None, '- "a.example:5432"'),
        (Reason.PORT_NOT_ALLOWED, "2001:db8::1", 5432, None, '- "[2001:db8::1]:5432"'),
        (Reason.NO_RULE, "2001:db8::1", 443, None, '- "[2001:db8::1]"'),
        (Reason.METHOD_NOT_ALLOWED, "a.example", 443, "POST", '- {host: "a.example", methods: [POST]}'),
        (Reason.NOT_TLS, "a.example", 22, "CONNECT", '- {host: "a.example", ports: [22], tls: false}'),
        (Reason.DENIED_BY_RULE, "a.example", 443, None, None),
        (Reason.ADDRESS_NOT_PUBLIC, "a.example", 443, None, None),
    ],
)
def test_suggestions(reason: Reason, host: str, port: int | None, method: str | None, line: str | None) -> None:
    """A line is suggested only where an allow entry would help."""
    assert suggestion(reason, host, port, method) == line

"""The trace: every rule that was considered, what came of it, and the line that would allow."""

import pytest

from outward.config.load import load_text
from outward.core.decide import decide
from outward.core.explain import DecisionTrace, explain
from outward.core.model import Question, Verdict
from outward.core.names import canonical_host
from outward.core.reasons import Reason

TEXT = """\
version: 1
groups:
  a:
    allow: ["*.corp.example", "*"]
    deny: [{host: bad.corp.example, methods: [POST]}, evil.example]
    ceiling: ["*.corp.example", "*.corp.example:8443"]
  a/b:
    allow:
      - x.example
      - {host: api.corp.example, port: 8443, methods: [GET], paths: ["/v1/**"]}
  a/t: {lane: tunnel, allow: [{host: api.corp.example, port: 8443, methods: [GET]}]}
  r: {mode: report}
clients: [{group: a/b, source: 10.0.0.1}, {group: r, source: 10.0.0.2}, {group: a/t, anyone: true}]
"""
POLICY = load_text(TEXT, env={}, machine={}).policy


CEILING = load_text(
    "version: 1\ngroups:\n"
    "  c: {ceiling: ['*.corp.example', {host: read.example, methods: [GET]}]}\n"
    "  c/d: {allow: [a.corp.example]}\n"
    "  c/t: {lane: tunnel, allow: [read.example]}\n"
    "clients: [{group: c/d, source: 10.0.0.1}, {group: c/t, anyone: true}]\n",
    env={},
    machine={},
).policy


def trace(group: str, host: str, port: int = 443, method: str | None = None, path: str | None = None) -> DecisionTrace:
    return explain(POLICY, Question(group, canonical_host(host), port, method, path))


def steps(found: DecisionTrace) -> list[tuple[str, str, str, str, bool]]:
    return [(step.group, step.kind, str(step.rule.pattern), step.outcome, step.decided) for step in found.steps]


def test_the_trail_ends_with_the_deny_rule_that_decided():
    found = trace("a/b", "evil.example")
    assert steps(found) == [("a", "deny", "evil.example", "denies", True)]
    assert found.chain == ("a/b", "a")
    assert found.suggestion is None


def test_a_rule_above_the_ceiling_is_passed_over_for_one_that_is_not():
    found = trace("a/b", "x.example")
    assert steps(found) == [
        ("a/b", "allow", "x.example", "lies outside the ceiling of `a`", False),
        ("a", "allow", "*", "allows", True),
    ]
    assert found.ceiling == "a"
    assert found.suggestion is None


@pytest.mark.parametrize(
    ("method", "path", "outcome"),
    [
        ("POST", "/v1/x", "is for other methods"),
        ("GET", "/v2/x", "is for other paths"),
        ("GET", "/v1/../x", "is for other paths"),
    ],
)
def test_each_miss_is_told_in_words(method: str, path: str, outcome: str):
    found = trace("a/b", "api.corp.example", 8443, method, path)
    assert steps(found)[0] == ("a/b", "allow", "api.corp.example", outcome, False)


def test_ports_and_local_names_are_told():
    assert steps(trace("a/b", "api.corp.example", 22))[0][3] == "is for other ports"
    assert steps(trace("a", "printer.local"))[0][3] == "does not cover local names"


def test_a_rule_that_only_a_request_can_meet_is_told():
    assert steps(trace("a/b", "bad.corp.example"))[0] == (
        "a",
        "deny",
        "bad.corp.example",
        "is judged on each request",
        False,
    )
    assert (
        steps(trace("a/b", "bad.corp.example", method="GET", path="/"))[0][3] == "is for other ports, methods or paths"
    )


def test_a_tunnel_cannot_meet_a_rule_with_methods():
    found = trace("a/t", "api.corp.example", 8443)
    assert steps(found)[0] == (
        "a/t",
        "allow",
        "api.corp.example",
        "needs inspection, which `lane: tunnel` forbids",
        False,
    )


def test_what_nothing_is_about_has_a_suggestion():
    found = trace("r", "new.example", 8443)
    assert found.decision.reason is Reason.REPORT_ONLY
    assert found.steps == ()
    found = trace("a", "printer.local", 8443)
    assert (found.decision.reason, found.suggestion) == (Reason.NO_RULE, '- "printer.local:8443"')


def test_an_unknown_group_has_no_trace():
    found = trace("nobody", "a.example")
    assert (found.decision.reason, found.chain, found.steps) == (Reason.UNKNOWN_CLIENT, (), ())
    assert found.question.host.name == "a.example"


def test_a_line_that_the_ceiling_would_take_back_is_not_suggested():
    """Inside the ceiling it is; there the ceiling is no reason."""
    inside = explain(CEILING, Question("c/d", canonical_host("new.corp.example"), 443))
    assert (inside.decision.reason, inside.ceiling, inside.suggestion) == (Reason.NO_RULE, None, "- new.corp.example")
    outside = explain(CEILING, Question("c/d", canonical_host("new.example"), 443))
    assert (outside.decision.reason, outside.ceiling, outside.suggestion) == (Reason.NO_RULE, "c", None)


def test_a_ceiling_with_methods_is_closed_to_a_tunnel():
    """What may only be read cannot be told from what may not, without looking."""
    question = Question("c/t", canonical_host("read.example"), 443)
    found = explain(CEILING, question)
    assert (found.decision.reason, found.ceiling) == (Reason.NO_RULE, "c")
    assert steps(found)[0][3] == "lies outside the ceiling of `c`"
    seen = explain(CEILING, Question("c/t", canonical_host("read.example"), 80, "GET", "/", clear=True))
    assert (seen.decision.reason, seen.ceiling) == (Reason.RULE, None)


def test_a_method_that_is_missing_is_suggested():
    text = (
        "version: 1\ngroups: {g: {allow: [{host: a.example, methods: [GET]}]}}\nclients: [{group: g, anyone: true}]\n"
    )
    subject = load_text(text, env={}, machine={}).policy
    found = explain(subject, Question("g", canonical_host("a.example"), 443, "PUT", "/"))
    assert found.suggestion == '- {host: "a.example", ports: [443], methods: [PUT], paths: ["/"]}'


HOSTS = ("x.example", "api.corp.example", "bad.corp.example", "evil.example", "printer.local", "192.0.2.1")


@pytest.mark.parametrize("group", ["a", "a/b", "a/t", "r"])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("port", [443, 8443])
@pytest.mark.parametrize("method", [None, "GET", "POST"])
def test_the_step_that_decided_is_the_rule_of_the_decision(group: str, host: str, port: int, method: str | None):
    found = trace(group, host, port, method, "/v1/x" if method else None)
    assert found.decision == decide(POLICY, found.judged)
    deciding = [step.rule for step in found.steps if step.decided]
    if found.decision.reason in (Reason.RULE, Reason.DENIED_BY_RULE):
        assert deciding == [found.decision.rule]
    else:
        assert deciding == []


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("port", [443, 8443])
def test_the_suggested_line_allows_what_was_denied(host: str, port: int):
    text = "version: 1\ngroups:\n  dev:\n    allow:\n{}\nclients: [{{group: dev, anyone: true}}]\n"
    question = Question("dev", canonical_host(host), port)
    before = explain(load_text(text.format("      - other.example"), env={}, machine={}).policy, question)
    assert not before.decision.allowed
    after = load_text(text.format(f"      {before.suggestion}"), env={}, machine={}).policy
    assert decide(after, question).allowed


ADDRESSES = load_text(
    "version: 1\nupstream: {internal: [10.1.0.0/16]}\ngroups: {a: {allow: [10.0.0.0/8, 169.254.169.254]}}\n"
    "clients: [{group: a, anyone: true}]\n",
    env={},
    machine={},
).policy


@pytest.mark.parametrize(
    ("host", "reason", "closed", "line"),
    [
        ("10.1.2.3", Reason.RULE, None, None),
        (
            "10.2.2.3",
            Reason.ADDRESS_NOT_PUBLIC,
            "private",
            '{host: "10.2.2.3", ports: [443], addresses: ["10.2.2.3/32"]}',
        ),
        ("169.254.169.254", Reason.ADDRESS_NOT_PUBLIC, "cloud metadata", None),
        ("127.0.0.1", Reason.NO_RULE, "loopback", None),
        (
            "192.168.0.1",
            Reason.NO_RULE,
            "private",
            '{host: "192.168.0.1", ports: [443], addresses: ["192.168.0.1/32"]}',
        ),
    ],
)
def test_an_address_that_is_not_dialled_is_denied_and_its_exact_line_suggested_where_one_opens_it(
    host, reason, closed, line
):
    """What `explain` says of an address is what the proxy would do with it."""
    found = explain(ADDRESSES, Question("a", canonical_host(host), 443))
    assert (found.decision.reason, found.closed) == (reason, closed)
    assert found.suggestion == (line and f"- {line}")
    assert found.decision.verdict is (Verdict.ALLOW if reason is Reason.RULE else Verdict.DENY)

"""Every line that is suggested loads, allows what was blocked, and allows nothing beside it."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from outward.config.load import load_text
from outward.core.decide import decide
from outward.core.model import DEFAULT_PORTS, Question
from outward.core.names import canonical_host
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.core.suggest import shut, suggestion

HOSTS = ("a.example", "b.a.example", "c.example", "9.9.9.9", "10.9.0.7", "10.9.0.8")
PORTS = (22, 80, 443, 8443)
METHODS = ("GET", "POST")
PATHS = ("/", "/ok/x", "/ok/y", "/no", "/ok/x%2Fy", "/ok/x/y", "/@s%2fp")


def _rules(*more: str):
    return st.builds(
        lambda host, ports, methods, paths, more: (
            f'{{host: "{host}"'
            + (f", ports: {sorted(ports)}" if ports else "")
            + (f", methods: [{', '.join(sorted(methods))}]" if methods else "")
            + (f", paths: [{', '.join(paths)}]" if paths else "")
            + more
            + "}"
        ),
        st.sampled_from((*HOSTS, "*.a.example", "*.example.org", "10.9.0.0/24")),
        st.sets(st.sampled_from(PORTS), max_size=2),
        st.sets(st.sampled_from(METHODS), max_size=1),
        st.lists(st.sampled_from(("/ok/**", "/ok/x", "/ok/*")), max_size=1),
        st.sampled_from(("", *more)),
    )


rules = _rules(", until: 2100-01-01", ', addresses: ["10.9.0.7/32"]', ', addresses: ["10.9.0.0/24"]')
denials = _rules()
questions = st.builds(
    lambda host, port, seen: Question("g", canonical_host(host), port, *(seen or (None, None))),
    st.sampled_from(HOSTS),
    st.sampled_from(PORTS),
    st.none() | st.tuples(st.sampled_from(METHODS), st.sampled_from(PATHS)),
)


def loaded(allow: list[str], deny: list[str], lane: str) -> Policy:
    text = f"version: 1\ngroups: {{g: {{lane: {lane}, ech: refuse, allow: [{', '.join(allow)}], deny: [{', '.join(deny)}]}}}}\n"
    found = load_text(text + "clients: [{group: g, anyone: true}]\n", env={}, machine={})
    assert found.policy is not None, found.findings
    return found.policy


def neighbours(asked: Question) -> list[Question]:
    """Return every question that differs; a bare host means both of its usual ports, as one."""
    seen = [(method, path) for method in METHODS for path in PATHS] if asked.method else [(None, None)]
    return [
        replace(asked, host=canonical_host(host), port=port, method=method, path=path)
        for host in (*HOSTS, "x.a.example", "example")
        for port in PORTS
        for method, path in seen
    ]


def passes(policy: Policy, asked: Question) -> bool:
    """Tell whether a question is allowed, and its address dialled, where it names one."""
    decision = decide(policy, asked)
    return decision.allowed and shut(policy, asked.host, decision) is None


@settings(deadline=None)
@given(st.lists(rules, max_size=4), st.lists(denials, max_size=1), st.sampled_from(("auto", "tunnel")), questions)
def test_a_line_allows_what_was_asked_and_nothing_beside_it(allow, deny, lane, asked) -> None:
    """Neighbours in host, port, method and path are decided as before."""
    before = loaded(allow, deny, lane)
    decision = decide(before, asked)
    closed = decision.allowed and shut(before, asked.host, decision) is not None
    reason = Reason.ADDRESS_NOT_PUBLIC if closed else decision.reason
    line = suggestion(before, asked, reason)
    if line is None:
        return
    after = loaded([*allow, line.removeprefix("- ")], deny, lane)
    assert passes(after, asked)
    for other in neighbours(asked):
        opened = passes(after, other) and not passes(before, other)
        same_ports = other.port == asked.port or (
            reason is Reason.NO_RULE and {other.port, asked.port} <= DEFAULT_PORTS
        )
        by_request = reason in (Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED)
        same = (
            other.host == asked.host
            and same_ports
            and (not by_request or (other.method, other.path) == (asked.method, asked.path))
        )
        assert same or not opened, (line, other)

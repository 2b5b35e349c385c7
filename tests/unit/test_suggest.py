"""The line that would allow what was blocked, where one would."""

import pytest

from outward.config.load import load_text
from outward.core.decide import decide
from outward.core.entries import written
from outward.core.model import Question
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.core.suggest import cure, question_about, suggestion
from outward.core.urls import question_of

TEXT = """\
version: 1
upstream: {internal: [10.1.0.0/16, 127.0.0.7/32]}
sets: {plain: ["set.example:22"]}
groups:
  g:
    allow:
      - {host: api.example, ports: [24443], methods: [GET], paths: ["/ok/**"]}
      - {host: read.example, methods: [GET]}
      - only.example:22
      - both.example
      - "*.wild.example"
      - {host: db.example, ports: [5432], tls: false}
      - {host: files.example, paths: ["/pub/**"]}
      - "@plain"
    deny: [evil.example, {host: read.example, paths: ["/secret/**"]}]
    ceiling: ["*.inside.example"]
  g/below: {}
  g/tunnel: {lane: tunnel, allow: [{host: a.inside.example, methods: [GET]}]}
  e: {}
  r: {mode: report}
clients: [{group: g/below, source: 10.0.0.1}, {group: e, source: 10.0.0.2}, {group: r, source: 10.0.0.3}]
"""
OPEN = """\
version: 1
groups:
  g:
    allow:
      - {host: "localhost", ports: [5432], tls: false, addresses: ["127.0.0.1/32", "::1/128"]}
      - {host: "127.0.0.1", ports: [5432], tls: false, addresses: ["127.0.0.1/32", "::1/128"]}
      - {host: "[::1]", ports: [5432], tls: false, addresses: ["127.0.0.1/32", "::1/128"]}
clients: [{group: g, source: 10.0.0.1}]
"""


def policy(text: str = TEXT) -> Policy:
    found = load_text(text, env={}, machine={}).policy
    assert found is not None
    return found


def asked(url: str, group: str = "e", method: str | None = None) -> Question:
    return question_of(url, group, method)


@pytest.mark.parametrize(
    ("group", "url", "method", "line"),
    [
        ("e", "a.example", None, "- a.example"),
        ("r", "a.example", None, "- a.example"),
        ("e", "a.example:8443", None, '- "a.example:8443"'),
        ("e", "host1", None, "- host1"),
        ("e", "a.example:22", None, '- {host: "a.example", ports: [22], tls: false}'),
        ("e", "a.example:9418", None, '- {host: "a.example", ports: [9418], tls: false}'),
        ("e", "http://a.example:22/x", "GET", '- "a.example:22"'),
        ("g", "both.example:22", None, '- {host: "both.example", ports: [22], tls: false}'),
        ("g", "files.example:22", None, '- {host: "files.example", ports: [22], tls: false}'),
        ("e", "1.1.1.1", None, "- 1.1.1.1"),
        ("e", "[2606:4700::1]", None, '- "[2606:4700::1]"'),
        ("e", "10.1.2.3", None, "- 10.1.2.3"),
        ("g", "only.example:23", None, '- "only.example:23"'),
        ("g", "http://only.example:23/x", "GET", '- "only.example:23"'),
        ("g", "db.example:5433", None, '- {host: "db.example", ports: [5433], tls: false}'),
        (
            "g",
            "api.example:443",
            None,
            '- {host: "api.example", ports: [443], methods: [GET], paths: ["/ok/**"]}',
        ),
        (
            "g",
            "https://api.example:24443/ok/x",
            "POST",
            '- {host: "api.example", ports: [24443], methods: [POST], paths: ["/ok/x"]}',
        ),
        (
            "g",
            "https://api.example:24443/no",
            "GET",
            '- {host: "api.example", ports: [24443], methods: [GET], paths: ["/no"]}',
        ),
        (
            "g",
            "https://files.example/x",
            "PUT",
            '- {host: "files.example", ports: [443], methods: [PUT], paths: ["/x"]}',
        ),
        ("g/below", "a.inside.example", None, "- a.inside.example"),
        # None would help, or none can be said:
        ("g", "https://api.example:24443/no*", "GET", None),
        ("g", "https://read.example/x", "lower!", None),
        ("g", "https://read.example/secret/x", "POST", None),
        ("g", "evil.example", None, None),
        ("g/below", "a.outside.example", None, None),
        ("g", "both.example", None, None),
        ("g/tunnel", "a.inside.example:22", None, None),
        ("e", "10.0.0.1", None, '- {host: "10.0.0.1", ports: [443], addresses: ["10.0.0.1/32"]}'),
        ("e", "169.254.169.254", None, None),
        ("e", "[::1]", None, None),
        ("nobody", "a.example", None, None),
    ],
)
def test_a_line_adds_what_was_missing_and_keeps_the_limits_that_are_there(group, url, method, line):
    question = asked(url, group, method)
    assert suggestion(policy(), question, decide(policy(), question).reason) == line


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("only.example:22", '- {host: "only.example", ports: [22], tls: false}  # instead of line 9'),
        ("both.example", '- {host: "both.example", ports: [443], tls: false}  # above line 10'),
        ("a.wild.example", '- {host: "a.wild.example", ports: [443], tls: false}'),
        ("api.example:24443", None),  # a tunnel could not keep its limits
        ("unknown.example:22", '- {host: "unknown.example", ports: [22], tls: false}'),
        ("unknown.example:5432", '- {host: "unknown.example", ports: [5432], tls: false}'),
        ("http://unknown.example:443/", None),
    ],
)
def test_a_line_without_tls_comes_before_the_rule_that_would_decide(url, line):
    assert suggestion(policy(), asked(url, "g"), Reason.NOT_TLS) == line


@pytest.mark.parametrize(
    ("host", "port", "line"),
    [
        ("unknown.example", 5432, '- {host: "unknown.example", ports: [5432], tls: false}'),
        ("only.example", 5432, '- {host: "only.example", ports: [5432], tls: false}'),
        ("both.example", 443, '- {host: "both.example", ports: [443], tls: false}  # above line 10'),
        ("db.example", 5432, None),
    ],
)
def test_what_is_known_to_be_no_tls_needs_one_line(host, port, line):
    """Not one that opens the tunnel, and a second one that lets something be said in it."""
    question = question_about("g", host, port, method="CONNECT", path=None, scheme="tcp")
    assert question is not None
    decision = decide(policy(), question)
    assert decision.allowed is (line is None)
    assert suggestion(policy(), question, decision.reason) == line


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("port", [22, 8080])
def test_one_open_port_of_ones_own_machine_suggests_no_other(host, port):
    """Whoever opened PostgreSQL to a jail is not told to open sshd, or the proxy itself, to a whole group."""
    question = asked(f"{host}:{port}", "g")
    opened = policy(OPEN)
    assert decide(opened, question).reason is Reason.PORT_NOT_ALLOWED
    assert suggestion(opened, question, Reason.PORT_NOT_ALLOWED) is None


def test_what_else_a_service_of_ones_own_machine_misses_is_suggested():
    rules = "version: 1\ngroups: {g: {allow: [{host: svc.example, methods: [GET], addresses: [127.0.0.1/32]}]}}\n"
    opened = policy(f"{rules}clients: [{{group: g, source: 10.0.0.1}}]")
    line = '- {host: "svc.example", ports: [443], methods: [POST], paths: ["/x"], addresses: ["127.0.0.1/32"]}'
    assert suggestion(opened, asked("https://svc.example/x", "g", "POST"), Reason.METHOD_NOT_ALLOWED) == line


def test_a_client_does_not_read_its_own_path_in_a_suggestion():
    """Where only the path is missing, there is nothing to say then."""
    post, get = asked("https://api.example:24443/ok/x", "g", "POST"), asked("https://api.example:24443/no", "g")
    line = '- {host: "api.example", ports: [24443], methods: [POST], paths: ["/ok/**"]}'
    assert suggestion(policy(), post, Reason.METHOD_NOT_ALLOWED, private=True) == line
    assert suggestion(policy(), get, Reason.PATH_NOT_ALLOWED, private=True) is None


@pytest.mark.parametrize("reason", [Reason.DENIED_BY_RULE, Reason.SNI_MISSING, Reason.RESOLVE_FAILED, Reason.RULE])
def test_reasons_that_no_line_mends_have_none(reason):
    assert suggestion(policy(), asked("a.example"), reason) is None


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "::1", "0.0.0.0"])
def test_for_the_clients_own_loopback_the_cure_is_no_proxy(host):
    assert f"add {host} to NO_PROXY" in cure(Reason.NO_RULE, host)
    assert f"add {host} to NO_PROXY" in cure(Reason.ADDRESS_NOT_PUBLIC, host)


@pytest.mark.parametrize(
    ("reason", "host", "address", "stage", "told"),
    [
        (Reason.ADDRESS_NOT_PUBLIC, "db.example", "10.1.2.3", "address", "not public"),
        (Reason.ADDRESS_NOT_PUBLIC, "db.example", "169.254.169.254", "address", "never dialled"),
        (Reason.NO_RULE, "10.1.2.3", None, "connect", "not public"),
        (Reason.UPSTREAM_FAILED, "a.example", None, "address", "is up"),
        (Reason.UPSTREAM_FAILED, "a.example", None, "tls", "certificate"),
        (Reason.UPSTREAM_FAILED, "a.example", None, "response", "HTTP"),
        (Reason.NO_RULE, "1.2.3.4.5", None, "connect", "allow line"),
    ],
)
def test_the_cure_speaks_of_what_happened(reason, host, address, stage, told):
    assert told in cure(reason, host, address, stage)


@pytest.mark.parametrize("host", [None, "", "a..b", "-", "::zz"])
def test_a_host_that_cannot_be_read_is_no_question(host: str | None):
    assert question_about("e", host, 443, method="GET", path="/", scheme=None) is None


def test_the_question_of_a_connect_is_about_its_target_alone():
    found = question_about("e", "2001:db8::1", None, method="CONNECT", path="/x", scheme=None)
    assert found is not None
    assert (found.host.name, found.port, found.method, found.path) == ("2001:db8::1", 443, None, None)


def test_no_line_opens_an_address_where_a_rule_is_what_is_missing():
    question = asked("10.0.0.1", "e")
    assert decide(policy(), question).reason is Reason.NO_RULE
    assert suggestion(policy(), question, Reason.ADDRESS_NOT_PUBLIC) is None


def test_the_line_of_a_rule_says_all_that_the_rule_does():
    entry = '{host: "a.example", ports: [443], paths: ["/x/*"], encoded_slash: true, until: 2100-01-01}'
    text = f"version: 1\ngroups: {{g: {{allow: [{entry}]}}}}\nclients: [{{group: g, anyone: true}}]\n"
    found = load_text(text, env={}, machine={}).policy
    assert found is not None
    (rule,) = found.groups["g"].allow.all
    assert written(rule) == entry


SECRET = """\
version: 1
secrets: {key: {env: KEY, hosts: [api.example]}}
groups: {g: {allow: [{host: api.example, ports: [443], methods: [GET], inject: {basic: "a:{key}"}}]}}
clients: [{group: g, anyone: true}]
"""


@pytest.mark.parametrize(
    ("url", "method", "reason"),
    [
        ("https://api.example:8443/x", "GET", Reason.PORT_NOT_ALLOWED),
        ("https://api.example/x", "POST", Reason.METHOD_NOT_ALLOWED),
        ("https://api.example/x", "GET", Reason.ADDRESS_NOT_PUBLIC),
    ],
)
def test_no_line_sets_a_secret(url, method, reason):
    line = suggestion(policy(SECRET), asked(url, "g", method), reason)
    assert line is not None
    assert "api.example" in line
    assert "inject" not in line

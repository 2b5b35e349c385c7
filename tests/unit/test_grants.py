"""Grants: what may be asked for, what a grant opens, and that it opens nothing else, and nothing after its end."""

from dataclasses import replace

import pytest

from harness.policies import group, policy, rule
from outward.core.decide import decide, set_for
from outward.core.explain import explain
from outward.core.grants import LONGEST, AskError, Grant, grant_of, granting, next_end, takes_grants, wish
from outward.core.model import Grants, Injection, Lane, LaneChoice, Mode, Place, Question
from outward.core.names import canonical_host
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules

NOW = 1_800_000_000_000
HOUR = 3_600_000
GRANT = Grant("g1", "dev", "new.test", 443, None, None, NOW, NOW + HOUR, "ada", "for the demo")


def open_group(*allow, **settings):
    return group(*allow, grants=Grants.ALLOWED, **settings)


def vendor(name: str) -> str | None:
    return "acme" if name == "model.test" else None


SUBJECT = replace(
    policy(
        open_group(
            rule("a.test", ports=frozenset({443})),
            rule("seen.test", ports=frozenset({443}), methods=frozenset({"GET"}), paths=(PathGlob("/v1/**"),)),
            rule("ended.test", until="2020-01-01"),
            deny=(rule("denied.test"),),
        ),
        vendor_of=vendor,
        today="2026-11-30",
    ),
    internal=(),
)


def asks(host: str, port: int = 443, method: str | None = None, path: str | None = None, path_of: str = "dev"):
    return Question(path_of, canonical_host(host), port, method, path)


def allowed(subject: Policy, *about, **more) -> bool:
    return decide(subject, asks(*about, **more)).allowed


@pytest.mark.parametrize(
    ("url", "method", "asked", "line"),
    [
        ("https://new.test/a/b?token=secret", None, ("new.test", 443, None, None), "- new.test"),
        ("new.test", None, ("new.test", 443, None, None), "- new.test"),
        ("https://new.test/a", "POST", ("new.test", 443, None, None), "- new.test"),
        ("http://new.test/a?q", None, ("new.test", 80, None, None), "- new.test"),
        ("https://a.test:8443/", None, ("a.test", 8443, None, None), '- "a.test:8443"'),
        ("https://seen.test/v1/x", "put", ("seen.test", 443, "PUT", "/v1/x"), None),
        ("https://seen.test/v2/x?token=secret", None, ("seen.test", 443, "GET", "/v2/x"), None),
    ],
)
def test_what_is_asked_for_is_the_least_that_is_missing(url, method, asked, line):
    """The connection, or one method and path where requests are judged; a query is never kept."""
    found = wish(SUBJECT, "dev", url, method)
    question = found.question
    assert (question.host.name, question.port, question.method, question.path) == asked
    assert "secret" not in repr(found)
    assert line in (None, found.line)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://a.test/", "allowed already"),
        ("https://denied.test/", "denied_by_rule"),
        ("https://ended.test/", "rule_expired"),
        ("https://model.test/", "model vendors"),
        ("https://192.0.2.1/", "Addresses"),
        ("https://[2001:db8::1]/", "Addresses"),
        ("https://127.0.0.1/", "Addresses"),
        ("https://localhost/", "NO_PROXY"),
        ("https://*.new.test/", "not a host name"),
        ("https://user:secret@new.test/", "leave user name and password out"),
        ("ftp://new.test/", "not a scheme"),
        ("http://new.test:443/", "ask the one who owns the policy"),
        ("http://outward.internal/", "malformed_request"),
        ("https://seen.test/v2/*", "ask the one who owns the policy"),
    ],
)
def test_what_cannot_be_asked_for(url, told):
    """Only a plain miss, which a line of the group's own list would cure: no wildcard, address, vendor or denial."""
    with pytest.raises(AskError, match=told) as error:
        wish(SUBJECT, "dev", url)
    assert "secret" not in str(error.value)


def test_nobody_asks_for_a_group_that_does_not_exist_or_for_what_report_mode_lets_through():
    with pytest.raises(AskError, match="unknown_client"):
        wish(SUBJECT, "nobody", "https://new.test/")
    with pytest.raises(AskError, match="allowed already"):
        wish(policy(group(mode=Mode.REPORT)), "dev", "https://new.test/")


def test_a_grant_opens_its_host_and_port_until_its_end_and_nothing_else():
    subject = granting(SUBJECT, [GRANT], NOW)
    assert allowed(subject, "new.test")
    for other in (("sub.new.test",), ("new.test", 80), ("test",), ("other.test",)):
        assert not allowed(subject, *other)
    assert not allowed(SUBJECT, "new.test")
    assert allowed(granting(subject, [GRANT], GRANT.until - 1), "new.test")
    ended = granting(subject, [GRANT], GRANT.until)
    assert not allowed(ended, "new.test")
    assert ended.groups["dev"].granted.all == ()
    assert granting(ended, [GRANT], GRANT.until) is ended
    assert not allowed(granting(SUBJECT, [GRANT], NOW - 10 * HOUR), "new.test")


def test_the_decision_and_explain_show_the_grant():
    found = explain(granting(SUBJECT, [GRANT], NOW), asks("new.test"))
    (step,) = found.steps
    assert (str(step.rule.place), step.rule.owner, step.rule.note) == ("grant g1", "ada", "for the demo")
    assert step.decided
    assert (found.decision.lane, found.decision.granted) == (Lane.TUNNEL, True)


def test_what_a_file_allows_is_not_put_down_to_a_grant():
    subject = granting(SUBJECT, [replace(GRANT, host="a.test")], NOW)
    decision = decide(subject, asks("a.test"))
    assert (decision.rule, decision.granted) == (SUBJECT.groups["dev"].allow.all[0], False)


def test_the_line_that_makes_a_grant_lasting_is_the_same_while_it_holds():
    subject = granting(SUBJECT, [GRANT], NOW)
    before, now = (explain(each, asks("b.test" if each is SUBJECT else "new.test")) for each in (SUBJECT, subject))
    assert (before.suggestion, now.suggestion) == ("- b.test", None)


def test_a_grant_of_one_request_opens_that_method_and_path():
    narrow = replace(GRANT, host="seen.test", method="PUT", path="/v1/x")
    subject = granting(SUBJECT, [narrow], NOW)
    assert allowed(subject, "seen.test", 443, "PUT", "/v1/x")
    assert allowed(subject, "seen.test", 443, "GET", "/v1/x")
    for other in (("PUT", "/v1/y"), ("POST", "/v1/x"), ("PUT", "/v1/x/y"), ("PUT", "/v1/z/../x")):
        assert not allowed(subject, "seen.test", 443, *other)
    alone = granting(policy(open_group()), [narrow], NOW)
    assert decide(alone, asks("seen.test")).lane is Lane.INSPECT
    assert not allowed(alone, "seen.test", 443, "GET", "/v1/x")


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "*.new.test"},
        {"host": "*"},
        {"host": "192.0.2.1"},
        {"host": "[2001:db8::1]"},
        {"host": "model.test"},
        {"host": ""},
        {"method": "GET"},
        {"path": "/v1/x"},
        {"method": "GET", "path": "/v1/**"},
        {"method": "GET", "path": "v1"},
        {"until": NOW + LONGEST * 1000 + 1},
        {"group": "nobody"},
    ],
)
def test_a_row_that_says_more_than_a_grant_may_opens_nothing(changed):
    """Whoever can write to the database is held to the same."""
    subject = granting(SUBJECT, [replace(GRANT, **changed)], NOW)
    assert all(not found.granted.all for found in subject.groups.values())
    assert subject is SUBJECT


def test_deny_rules_and_ceilings_hold_against_a_grant():
    """On the group and above it; and the proxy's own name leads nowhere."""
    top = group(path="top", deny=(rule("*.evil.test"),), ceiling=Rules([rule("*.test"), rule("outward.internal")]))
    leaf = replace(open_group(path="top/leaf", deny=(rule("x.test"),)), parent=top)
    subject = policy(top, leaf)
    for host, opened in (
        ("ok.test", True), ("x.test", False), ("a.evil.test", False), ("else.example", False),
        ("outward.internal", False),
    ):  # fmt: skip
        found = granting(subject, [replace(GRANT, group="top/leaf", host=host)], NOW)
        assert allowed(found, host, path_of="top/leaf") is opened, host


def test_a_grant_is_its_groups_own():
    """Neither those below it nor those beside it share it."""
    top = open_group(path="top")
    subject = policy(top, replace(open_group(path="top/leaf"), parent=top), open_group(path="beside"))
    found = granting(subject, [replace(GRANT, group="top")], NOW)
    assert [allowed(found, "new.test", path_of=path) for path in ("top", "top/leaf", "beside")] == [True, False, False]


def test_a_lane_that_sees_nothing_takes_no_grant_of_a_request():
    subject = policy(open_group(lane=LaneChoice.TUNNEL))
    found = granting(subject, [replace(GRANT, method="GET", path="/v1")], NOW)
    assert decide(found, asks("new.test")).reason is Reason.METHOD_NOT_ALLOWED
    assert allowed(granting(subject, [GRANT], NOW), "new.test")


def test_grants_need_a_group_that_takes_them():
    for said in (None, Grants.NONE):
        subject = policy(group(grants=said))
        assert not takes_grants(subject, "dev")
        assert granting(subject, [GRANT], NOW) is subject
    assert not takes_grants(SUBJECT, "nobody")


def test_the_next_moment_at_which_something_changes():
    later = replace(GRANT, made=NOW + HOUR, until=NOW + 2 * HOUR)
    assert next_end([], NOW) is None
    assert next_end([GRANT], NOW) == GRANT.until
    assert next_end([GRANT, later], GRANT.until - 1) == GRANT.until
    assert NOW < next_end([later], NOW) < later.made
    assert next_end([GRANT], GRANT.until) is None


@pytest.mark.parametrize(
    ("place", "grant"),
    [(Place("grant g1", 0), "g1"), (Place("outward.yaml", 3), None), (Place("grant g1", 3), None)],
)
def test_a_rules_place_tells_whose_grant_it_is(place: Place, grant: str | None):
    """A file may be called as it likes: its rules have lines."""
    assert grant_of(place) == grant


def test_what_is_set_for_a_host_is_what_its_rules_set_and_what_is_bound_to_it():
    token, other = Injection("authorization", "Bearer {token}"), Injection("x-key", "{other}")
    setting = replace(rule("a.test"), inject=token)
    subject = replace(policy(group(setting, rule("a.test"), path="dev")), bound={"a.test": (other,)})
    assert list(set_for(subject, "dev", canonical_host("a.test"))) == [other, token]
    assert list(set_for(subject, "dev", canonical_host("b.test"))) == []
    assert list(set_for(subject, None, canonical_host("a.test"))) == [other]

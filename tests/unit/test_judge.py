"""The judge: what it remembers, and what it makes of a ClientHello."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from harness.gates import Recorder
from harness.policies import group, policy, rule
from outward.core.addresses import Own
from outward.core.decide import decide
from outward.core.grants import Grant
from outward.core.identity import Presented
from outward.core.model import ClientEntry, Credential, Decision, Ech, Grants, Place, Question, Stage, Verdict
from outward.core.names import canonical_host
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.http1.head import Head
from outward.ops.metrics import Metrics
from outward.proxy import judge as subject
from outward.proxy.answer import denial_of
from outward.proxy.judge import Judge, fill, judge_hello
from outward.proxy.question import event_of
from outward.tls.client_hello import Hello

PEER = ip_address("192.0.2.7")
HOST, NEW = canonical_host("a.test"), canonical_host("new.test")
DEV = policy(group(rule("a.test")))


def made(rules: Policy = DEV) -> Judge:
    return Judge(rules, Recorder(), Metrics(), Own())


def test_another_thread_sees_what_is_in_force_now_and_sets_nothing(monkeypatch: pytest.MonkeyPatch):
    """The loop may have set another meanwhile: what a thread of the admin API holds is never put back."""
    judge = made()
    first, tomorrow = judge.policy, time.time() + 86_400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    with ThreadPoolExecutor(1) as other:
        seen = other.submit(lambda: judge.policy).result()
    assert seen.today > first.today
    assert judge._policy is first
    assert judge.policy == seen
    assert judge._policy == seen


@pytest.mark.parametrize(
    "question", [Question("dev", NEW, 443), Question("dev", NEW, 443, "GET", "/")], ids=["connect", "request"]
)
def test_an_answer_from_just_before_a_grant_ends_is_not_remembered_behind_its_end(
    question: Question, monkeypatch: pytest.MonkeyPatch
):
    """The end passes while the question is judged."""
    clock = [1_800_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    judge = made(policy(replace(group(rule("a.test")), grants=Grants.ALLOWED)))
    end = clock[0] + 60
    judge.grants = (Grant("g", "dev", "new.test", 443, None, None, int(clock[0] * 1000), int(end * 1000), "ada", ""),)

    def ask() -> Decision:
        return judge.decide_request(question) if question.method else judge.decide_connect("dev", NEW, 443)

    def slowly(*asked: Any) -> Decision:
        decision = decide(*asked)
        clock[0] = end + 0.001
        return decision

    clock[0] = end - 0.001
    with monkeypatch.context() as patched:
        patched.setattr(subject, "decide", slowly)
        assert ask().allowed
    assert not ask().allowed


def test_a_remembered_answer_is_the_one_that_would_be_given():
    judge = made()
    for name in ("a.test", "b.test"):
        for port in (443, 8443):
            host = canonical_host(name)
            first = judge.decide_connect("dev", host, port)
            assert judge.decide_connect("dev", host, port) is first
            assert judge.decide_connect(None, host, port).reason is Reason.UNKNOWN_CLIENT


@pytest.mark.parametrize(
    ("rules", "remembered"),
    [
        (DEV, True),
        (policy(group(rule("b.test"))), True),
        (policy(group(rule("a.test", methods=frozenset({"GET"})))), False),
        (policy(group(rule("a.test", paths=(PathGlob("/a"),)))), False),
        (policy(group(rule("a.test"), deny=(rule("a.test", paths=(PathGlob("/a"),)),))), False),
        (policy(group(rule("a.test"), deny=(rule("10.0.0.0/8", paths=(PathGlob("/a"),)),))), False),
        (policy(group(rule("a.test")), vendor_of=lambda _host: "vendor"), False),
        (policy(group(rule("b.test", paths=(PathGlob("/a"),)), rule("a.test"))), True),
        (policy(), False),
    ],
)
def test_a_request_is_remembered_if_nothing_judges_its_method_or_path(rules: Policy, remembered: bool):
    """The answer is the one that `decide` gives in any case, for each of them by itself."""
    judge = made(rules)
    questions = [
        Question("dev", HOST, port, method, path, clear=clear)
        for method in ("GET", "POST")
        for path in ("/a", "/b")
        for port in (80, 443)
        for clear in (False, True)
    ]
    for _ in range(2):
        for each in questions:
            given, right = judge.decide_request(each), decide(judge.policy, each)
            assert replace(given, question=None) == replace(right, question=None)
    first, *_, last = (judge.decide_request(each) for each in questions if each.port == 443 and each.clear)
    assert (first is last) is remembered


def test_a_reload_forgets_every_answer():
    judge = made()
    assert judge.decide_connect("dev", HOST, 443).allowed
    assert judge.who(PEER, None).group == "dev"
    asked = Question("dev", HOST, 443, "GET", "/")
    assert judge.decide_request(asked).allowed
    judge.policy = policy(group(), clients=())
    assert not judge.decide_connect("dev", HOST, 443).allowed
    assert not judge.decide_request(asked).allowed
    assert judge.who(PEER, None).refusal is Reason.UNKNOWN_CLIENT


def test_the_line_of_a_denial_is_the_one_of_the_policy_in_force():
    """It is remembered; a reload forgets it, and another question has its own."""
    judge = made(policy(group()))

    def told(port: int) -> bytes:
        event = event_of(Head("CONNECT", "", http_10=False, fields=[], host=HOST, port=port), None)
        event.group = "dev"
        fill(event, judge.decide_connect("dev", HOST, port), Stage.CONNECT)
        return denial_of(judge, event, None, challenge=False)

    for _ in range(2):
        assert b'"suggestion": "- a.test"' in told(443)
        assert b"a.test:8443" in told(8443)
    judge.policy = policy(group(rule(HOST.name, ports=frozenset({22}))))
    assert b"port_not_allowed" in told(443)
    judge.policy = policy(group(rule("a.test"), deny=(rule(HOST.name),)))
    assert b'suggestion": null' in told(443)


def test_an_address_is_judged_by_what_is_in_force_now():
    """Networks that a reload closes, and addresses that this machine gets, are refused at the very next dial."""
    address = ip_address("10.1.2.3")
    judge = made(replace(DEV, internal=(ip_network("10.1.0.0/16"),)))
    assert [judge.address(address, 443, Decision())[0] for _ in range(2)] == [None, None]
    judge.own = Own(frozenset({address}))
    assert [judge.address(address, 443, Decision())[0] for _ in range(2)] == [Reason.LOOP] * 2
    judge.own = Own(listeners=frozenset({(address, 8080)}))
    assert (judge.address(address, 443, Decision())[0], judge.address(address, 8080, Decision())[0]) == (
        None,
        Reason.LOOP,
    )
    judge.policy = DEV
    assert judge.address(address, 443, Decision())[0] is Reason.ADDRESS_NOT_PUBLIC


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subject, "_REMEMBERED", 10)
    judge = made()
    for port in range(1, 100):
        judge.address(ip_address("192.0.2.9"), port, Decision())
        assert len(judge._memory) <= 11


def test_credentials_are_remembered_apart():
    digest = hashlib.sha256(b"secret").hexdigest()
    entry = ClientEntry(Credential.TOKEN, Place("policy.yaml", 1), group="dev", token_sha256=digest)
    judge = made(policy(group(), clients=(entry,)))
    for _ in range(2):
        assert judge.who(PEER, "Bearer secret").group == "dev"
        assert judge.who(PEER, "Bearer other").refusal is Reason.BAD_CREDENTIALS
        assert judge.who(PEER, None).refusal is Reason.UNKNOWN_CLIENT


def test_a_jwt_is_verified_each_time():
    class Verifier:
        asked = 0

        def claims(self, _policy: Policy, _authorization: str | None) -> None:
            self.asked += 1

    judge = made()
    judge.verifier = Verifier()
    for _ in range(3):
        assert judge.who(PEER, None) == judge.identify(Presented(PEER))
    assert judge.verifier.asked == 6


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subject, "_REMEMBERED", 100)
    judge = made()
    for number in range(1000):
        judge.decide_connect("dev", canonical_host(f"h{number}.test"), 443)
        judge.who(PEER, f"Bearer {number}")
    assert len(judge._memory.decisions) + len(judge._memory.identities) <= 102


ALLOWED = Decision(verdict=Verdict.ALLOW, reason=Reason.RULE)
REPORTED = replace(ALLOWED, reason=Reason.REPORT_ONLY)
STRICT = replace(ALLOWED, ech=Ech.REFUSE)


@pytest.mark.parametrize(
    ("sni", "ech", "host", "decision", "reason"),
    [
        ("a.test", False, "a.test", ALLOWED, None),
        ("A.Test.", False, "a.test", ALLOWED, None),
        ("b.test", False, "a.test", ALLOWED, Reason.SNI_MISMATCH),
        ("", False, "a.test", ALLOWED, Reason.SNI_MISMATCH),
        ("a.test\x00", False, "a.test", ALLOWED, Reason.SNI_MISMATCH),
        ("127.0.0.1", False, "a.test", ALLOWED, Reason.SNI_MISMATCH),
        (None, False, "a.test", ALLOWED, Reason.SNI_MISSING),
        (None, False, "192.0.2.1", ALLOWED, None),
        ("192.0.2.1", False, "192.0.2.1", ALLOWED, None),
        ("a.test", False, "192.0.2.1", ALLOWED, Reason.SNI_MISMATCH),
        (None, False, "192.0.2.1", REPORTED, Reason.SNI_MISSING),
        ("b.test", False, "a.test", REPORTED, Reason.SNI_MISMATCH),
        ("a.test", True, "a.test", ALLOWED, None),
        ("b.test", True, "a.test", ALLOWED, Reason.SNI_MISMATCH),
        ("a.test", True, "a.test", STRICT, Reason.ECH_REFUSED),
    ],
)
def test_a_hello_names_the_target_or_is_refused(
    sni: str | None, ech: bool, host: str, decision: Decision, reason: Reason | None
):
    assert judge_hello(Hello(sni, (), ech), canonical_host(host), decision) is reason

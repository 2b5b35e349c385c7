"""What a run in report mode keeps of its events."""

from ipaddress import ip_address

import pytest

from outward.cli import learning
from outward.cli.learning import Lessons
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.records.events.values import Event


def event(host: str, reason: Reason = Reason.NO_RULE, **more: object) -> Event:
    values = {"host": host, "port": 443, "group": "g", "reason": reason, "verdict": Verdict.DENY, **more}
    return Event(**values)  # type: ignore[arg-type]  # facts of an event


def passed(host: str, **more: object) -> Event:
    return event(host, Reason.REPORT_ONLY, verdict=Verdict.ALLOW, would_deny=True, would_reason=Reason.NO_RULE, **more)


def test_what_a_rule_could_open_is_kept_with_the_addresses_that_were_met():
    lessons = Lessons()
    for each in (
        passed("a.test", address="10.0.0.1"),
        passed("a.test", address="10.0.0.2"),
        event("b.test", Reason.ADDRESS_NOT_PUBLIC, address="10.0.0.3"),
        event("c.test", Reason.UPSTREAM_FAILED),
        event("d.test", Reason.RULE, verdict=Verdict.ALLOW, address="10.0.0.4"),
        event("", Reason.NO_RULE),
    ):
        lessons.add(each)
    assert {each.question.host.name: each.evidence.count for each in lessons.demands()} == {"a.test": 2, "b.test": 1}
    assert {question.host.name: found for question, found in lessons.met.items()} == {
        "a.test": frozenset(map(ip_address, ("10.0.0.1", "10.0.0.2"))),
        "b.test": frozenset({ip_address("10.0.0.3")}),
        "d.test": frozenset({ip_address("10.0.0.4")}),
    }
    assert lessons.shut


def test_a_name_that_does_not_exist_is_not_asked_for():
    lessons = Lessons()
    lost = {"would_deny": True, "would_reason": Reason.NO_RULE, "detail": "a name server: the name does not exist"}
    lessons.add(event("a.test", Reason.RESOLVE_FAILED, **lost))
    lessons.add(event("b.test", Reason.RESOLVE_FAILED, **lost))
    lessons.add(passed("b.test"))
    lessons.add(event("c.test", Reason.RESOLVE_FAILED, **(lost | {"detail": "no name server answers"})))
    assert [each.question.host.name for each in lessons.demands()] == ["b.test", "c.test"]
    assert lessons.lost == {"a.test", "b.test"}


def test_what_a_command_asks_for_is_bounded_and_what_found_no_room_is_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(learning, "MOST", 2)
    lessons = Lessons()
    for name in "abcd":
        lessons.add(passed(f"{name}.test", address="10.0.0.1"))
    lessons.add(event("e.test", Reason.RULE, verdict=Verdict.ALLOW, address="10.0.0.1"))
    assert (len(lessons.asked), len(lessons.met), lessons.more) == (2, 2, 2)

"""What clients cause is audited at a rate, and the counts stay exact; what administrators do always has its row."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from outward.records.audit.events import policy_reloaded
from outward.records.audit.folds import OF_KIND, OF_SEARCHES, WINDOW, AuditFolds
from outward.records.audit.values import AuditEvent

BLOCKED, INVOKED = "web_search_blocked", "web_search_invoked"


def blocked(target: str = "chat", name: str = BLOCKED, group: str = "acme", **details: Any) -> AuditEvent:
    facts = {"vendor": "anthropic", "tool_type": "web_search", "action": "stripped", "reason": "web_search_disabled"}
    return AuditEvent(event_type=name, group=group, target=target, author="10.0.0.1", details={**facts, **details})


def kept(folds: AuditFolds, events: Iterable[AuditEvent], now: float = 0.0) -> list[AuditEvent]:
    return [row for event in events if (row := folds.take(event, now)) is not None]


def attempts(rows: Iterable[AuditEvent]) -> int:
    return sum(row.details.get("count", 1) for row in rows)


def test_a_repeat_is_counted_beside_the_row_that_it_repeats() -> None:
    folds = AuditFolds()
    rows = kept(folds, (blocked(decision_id=f"d{number}") for number in range(7)))
    assert len(rows) == 1
    assert folds.due(WINDOW - 0.1) == []
    (more,) = folds.due(WINDOW)
    assert (more.details["count"], more.details["repeats_of"], more.target) == (6, rows[0].id, "chat")
    assert (more.details["decision_id"], more.details["reason"]) == ("d0", "web_search_disabled")
    assert folds.due(2 * WINDOW) == []
    assert len(kept(folds, [blocked()], 2 * WINDOW)) == 1  # another window, another row


@pytest.mark.parametrize(
    "other",
    [
        blocked("another"),
        blocked(group="acme/b"),
        blocked(vendor="openai"),
        blocked(tool_type="web_fetch"),
        blocked(reason="web_search_unfilterable"),
    ],
)
def test_what_differs_has_a_row_of_its_own(other: AuditEvent) -> None:
    assert len(kept(AuditFolds(), [blocked(), other])) == 2


def test_names_that_a_client_makes_up_fill_nothing_and_are_counted() -> None:
    folds = AuditFolds()
    rows = kept(folds, (blocked(f"chat-{number}") for number in range(5000)))
    assert len(rows) == OF_KIND[BLOCKED]
    assert len(folds) == OF_KIND[BLOCKED] + 1
    rows += kept(folds, [blocked(group="other")])  # another group has a rate of its own
    assert attempts([*rows, *folds.due(WINDOW)]) == 5001


def test_each_search_is_an_act_of_its_own_up_to_the_rate() -> None:
    folds = AuditFolds()
    rows = kept(folds, (blocked(name=INVOKED, reason=None, search_count=2) for _ in range(OF_SEARCHES + 30)))
    assert len(rows) == OF_SEARCHES
    (more,) = folds.due(WINDOW)
    assert (more.details["count"], more.details["search_count"], more.target) == (30, 60, None)
    assert more.author == "10.0.0.1"


def test_what_several_clients_did_is_laid_to_none_of_them() -> None:
    folds = AuditFolds()
    for number in range(2 * OF_SEARCHES):
        folds.take(replace(blocked(name=INVOKED), author=f"10.0.0.{number % 2}"), 0.0)
    assert [row.author for row in folds.due(WINDOW)] == ["several clients"]


def test_what_administrators_do_always_has_a_row() -> None:
    event = policy_reloaded("a", "b", asked=True)
    assert kept(AuditFolds(), [event] * 500) == [event] * 500

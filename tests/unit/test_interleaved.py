"""Where threads share live, every interleaving of two of them keeps what is promised, and none does without its guard."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.policies import group, policy, rule
from harness.racing import Race, race
from harness.records import denied
from outward.core.model import WebSearch
from outward.ops.metrics import Metrics
from outward.records.audit.values import AuditEvent
from outward.records.events.recorder import Recorder
from outward.records.events.values import Event
from outward.records.state import live as state_module
from outward.records.state.live import State
from outward.records.state.runtime_settings import OptInChange
from outward.records.state.search_counts import SearchCounts
from outward.records.worker import Worker

Raced = tuple[Callable[[], object], Callable[[], object], Callable[[], None]]
Make = Callable[[Race], Raced]
Scene = Callable[[Path, pytest.MonkeyPatch], Make]


@pytest.fixture(autouse=True)
def _no_trace_of_coverage() -> Iterable[None]:
    """Whoever else traces this thread goes on afterwards."""
    before = sys.gettrace()
    yield
    sys.settrace(before)


def recorder(tmp_path: Path, one: Race) -> Recorder:
    made = Recorder("", tmp_path, Metrics(), retention=60.0)  # its workers are not started: what it takes lies there
    one.guard(made, "_folding")
    return made


def attempts(subject: Recorder) -> int:
    """How many attempts the rows and the tallies of a recorder tell of."""
    rows = subject._store.leftover()
    tallies = subject._tallies(time.monotonic() + 3600)
    return sum(getattr(row, "count", 0) for row in rows) + sum(tally.added for tally in tallies)


def two_denials(tmp_path: Path, _patch: pytest.MonkeyPatch) -> Make:
    def make(one: Race) -> Raced:
        subject = recorder(tmp_path, one)
        first, second = denied(conversation="c", client="a"), denied(conversation="c", client="a")

        def holds() -> None:
            assert first.id == second.id
            assert attempts(subject) == 2

        return lambda: subject.record(first), lambda: subject.record(second), holds

    return make


def a_denial_and_the_tally(tmp_path: Path, _patch: pytest.MonkeyPatch) -> Make:
    def make(one: Race) -> Raced:
        subject = recorder(tmp_path, one)
        subject._writer.open = True  # while the store is away, only what has ended is told
        for _ in range(2):
            subject.record(denied(conversation="c", client="a"))
        told = [sum(row.count for row in subject._store.leftover() if isinstance(row, Event))]

        def tell() -> None:
            told.extend(tally.added for tally in subject._tallies(time.monotonic()))

        def holds() -> None:
            assert sum(told) + attempts(subject) == 3

        return tell, lambda: subject.record(denied(conversation="c", client="a")), holds

    return make


def an_audit_event_and_the_end_of_its_fold(tmp_path: Path, _patch: pytest.MonkeyPatch) -> Make:
    def make(one: Race) -> Raced:
        subject = recorder(tmp_path, one)

        def act() -> AuditEvent:
            return AuditEvent(
                event_type="web_search_blocked", group="acme", target="c", author="a", message="m", details={}
            )

        subject.audit(act())
        rows: list[Any] = subject._store.leftover()

        def tell() -> None:
            with subject._folding:
                rows.extend(subject._audited.due(float("inf")))

        def holds() -> None:
            tell()
            rows.extend(subject._store.leftover())
            assert sum(row.details.get("count", 1) for row in rows) == 2

        return lambda: subject.audit(act()), tell, holds

    return make


def two_counters(_tmp_path: Path, _patch: pytest.MonkeyPatch) -> Make:
    def make(one: Race) -> Raced:
        subject = Metrics()
        one.guard(subject, "_lock")

        def holds() -> None:
            assert subject.families["dropped"].labels("store").value == 2

        return lambda: subject.records_dropped("store", 1), lambda: subject.records_dropped("store", 1), holds

    return make


class Link:
    """Takes the place of the link to a database: it commits at once."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def run(self, work: Callable[[Any], object], _lock: int) -> object:
        return work(self)

    def execute(self, *_statement: object) -> list[object]:
        return []

    def insert(self, _statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        for _, name, _, searches in rows:
            self.counted[name] += searches


def searches(_tmp_path: Path, _patch: pytest.MonkeyPatch) -> Make:
    def make(one: Race) -> Raced:
        subject, link = SearchCounts(lambda: None), Link()  # type: ignore[arg-type, return-value]
        subject._link = link  # type: ignore[assignment]
        one.guard(subject, "_adding")
        subject.add("acme", "anthropic", 1)

        def write() -> None:
            subject._in_transaction(lambda _database: None)

        def holds() -> None:
            write()
            assert link.counted == {"acme": 3}

        return lambda: subject.add("acme", "anthropic", 2), write, holds

    return make


POLICY = policy(group(rule("allowed.test"), web_search=WebSearch(enabled=True)))
PATH = next(iter(POLICY.groups))


class News:
    """What the database says has changed."""

    version, grants = 1, ()
    tokens: tuple[object, ...] = ()

    def __init__(self, opt_ins: tuple[OptInChange, ...], toggles: Mapping[str, Any] | None = None) -> None:
        self.opt_ins, self.toggles = opt_ins, toggles or {}


def opt_in(*, active: bool, credential: str | None = None) -> OptInChange:
    return OptInChange("c", PATH, active, credential, "a", 1.0)


def consent(one: Race, monkeypatch: pytest.MonkeyPatch, news: News) -> State:
    made = State(POLICY, lambda: None, lambda: None)  # type: ignore[arg-type, return-value]
    made._opt_ins[("c", PATH)] = opt_in(active=True)
    monkeypatch.setattr(state_module.runtime_settings, "since", lambda *_about: news)
    monkeypatch.setattr(made.access, "take", lambda _grants: None)
    one.guard(made, "_binding")
    return made


def an_opt_out_and_a_first_use(_tmp_path: Path, patch: pytest.MonkeyPatch) -> Make:
    def make(one: Race) -> Raced:
        subject = consent(one, patch, News((opt_in(active=False),)))

        def holds() -> None:
            assert not subject.opted_in(PATH, "c", "mine")

        return lambda: subject.opted_in(PATH, "c", "mine"), lambda: subject._read(None), holds  # type: ignore[arg-type]

    return make


def two_first_uses(_tmp_path: Path, patch: pytest.MonkeyPatch) -> Make:
    def make(one: Race) -> Raced:
        subject, said = consent(one, patch, News(())), list[bool]()

        def use(credential: str) -> Callable[[], None]:
            return lambda: said.append(subject.opted_in(PATH, "c", credential))

        def holds() -> None:
            assert sorted(said) == [False, True]

        return use("mine"), use("other"), holds

    return make


RACES = [
    two_denials, a_denial_and_the_tally, an_audit_event_and_the_end_of_its_fold, two_counters, searches, an_opt_out_and_a_first_use,
    two_first_uses,
]  # fmt: skip


@pytest.mark.parametrize("scene", RACES, ids=lambda scene: scene.__name__)
def test_every_interleaving_keeps_it(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    race(scene(tmp_path, monkeypatch))


@pytest.mark.parametrize("scene", RACES, ids=lambda scene: scene.__name__)
def test_none_of_it_holds_without_its_guard(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, KeyError, AttributeError, RuntimeError)):
        race(scene(tmp_path, monkeypatch), unguarded=True)


def test_a_binding_that_is_not_written_yet_outlives_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that says that nobody has used it was read before the first use was written."""
    subject = consent(Race(unguarded=False), monkeypatch, News((opt_in(active=True),)))
    assert subject.opted_in(PATH, "c", "mine")
    subject._read(None)  # type: ignore[arg-type]
    assert not subject.opted_in(PATH, "c", "other")
    assert subject.opted_in(PATH, "c", "mine")


def test_what_a_queue_takes_while_it_ends_is_handled() -> None:
    def make(_one: Race) -> Raced:
        handled: list[int] = []
        subject: Worker[int] = Worker("raced", handled.extend, capacity=4, linger=0.0, on_error=handled.append)
        subject.start()
        taken: list[bool] = []

        def holds() -> None:
            assert subject.close(5)
            assert handled == ([1] if taken == [True] else [])

        return lambda: taken.append(subject.offer(1)), lambda: subject.close(5), holds

    race(make)


def test_settings_are_those_of_one_policy_while_another_takes_over() -> None:
    old = policy(group(rule("allowed.test"), web_search=WebSearch(enabled=True, max_searches=1)))
    new = policy(group(rule("allowed.test"), web_search=WebSearch(enabled=False, max_searches=2)))

    def make(_one: Race) -> Raced:
        subject = State(old, lambda: None, lambda: None)  # type: ignore[arg-type, return-value]
        subject.loaded = True
        seen: list[WebSearch] = []

        def reload() -> None:
            subject.policy = new

        def holds() -> None:
            assert [(each.enabled, each.max_searches) for each in seen] in ([(True, 1)], [(False, 2)])

        return lambda: seen.append(subject.web_search(PATH)), reload, holds

    race(make)

"""Folds: a repeat is counted in the row of the first, once, and no flood takes another's fold."""

from itertools import count

from outward.core.reasons import Reason
from outward.records.events.folds import GROUPS, OF_SOURCE, SHARE, STRANGERS, WINDOW, Folds
from outward.records.events.values import Event


def denied(host: str = "blocked.example", **facts: object) -> Event:
    facts = {"group": "acme", "client": "10.0.0.1", "port": 443, "reason": Reason.NO_RULE, **facts}
    return Event(host=host, **facts)  # type: ignore[arg-type]


def stranger(host: str = "blocked.example", **facts: object) -> Event:
    return denied(host, **{"group": None, "reason": Reason.UNKNOWN_CLIENT, **facts})


def told(folds: Folds, event: Event, now: float) -> Event | None:
    """Answer and record a denial, as the proxy does."""
    folds.count(event, now)
    return folds.recorded(event)


def rows(folds: Folds, events: list[Event], now: float = 0.0) -> dict[str, int]:
    """Record denials and return what each row counts in the end."""
    found: dict[str, int] = {}
    for event in events:
        row = told(folds, event, now)
        if row is not None:
            assert row.id not in found
            found[row.id] = row.count
    folds.end()
    while tallies := folds.tallies(now, 100):
        for tally in tallies:
            assert found[tally.row.id] + tally.added == tally.count
            found[tally.row.id] = tally.count
    return found


def test_a_repeat_has_the_id_of_the_row_that_counts_it() -> None:
    events = [denied() for _ in range(5)]
    assert rows(Folds(), events) == {events[0].id: 5}
    assert {event.id for event in events} == {events[0].id}


def test_what_differs_is_another_row() -> None:
    kinds = [
        {"client": "10.0.0.2"},
        {"group": "acme/a"},
        {"port": 80},
        {"reason": Reason.DENIED_BY_RULE},
        {"conversation": "chat"},
        {"sni": "other.example"},
    ]
    events = [denied(), denied("other.example"), *(denied(**facts) for facts in kinds)]
    assert list(rows(Folds(), events).values()) == [1] * len(events)


def test_clients_behind_one_address_are_told_apart() -> None:
    """A row says who asked, so that it counts nobody else's attempts; strangers are, once their token is known."""
    one, two = {"subject": "job:1", "claims": (("job_id", 1),)}, {"subject": "job:1", "claims": (("job_id", 2),)}
    assert list(rows(Folds(), [denied(**one), denied(**two), denied(), denied(**one)]).values()) == [2, 1, 1]
    events = [stranger(subject="a"), stranger(subject="b"), stranger(subject="a")]
    assert list(rows(Folds(), events).values()) == [2, 1]


def test_paths_are_told_apart_where_the_answer_is_about_them() -> None:
    about = [denied(path=path, reason=Reason.PATH_NOT_ALLOWED) for path in ("/a", "/b", "/a")]
    assert list(rows(Folds(), about).values()) == [2, 1]
    assert list(rows(Folds(), [denied(path="/a"), denied(path="/b")]).values()) == [2]


def test_a_fold_ends_after_a_minute() -> None:
    folds, first, second = Folds(), denied(), denied()
    assert told(folds, first, 0.0) is first
    assert told(folds, second, WINDOW) is second
    assert first.id != second.id


def test_the_times_of_the_first_and_the_last_are_kept() -> None:
    folds = Folds()
    told(folds, denied(time=100.0), 0.0)
    told(folds, denied(time=130.0), 30.0)
    row = folds.tallies(30.0, 10)[0].row
    assert (row.time, row.last_seen, row.count) == (100.0, 130.0, 2)


def test_repeats_that_come_while_the_first_is_open_are_in_its_row() -> None:
    folds, first = Folds(), denied()
    folds.count(first, 0.0)
    assert told(folds, denied(), 1.0) is None
    assert folds.tallies(1.0, 10) == []
    row = folds.recorded(first)
    assert row is not None
    assert (row.id, row.count) == (first.id, 2)
    assert folds.tallies(2.0, 10) == []


def test_a_repeat_is_counted_once_however_often_it_is_settled() -> None:
    folds, repeat = Folds(), denied()
    told(folds, denied(), 0.0)
    folds.count(repeat, 0.0)
    folds.count(repeat, 0.0)
    assert [tally.count for tally in folds.tallies(0.0, 10)] == [2]


def test_an_id_that_was_told_elsewhere_is_a_row_of_its_own() -> None:
    folds, late = Folds(), denied(told=True)
    told(folds, denied(), 0.0)
    ident = late.id
    assert told(folds, late, 0.0) is late
    assert late.id == ident


def test_a_tally_is_printed_at_the_end_alone() -> None:
    folds = Folds()
    told(folds, denied(), 0.0)
    told(folds, denied(), 1.0)
    assert [tally.unprinted for tally in folds.tallies(1.0, 10)] == [0]
    assert [(tally.added, tally.unprinted) for tally in folds.tallies(WINDOW, 10)] == [(0, 1)]
    assert len(folds) == 0


def test_a_store_that_is_away_is_told_at_the_end_alone() -> None:
    folds = Folds()
    told(folds, denied(), 0.0)
    told(folds, denied(), 1.0)
    assert folds.tallies(1.0, 10, ended_only=True) == []
    assert [tally.added for tally in folds.tallies(WINDOW, 10, ended_only=True)] == [1]


def test_a_hundred_thousand_hosts_of_a_stranger_are_few_rows_and_take_no_groups_fold() -> None:
    folds, first = Folds(), denied()
    told(folds, first, 0.0)
    found: dict[str, int] = {}
    for number in range(100_000):
        event = stranger(f"h{number}.example")
        row = told(folds, event, 1.0)
        if row is not None:
            found[row.id] = 1
        assert event.id in found
    assert len(found) == OF_SOURCE + 1
    again = denied()
    assert told(folds, again, 2.0) is None
    assert again.id == first.id
    folds.end()
    counts = {tally.row.id: tally.row for tally in folds.tallies(2.0, 10**6)}
    crowd = [row for row in counts.values() if row.group is None]
    assert [(row.count, row.host, row.client, row.reason) for row in crowd] == [
        (100_000 - OF_SOURCE, None, "10.0.0.1", Reason.UNKNOWN_CLIENT)
    ]


def test_strangers_of_many_addresses_are_bounded_and_each_counted_once() -> None:
    folds, sources = Folds(), count()
    events = [stranger("a.example", client=f"2001:db8::{next(sources):x}") for _ in range(3 * STRANGERS)]
    found = rows(folds, events)
    assert len(found) == STRANGERS + 1
    assert sum(found.values()) == 3 * STRANGERS


def test_places_of_a_stranger_are_free_again_after_a_minute() -> None:
    folds = Folds()
    for start in (0.0, WINDOW, 2 * WINDOW):
        folds.tallies(start, 10)
        hosts = [told(folds, stranger(f"h{number}.example"), start) for number in range(OF_SOURCE)]
        assert all(row is not None and row.host is not None for row in hosts)


def test_a_groups_flood_ends_its_own_folds_and_loses_no_count() -> None:
    folds, other = Folds(), denied(group="other")
    told(folds, other, 0.0)
    hosts = [f"h{number}.example" for number in range(2 * SHARE)]
    events = [denied(host) for host in hosts for _ in range(2)]
    found = rows(folds, events)
    assert len(folds) == 0
    assert found == {event.id: 2 for event in events}


def test_all_groups_together_are_bounded() -> None:
    folds = Folds()
    for group in range(2 * GROUPS // SHARE):
        for number in range(SHARE):
            told(folds, denied(f"h{number}.example", group=f"g{group}"), 0.0)
            assert len(folds) <= GROUPS
    assert told(folds, denied(group="late"), 0.0) is not None
    assert len(folds) <= GROUPS


def challenged(host: str = "blocked.example", **facts: object) -> Event:
    return stranger(host, **{"status": 407, **facts})


def settled(folds: Folds, *events: Event) -> None:
    for event in events:
        folds.count(event, 0.0)


def test_an_answered_challenge_leaves_nothing_and_frees_its_id() -> None:
    folds, event = Folds(), challenged()
    settled(folds, event)
    assert folds.withdraw(event)
    assert not folds.withdraw(event)
    assert (len(folds), folds.tallies(WINDOW * 2, 100)) == (0, [])
    assert rows(folds, [again := challenged()]) == {again.id: 1}


def test_an_id_that_others_were_told_is_not_free() -> None:
    folds, events = Folds(), [challenged() for _ in range(3)]
    settled(folds, *events)
    assert [folds.withdraw(event) for event in events] == [False, False, True]


def test_challenges_that_nobody_answers_are_one_row_whichever_was_first() -> None:
    for answered in range(4):
        folds, events = Folds(), [challenged() for _ in range(4)]
        settled(folds, *events)
        assert not folds.withdraw(events.pop(answered))
        found = [row for event in events if (row := folds.recorded(event)) is not None]
        assert [row.id for row in found] == [events[0].id]
        folds.end()
        tallies = folds.tallies(WINDOW, 100)
        assert found[0].count + sum(tally.added for tally in tallies) == 3
        assert sum(tally.unprinted for tally in tallies) == 2


def test_a_refusal_that_cannot_be_answered_has_the_row_before_a_challenge_that_may_be() -> None:
    folds, asked, refused = Folds(), challenged(), stranger()
    settled(folds, asked, refused)
    assert not folds.withdraw(asked)
    row = folds.recorded(refused)
    assert row is not None
    assert (row.id, row.count) == (asked.id, 1)


def test_a_challenge_that_nobody_answers_counts_in_the_row_that_has_ended_since() -> None:
    folds, events = Folds(), [challenged(), challenged(), challenged()]
    settled(folds, *events)
    assert folds.recorded(events[0]) is not None
    folds.end()
    for event in events[1:]:
        assert folds.recorded(event) is None
        (tally,) = folds.tallies(WINDOW, 100)
        assert (tally.added, tally.unprinted) == (1, 1)


def test_answered_challenges_of_a_crowd_leave_nothing() -> None:
    for sources in (1, 2 * STRANGERS // OF_SOURCE):
        folds = Folds()
        events = [
            challenged(f"h{each}.example", client=f"10.0.{source}.1")
            for source in range(sources)
            for each in range(OF_SOURCE + 2)
        ]
        settled(folds, *events)
        for event in events:
            folds.withdraw(event)
        assert (len(folds), folds.tallies(WINDOW * 2, 100)) == (0, [])
        assert not folds._of_source

"""What goes when the store is at its bound, and when a clock is believed."""

import pytest

from outward.records.clocks import Clock
from outward.records.events.pruning import STRANGERS, excess

DAY = 86_400.0


def test_nothing_goes_while_all_fits() -> None:
    assert excess({"a": 700, STRANGERS: 100}, 1000) is None


def test_strangers_are_bounded_apart() -> None:
    assert excess({"a": 10, STRANGERS: 126}, 1000) == (STRANGERS, 126 - 125 + 20 // 8)


def test_strangers_go_before_any_group() -> None:
    assert excess({"a": 950, STRANGERS: 60}, 1000) == (STRANGERS, 10 + 20)


def test_of_groups_the_largest_gives_up_its_own() -> None:
    assert excess({"a": 100, "b": 800, "c": 200}, 1000) == ("b", 100 + 20)
    assert excess({"a": 600, "b": 600}, 1000) == ("a", 200 + 20)


class Time:
    """Clocks that a test sets."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000 * DAY, 0.0

    def pass_by(self, seconds: float) -> None:
        self.wall, self.steady = self.wall + seconds, self.steady + seconds


def clock(time: Time) -> Clock:
    return Clock(lambda: time.wall, lambda: time.steady)


def test_the_database_says_what_time_it_is() -> None:
    time = Time()
    assert clock(time).agreed(time.wall + 5, lambda: None) == time.wall + 5


def test_clocks_that_differ_prune_nothing_until_they_agree() -> None:
    time = Time()
    looking = clock(time)
    server = time.wall - 40 * DAY
    assert looking.agreed(server, lambda: None) is None
    assert looking.problem is not None
    assert "differ" in looking.problem
    time.wall = server
    assert looking.agreed(server, lambda: None) == server
    assert looking.problem is None


def test_a_clock_that_jumps_is_doubted_for_a_day() -> None:
    time = Time()
    looking = clock(time)
    assert looking.agreed(None, lambda: time.wall - 10) == time.wall
    time.wall += 40 * DAY
    assert looking.agreed(None, lambda: time.wall) is None
    time.pass_by(DAY / 2)
    assert looking.agreed(None, lambda: time.wall) is None
    time.pass_by(DAY)
    assert looking.agreed(None, lambda: time.wall) == time.wall


@pytest.mark.parametrize("newest", [-40 * DAY, 3600.0])
def test_a_clock_far_from_the_newest_record_is_doubted_for_a_day(newest: float) -> None:
    time = Time()
    looking, last = clock(time), time.wall + newest
    assert looking.agreed(None, lambda: last) is None
    time.pass_by(60)
    assert looking.agreed(None, lambda: time.wall) is None
    time.pass_by(2 * DAY)
    assert looking.agreed(None, lambda: time.wall) == time.wall


def test_an_empty_store_has_nothing_to_say_about_the_time() -> None:
    time = Time()
    assert clock(time).agreed(None, lambda: None) == time.wall

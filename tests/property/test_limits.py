"""Limits of groups: never more than a bucket holds, never less than its rate, and all of a chain at once or nothing."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from harness.policies import group, policy
from outward.core.limits import GroupLimits, Rate, full_at, wait
from outward.core.model import Place
from outward.core.policy import Group
from outward.proxy.limiter import Limiter, Over

PLACE = Place("outward.yaml", 1)
gaps = st.lists(st.integers(0, 40).map(lambda number: number / 16), min_size=1, max_size=60)
rates, bursts = st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0]), st.integers(1, 6)


def limited(rate: float | None = None, burst: int = 1, connections: int | None = None) -> GroupLimits:
    return GroupLimits(PLACE, None if rate is None else Rate(rate, burst), connections)


def test_a_look_from_another_thread_puts_no_dropped_limit_back() -> None:
    """Even if the policy is replaced in the middle of it."""
    limiter, after = Limiter(), policy(replace(group(), limits=limited(connections=1)))

    class Replaced(dict[str, Group]):
        def get(self, path: str, _default: object = None) -> Group:  # type: ignore[override]
            limiter.use(after)
            return self[path]

    before = replace(group(), limits=limited(connections=9))
    limiter.use(replace(policy(), groups=Replaced({before.path: before})))
    assert limiter.connections() == {before.path: (0, 9)}
    assert callable(limiter.enter(before.path))
    assert isinstance(limiter.enter(before.path), Over)


@given(rates, bursts, gaps)
def test_the_bucket_is_one_that_is_refilled(rate: float, burst: int, pauses: list[float]) -> None:
    """As a bucket of whole tokens that drips at the rate, in exact numbers."""
    limits, full, now = Rate(rate, burst), 0.0, 1000.0
    tokens, filled = Fraction(burst), Fraction(1000)
    for pause in pauses:
        now += pause
        tokens = min(Fraction(burst), tokens + (Fraction(now) - filled) * Fraction(rate))
        filled = Fraction(now)
        seconds = wait(full, limits, now)
        assert (seconds == 0) is (tokens >= 1)
        if seconds:
            assert abs(seconds - float((1 - tokens) / Fraction(rate))) < 1e-6
            assert wait(full, limits, now + seconds) == 0
        else:
            full, tokens = full_at(full, limits, now), tokens - 1


@given(
    st.tuples(rates, bursts),
    st.tuples(rates, bursts),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8)), max_size=60),
)
def test_a_chain_takes_from_all_its_buckets_or_from_none(above, below, asked) -> None:
    """What a child is refused costs its ancestor nothing, and what the ancestor refuses costs no child."""
    top = Group("top", limits=limited(*above))
    children = [Group(f"top/{name}", parent=top, limits=limited(*below)) for name in "ab"]
    subject, alone = Limiter(), dict.fromkeys(("top", "top/a", "top/b"), 0.0)
    subject.use(policy(top, *children))
    now = 1000.0
    for name, pause in asked:
        now += pause / 4
        path = f"top/{name}"
        room = not wait(alone["top"], top.limits.rate, now) and not wait(alone[path], children[0].limits.rate, now)
        over = subject.ask(path, now)
        assert (over is None) is room
        if room:
            alone["top"] = full_at(alone["top"], top.limits.rate, now)
            alone[path] = full_at(alone[path], children[0].limits.rate, now)
        else:
            assert over.seconds >= 1


def test_connections_are_counted_for_a_whole_subtree_and_given_back_once() -> None:
    top = Group("top", limits=limited(connections=2))
    subject = Limiter()
    subject.use(
        policy(
            top, Group("top/a", parent=top, limits=limited(connections=1)), Group("top/b", parent=top), group(path="x")
        )
    )
    leave = subject.enter("top/a")
    over = subject.enter("top/a")
    assert isinstance(over, Over)
    assert over.why == "top/a may have 1 connections open at a time"
    assert not isinstance(subject.enter("top/b"), Over)
    assert subject.enter("top/b").why.startswith("top may have 2")
    assert not isinstance(subject.enter("x"), Over)
    assert subject.connections() == {"top": (2, 2), "top/a": (1, 1)}
    leave()
    leave()
    assert subject.connections() == {"top": (1, 2), "top/a": (0, 1)}


def test_a_reload_keeps_what_was_spent_and_a_group_laid_over_another_has_both_limits() -> None:
    """A file's group is the parent of the one that is laid over it, under the same path."""
    file = Group("top", limits=limited(0.5, 1))
    over = Group("top", parent=file, limits=limited(8.0, 2))
    unlimited, subject = Group("top"), Limiter()
    assert not subject
    subject.use(policy(file))
    assert subject
    assert subject.ask("top", 100.0) is None
    subject.use(policy(Group("top", parent=file)))
    assert subject.ask("top", 100.0).why == "top may make 0.5 requests a second, and 1 at once"
    subject.use(policy(over))
    assert subject.ask("top", 101.0).seconds == 1
    assert subject.ask("top", 102.0) is None
    subject.use(policy(unlimited))
    assert not subject
    assert subject.ask("top", 102.0) is None
    subject.use(policy(group(path="other")))
    assert subject.ask("gone", 102.0) is None

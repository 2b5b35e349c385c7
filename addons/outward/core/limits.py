"""How much a group may ask for: requests a second with a burst, and connections at a time. Pure: time is an argument.

The rate is a token bucket, written as the moment at which it will be full again (the generic cell rate algorithm, ITU-T
I.371): one number, which nothing has to refill.
"""

from dataclasses import dataclass

from outward.core.model import Place

_ROUNDING = 1e-6  # seconds; who comes exactly on time is not early by what a sum of fractions is


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests may be made.

    Attributes:
        per_second: on average.
        burst: at once after a pause.
    """

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What a group says for itself and all below it, all of them together.

    Attributes:
        place: where that is written.
        rate: of requests; None sets no limit.
        connections: of its clients that may be open at a time; None sets no limit.
    """

    place: Place
    rate: Rate | None = None
    connections: int | None = None


def full_at(before: float, rate: Rate, now: float) -> float:
    """Return when the bucket is full again once one more request is taken.

    Args:
        before: when it would be full without it; anything in the past for a full one.
        rate: of the bucket.
        now: seconds of a clock that does not go back.

    Example:
        >>> full_at(0.0, Rate(per_second=2, burst=1), now=10.0)
        10.5
    """
    return max(before, now) + 1 / rate.per_second


def wait(before: float, rate: Rate, now: float) -> float:
    """Return the seconds until a request may be taken; 0.0 if it may be now.

    Example:
        >>> rate = Rate(per_second=2, burst=1)
        >>> wait(full_at(0.0, rate, 10.0), rate, 10.0)
        0.5
    """
    seconds = full_at(before, rate, now) - rate.burst / rate.per_second - now
    return seconds if seconds > _ROUNDING else 0.0

"""How much a group may ask for: requests a second with a burst, and connections at a time. Pure: time is an argument.

The rate is a token bucket, written as the moment at which it will be full again (the generic cell rate algorithm, ITU-T
I.371): one number, which nothing has to refill.
"""

from dataclasses import dataclass

from outward.core.model import Place

_ROUNDING = 1e-6  # seconds; who comes exactly on time is not early by what a sum of fractions is


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What a group says for itself and all below it, all of them together.

    Attributes:
        place: where that is written.
        per_second: requests that it may make, on average; None sets no limit.
        burst: requests that it may make at once after a pause.
        connections: of its clients that may be open at a time; None sets no limit.
    """

    place: Place
    per_second: float | None = None
    burst: int = 1
    connections: int | None = None


def full_at(before: float, limits: GroupLimits, now: float) -> float:
    """Return when the bucket is full again once one more request is taken.

    Args:
        before: when it would be full without it; anything in the past for a full one.
        limits: with `per_second`.
        now: seconds of a clock that does not go back.
    """
    return max(before, now) + 1 / (limits.per_second or 1)


def wait(before: float, limits: GroupLimits, now: float) -> float:
    """Return the seconds until a request may be taken; 0.0 where it may be now, or where there is no rate.

    Example:
        >>> limits = GroupLimits(Place("outward.yaml", 1), per_second=2, burst=1)
        >>> wait(full_at(0.0, limits, 10.0), limits, 10.0)
        0.5
    """
    if limits.per_second is None:
        return 0.0
    seconds = full_at(before, limits, now) - limits.burst / limits.per_second - now
    return seconds if seconds > _ROUNDING else 0.0

"""Holds groups to their `limits`: every request to the rates, every connection to the counts, of a whole chain.

Owns the state, which outlives reloads. Says no more than who is over what, and for how long; who asks refuses.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from outward.core.limits import GroupLimits, full_at, wait
from outward.core.policy import Policy

_SOON = 1  # seconds after which a connection may be tried again: nobody knows when one will end

type _Key = tuple[str, int]
"""Path of a group, and how many nodes above it in its chain have the same one, which it is laid over."""


@dataclass(frozen=True, slots=True)
class Over:
    """What is over a limit.

    Attributes:
        why: which limit, in words.
        seconds: after which to try again, at least 1.
    """

    why: str
    seconds: int


class Limiter:
    """The limits of the policy in force; false where there are none, so that nobody need ask."""

    def __init__(self) -> None:
        self._policy = Policy()
        self._paths: tuple[str, ...] = ()
        self._chains: dict[str, tuple[tuple[_Key, GroupLimits], ...]] = {}
        self._full_at: dict[_Key, float] = {}
        self._open: dict[_Key, int] = {}

    def __bool__(self) -> bool:
        return bool(self._paths)

    def use(self, policy: Policy) -> None:
        """Hold to another policy from now on; what was spent stays spent."""
        self._policy = policy
        self._chains = {}
        self._paths = tuple(path for path, group in policy.groups.items() if any(node.limits for node in group.chain))
        self._full_at = {key: moment for key, moment in self._full_at.copy().items() if key[0] in policy.groups}

    def connections(self) -> dict[str, tuple[int, int]]:
        """Return by group how many connections are open and how many may be, where that is limited; from any thread."""
        found: dict[str, tuple[int, int]] = {}
        for path in self._paths:
            for key, limits in self._nodes(path):  # kept is a chain by the loop alone, which knows what is in force
                if key[0] == path and limits.connections:
                    found.setdefault(path, (self._open.get(key, 0), limits.connections))
        return found

    def ask(self, group: str, now: float) -> Over | None:
        """Take one request from the rate of a group and of each above it; None where all of them have room.

        Args:
            group: path of the client's group.
            now: seconds of a clock that does not go back.
        """
        rated = [(key, limits.rate) for key, limits in self._chain(group) if limits.rate]
        longest, of = 0.0, ""
        for key, rate in rated:
            seconds = wait(self._full_at.get(key, 0.0), rate, now)
            if seconds > longest:
                longest = seconds
                of = f"{key[0]} may make {rate.per_second:g} requests a second, and {rate.burst} at once"
        if longest:
            return Over(of, math.ceil(longest))
        for key, rate in rated:
            self._full_at[key] = full_at(self._full_at.get(key, 0.0), rate, now)
        return None

    def enter(self, group: str) -> Over | Callable[[], None]:
        """Count a connection in, of a group and of each above it; return what counts it out, or which has too many."""
        counted = [(key, limits.connections) for key, limits in self._chain(group) if limits.connections]
        for key, most in counted:
            if self._open.get(key, 0) >= most:
                return Over(f"{key[0]} may have {most} connections open at a time", _SOON)
        keys = [key for key, _ in counted]
        for key in keys:
            self._open[key] = self._open.get(key, 0) + 1
        return lambda: self._leave(keys)

    def _leave(self, keys: list[_Key]) -> None:
        for key in keys:
            left = self._open[key] - 1
            if left:
                self._open[key] = left
            else:
                del self._open[key]
        keys.clear()  # twice is no error

    def _chain(self, path: str) -> tuple[tuple[_Key, GroupLimits], ...]:
        chain = self._chains.get(path)
        if chain is None:
            chain = self._chains[path] = tuple(self._nodes(path))
        return chain

    def _nodes(self, path: str) -> Iterator[tuple[_Key, GroupLimits]]:
        group = self._policy.groups.get(path)
        above: dict[str, int] = {}
        for node in reversed(tuple(group.chain)) if group is not None else ():
            place = above[node.path] = above.get(node.path, -1) + 1
            if node.limits is not None:
                yield (node.path, place), node.limits

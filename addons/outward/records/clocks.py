"""Clocks: whether the time of day may be pruned by. One machine's word is not enough to delete what others recorded."""

import time
from collections.abc import Callable

TOLERANCE = 60.0  # seconds
_SILENCE = 7 * 86_400.0  # seconds without a record, after which a clock is doubted
_DOUBT = 86_400.0  # seconds of this process's life, after which it is believed all the same


class Clock:
    """Compares this machine's clock with the database's; where that has none, with its own past.

    Attributes:
        problem: why nothing is pruned by age now; None if it is.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self.problem: str | None = None
        self._wall, self._steady = wall, steady
        self._begun, self._offset = steady(), wall() - steady()
        self._seen = False

    def agreed(self, database_time: float | None, newest: Callable[[], float | None]) -> float | None:
        """Return the Unix time to prune by, or None if the clocks disagree.

        Args:
            database_time: what the database says; None if it has no clock of its own.
            newest: returns the time of the newest record from before this process; asked once.
        """
        wall = self._wall()
        if database_time is not None:
            off = wall - database_time
            self.problem = (
                None
                if abs(off) <= TOLERANCE
                else f"this machine's clock and the database's differ by {off:.0f} seconds: set the clock"
            )
        else:
            self._look_back(wall, newest)
        return None if self.problem else (wall if database_time is None else database_time)

    def _look_back(self, wall: float, newest: Callable[[], float | None]) -> None:
        """Doubt a clock that jumped, or that is far from the newest record, for a day."""
        steady = self._steady()
        if abs(wall - steady - self._offset) > TOLERANCE:
            self._begun, self._offset = steady, wall - steady
            self.problem = "this machine's clock has jumped"
        elif not self._seen:
            self._seen = True
            last = newest()
            if last is not None and not -TOLERANCE <= wall - last <= _SILENCE:
                self.problem = "this machine's clock is far from the newest record"
        elif steady - self._begun > _DOUBT:
            self.problem = None

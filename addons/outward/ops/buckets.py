"""How often somebody may try: token buckets by key."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class Buckets:
    """Token buckets by key, for any thread; the oldest keys are forgotten, so memory is bounded."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> bool:
        """Take one; False when the bucket is empty."""
        with self._lock:
            now = self._clock()
            level, at = self._levels.pop(key, (self._burst, now))
            level = min(self._burst, level + (now - at) * self._rate)
            taken = level >= 1
            self._levels[key] = (level - 1 if taken else level, now)
            if len(self._levels) > 10_000:
                self._levels.popitem(last=False)
            return taken

"""Waiting for conditions instead of sleeping, where there is no loop; `loops.until` is for tests on one."""

import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds; the machine may be busy


def wait_for[T](condition: Callable[[], T], patience: float = PATIENCE) -> T:
    """Wait until a condition is truthy and return it; fail when it is not in time (seconds)."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)
    return found

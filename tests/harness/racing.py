"""Two threads at every point where one could stand while the other runs: each interleaving once, in a fixed order.

`race(make)` runs the first function up to its first bytecode, then the whole second one in another thread, then the rest
of the first; then again up to the second bytecode, and so on. Where a guard makes the second wait, the first goes on.
"""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import outward
from harness.waiting import PATIENCE

_OURS = str(Path(outward.__file__).parent)
_MOST = 20_000  # steps; nothing that is raced here takes as many


@dataclass
class Guard:
    """A lock that tells when somebody has to wait for it; `open` takes it away."""

    lock: Any
    waits: threading.Event
    open: bool = False

    def __enter__(self) -> None:
        if not self.open and not self.lock.acquire(blocking=False):
            self.waits.set()
            assert self.lock.acquire(timeout=PATIENCE)

    def __exit__(self, *_error: object) -> None:
        if not self.open:
            self.lock.release()


class Race:
    """One interleaving."""

    def __init__(self, *, unguarded: bool) -> None:
        self._unguarded = unguarded
        self._news = threading.Event()

    def guard(self, subject: object, name: str) -> None:
        """Watch a lock of a subject, or take it away."""
        setattr(subject, name, Guard(getattr(subject, name), self._news, self._unguarded))

    def run(self, first: Callable[[], object], second: Callable[[], object], step: int) -> bool:
        """Run both; False if the first had fewer steps."""
        left, failed = step, list[BaseException]()

        def other() -> None:
            try:
                second()
            except BaseException as error:  # noqa: BLE001 - raised where it is seen
                failed.append(error)
            finally:
                self._news.set()

        thread = threading.Thread(target=other)

        def trace(frame: FrameType, what: str, _value: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.startswith(_OURS):
                return None
            frame.f_trace_opcodes = True
            if what == "opcode":
                left -= 1
                if left == 0:
                    thread.start()
                    assert self._news.wait(PATIENCE)
            return trace

        sys.settrace(trace)
        try:
            first()
        finally:
            sys.settrace(None)
        if thread.ident is None:
            return False
        thread.join(PATIENCE)
        assert not thread.is_alive()
        for error in failed:
            raise error
        return True


def race(
    make: Callable[[Race], tuple[Callable[[], object], Callable[[], object], Callable[[], None]]],
    *,
    unguarded: bool = False,
) -> None:
    """Try every interleaving.

    Args:
        make: makes subjects anew, and returns the first function, the second, and what must hold behind both.
        unguarded: takes away what `guard` names; a test whose guard matters fails then.
    """
    for step in range(1, _MOST):
        one = Race(unguarded=unguarded)
        first, second, holds = make(one)
        reached = one.run(first, second, step)
        if not reached:
            assert step > 1, "the first function has no steps"
            return
        holds()
    raise AssertionError("the first function does not end")

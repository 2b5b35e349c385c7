"""A test mode that finds callbacks which hold an event loop up: `WATCH_LOOPS=1 pytest tests/socket`.

Every callback of every loop may use 50 ms of its thread's CPU. It is CPU time, so that a busy machine accuses nobody.
asyncio's own loop is used instead of uvloop, whose callbacks nobody can time; protocols and tasks are the same on both.
Callbacks of coroutines of the tests and of their client libraries do not count, nor the start of `serve`, when nobody is
served yet, nor the collector among the objects of pytest. `serve` runs through this module then, as a process of its own:

    python -m harness.watched serve --config outward.yaml
"""

import asyncio
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from outward.proxy.governance import SearchGovernor

MOST = 0.05  # seconds of CPU
ON = os.environ.get("WATCH_LOOPS") == "1"
_TESTS = str(Path(__file__).parents[1])
_FILE = "WATCH_LOOPS_FILE"


class _Collector:
    """The CPU that the garbage collector has used in this thread."""

    def __init__(self) -> None:
        self.used = self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _facts: object) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.used += now - self._began


def install(*, among_tests: bool) -> None:
    """Time every callback of this process from now on, and write down those that take too long.

    Args:
        among_tests: this is the process of pytest, whose millions of objects the product's never has.
    """
    collector = _Collector() if among_tests else None
    told = Path(os.environ[_FILE])
    sys.modules["uvloop"] = None  # type: ignore[assignment] # what cannot be imported is not there
    plain = asyncio.Handle._run

    def run(handle: asyncio.Handle) -> None:
        callback = handle._callback  # a handle that is cancelled forgets it
        exempt = _exempt(callback)  # a coroutine forgets where it waited
        before, collected = time.thread_time(), collector.used if collector else 0.0
        plain(handle)
        used = time.thread_time() - before
        if collector is not None:
            used -= collector.used - collected
        if used > MOST and not exempt:
            with told.open("a") as file:
                file.write(f"{used * 1000:.0f} ms of CPU in {getattr(callback, '__self__', callback)!r}\n")

    asyncio.Handle._run = run  # type: ignore[method-assign]


def begin() -> None:
    """Watch this process, and those that it starts, where this is asked for."""
    if ON:
        SearchGovernor.warm()  # as `serve` does while it starts
        os.environ[_FILE] = tempfile.mkstemp(prefix="loops-")[1]
        install(among_tests=True)


def stalls() -> list[str]:
    """Return the callbacks that took too long so far, in all processes."""
    return Path(os.environ[_FILE]).read_text().splitlines() if _FILE in os.environ else []


def _exempt(callback: Any) -> bool:
    """Tell whether a callback is a step of a test, or of the start of `serve`."""
    task: Any = getattr(callback, "__self__", None)
    coroutine = task.get_coro() if isinstance(task, asyncio.Task) else None
    code = getattr(coroutine, "cr_code", None)
    if code is None:
        return False
    waits = getattr(coroutine.cr_await, "cr_code", None)  # None before the first step
    return (
        code.co_filename.startswith(_TESTS)
        or "site-packages" in code.co_filename
        or (code.co_name == "_serve" and (waits is None or waits.co_name == "start"))
    )


def command(outward: Path) -> list[str]:
    """Return the command line of `outward`, watched in this mode."""
    return [sys.executable, "-m", "harness.watched"] if ON else [str(outward)]


def path() -> dict[str, str]:
    """Return what a process needs in its environment to find this module."""
    return {"PYTHONPATH": _TESTS} if ON else {}


if __name__ == "__main__":
    from outward.cli.main import main

    install(among_tests=False)
    sys.argv[0] = "outward"
    main()

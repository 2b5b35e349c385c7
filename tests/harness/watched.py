"""A test mode that finds callbacks which hold an event loop up: `WATCH_LOOPS=1 pytest tests/socket`.

Every callback of every loop may use 50 ms of its thread's CPU. It is CPU time, so that a busy machine accuses nobody.
asyncio's own loop is used instead of uvloop, whose callbacks nobody can time; protocols and tasks are the same on both.
Callbacks of the tests' own coroutines do not count. `serve` runs through this module then, as a process of its own:

    python -m harness.watched serve --config outward.yaml
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOST = 0.05  # seconds of CPU
ON = os.environ.get("WATCH_LOOPS") == "1"
_TESTS = str(Path(__file__).parents[1])
_FILE = "WATCH_LOOPS_FILE"


def install() -> None:
    """Time every callback of this process from now on, and write down those that take too long."""
    told = Path(os.environ[_FILE])
    sys.modules["uvloop"] = None  # type: ignore[assignment] # what cannot be imported is not there
    plain = asyncio.Handle._run

    def run(handle: asyncio.Handle) -> None:
        callback, before = handle._callback, time.thread_time()  # a handle that is cancelled forgets its callback
        plain(handle)
        used = time.thread_time() - before
        if used > MOST and not _of_a_test(callback):
            with told.open("a") as file:
                file.write(f"{used * 1000:.0f} ms of CPU in {getattr(callback, '__self__', callback)!r}\n")

    asyncio.Handle._run = run  # type: ignore[method-assign]


def begin() -> None:
    """Watch this process, and those that it starts, where this is asked for."""
    if ON:
        os.environ[_FILE] = tempfile.mkstemp(prefix="loops-")[1]
        install()


def stalls() -> list[str]:
    """Return the callbacks that took too long so far, in all processes."""
    return Path(os.environ[_FILE]).read_text().splitlines() if _FILE in os.environ else []


def _of_a_test(callback: Any) -> bool:
    task: Any = getattr(callback, "__self__", None)
    coroutine = task.get_coro() if isinstance(task, asyncio.Task) else None
    code = getattr(coroutine, "cr_code", None)
    return code is not None and code.co_filename.startswith(_TESTS)


def command(outward: Path) -> list[str]:
    """Return the command line of `outward`, watched in this mode."""
    return [sys.executable, "-m", "harness.watched"] if ON else [str(outward)]


def path() -> dict[str, str]:
    """Return what a process needs in its environment to find this module."""
    return {"PYTHONPATH": _TESTS} if ON else {}


if __name__ == "__main__":
    from outward.cli.main import main

    install()
    sys.argv[0] = "outward"
    main()

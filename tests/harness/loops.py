"""Asynchronous tests: one fresh uvloop for each (asyncio's own loop where loops are watched), and waiting for conditions instead of sleeping."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable

from harness import watched
from harness.waiting import PATIENCE

if watched.ON:
    from asyncio import run as run_loop
else:
    from uvloop import run as run_loop


def on_loop[**P](test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run a coroutine function as a test on a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def body() -> None:
            await test(*args, **kwargs)

        run_loop(body())

    return run


async def until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:  # noqa: ASYNC109 - the deadline is the point
    """Wait until a condition holds; fail when it does not in time (seconds)."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)

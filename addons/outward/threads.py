"""Threads for one kind of work: apart from all others, so that one that is slow holds up nothing but itself."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Threads:
    """A pool of threads for one kind of work; the first thread is started when it is needed."""

    def __init__(self, name: str, most: int) -> None:
        """Prepare.

        Args:
            name: of the work, as it stands in the names of the threads.
            most: threads; what comes meanwhile waits for one of them.
        """
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=f"outward-{name}")

    async def run[**P, T](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work in a thread, and return or raise what it does."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Start nothing more; what runs comes to its end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

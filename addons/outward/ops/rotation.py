"""Files that are replaced while the proxy runs: certificates, keys, tokens, roots. Taken up when they have changed.

Follows symlinks, so that the swap of a folder as Kubernetes does it counts. What does not load, a half-written file or
a key beside another one's certificate, leaves the last good in force, is told, and is tried again at the next change.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from outward.config.watch import fingerprint

log = logging.getLogger(__name__)

type TakeUp = Callable[[], Awaitable[None] | None]

INTERVAL = 1.0  # seconds between looks
SETTLING = 0.2  # seconds without a change after which nobody is taken to be writing


@dataclass(slots=True)
class _Item:
    """Files that belong together.

    Attributes:
        seen: how they looked when they were last taken up, or tried.
        problem: why they could not be, or None.
    """

    files: Callable[[], Iterable[Path]]
    take_up: TakeUp
    seen: Mapping[str, object] = field(default_factory=dict)
    problem: str | None = field(default=None)


class Rotation:
    """Looks at the files and has them taken up; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._items: dict[str, _Item] = {}

    def add(self, name: str, files: Callable[[], Iterable[Path]], take_up: TakeUp) -> None:
        """Watch files from now on.

        Args:
            name: of what they are, for log and readiness.
            files: returns them.
            take_up: reads them and puts them in force, as a whole or not at all; raises what keeps it from that. What
                takes long is to be awaited.
        """
        self._items[name] = _Item(files, take_up, fingerprint(files()))

    def ask(self, name: str) -> None:
        """Have files taken up at the next look, whether or not they have changed."""
        if name in self._items:
            self._items[name].seen = {}

    @property
    def problem(self) -> str | None:
        """What could not be taken up, and why; None if all is well."""
        told = [f"{name}: {item.problem}" for name, item in self._items.items() if item.problem]
        return "; ".join(told) or None

    @property
    def failing(self) -> int:
        """How many could not be taken up."""
        return sum(item.problem is not None for item in self._items.values())

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            for name, item in list(self._items.items()):
                await self._look(name, item)

    async def _look(self, name: str, item: _Item) -> None:
        now = await asyncio.to_thread(fingerprint, item.files())
        if now == item.seen:
            return
        await asyncio.sleep(SETTLING)
        if now != await asyncio.to_thread(fingerprint, item.files()):
            return  # somebody is writing; the next look sees that
        item.seen = now
        try:
            taking = item.take_up()
            if taking is not None:
                await taking
        except Exception as error:  # noqa: BLE001 - whatever is wrong with them, the last good stays in force
            item.problem = str(error) or type(error).__name__
            log.error("%s: the new files cannot be used, the last good stay in force: %s", name, item.problem)  # noqa: TRY400 - no bug
            return
        item.problem = None
        log.info("%s: the new files are in force", name)

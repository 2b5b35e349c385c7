"""Reloading: when to load the configuration anew, and what becomes of a file that does not load.

Owns the triggers (HUP, changed content) and the outcome in log, metric, audit and readiness detail. Loading happens in
a thread; what is in force is replaced by the caller, on the loop, in one step. Never raises: the last good policy
stays.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from outward.config.diagnostics import Level
from outward.config.loaded import Loaded
from outward.config.watch import fingerprint
from outward.ops.metrics import Metrics
from outward.records.acts import policy_reload_failed, policy_reloaded
from outward.records.audit import AuditEvent

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between looks at the files
SETTLING = 0.2  # seconds without a change after which nobody is taken to be writing
_RECENT = 5.0  # seconds; a file this young may have changed while it was first read
_SHOWN = 5  # errors that the log names


class ReloadError(Exception):
    """The configuration has errors."""


class Reloader:
    """Keeps what is in force up with the files.

    Attributes:
        problem: why the last load failed, or None.
    """

    def __init__(
        self,
        loaded: Loaded,
        load: Callable[[], Loaded],
        use: Callable[[Loaded], None],
        metrics: Metrics,
        audit: Callable[[AuditEvent], None],
    ) -> None:
        """Remember what is in force.

        Args:
            loaded: the configuration that is in force.
            load: loads it anew; called in a thread.
            use: puts a configuration in force, at once and as a whole; may raise, and then has changed nothing.
            metrics: where outcomes are noted.
            audit: takes what compliance asks about; never blocks, never raises.
        """
        self.problem: str | None = None
        self._load, self._use, self._metrics, self._audit = load, use, metrics, audit
        self._files = loaded.files
        self._generation, self._settings = _generation(loaded), loaded.settings  # secrets are in no generation
        self._seen = None if _young(loaded.files) else fingerprint(loaded.files)
        self._asked = asyncio.Event()
        metrics.reloaded(successful=True)

    def ask(self) -> None:
        """Reload soon, whether or not a file has changed."""
        self._asked.set()

    async def watch(self) -> None:
        """Reload whenever asked or a file has changed and is written to the end, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), INTERVAL)
            asked = self._asked.is_set()
            self._asked.clear()
            now = await self._look()
            if asked or (now != self._seen and await self._settled(now)):
                self._seen = now
                await self._reload(asked=asked)

    async def _look(self) -> tuple[object, ...]:
        return await asyncio.to_thread(fingerprint, self._files)

    async def _settled(self, now: tuple[object, ...]) -> bool:
        """Tell whether nobody is writing: a first half may load as well, and miss what the second one denies."""
        await asyncio.sleep(SETTLING)
        return now == await self._look()

    async def _reload(self, *, asked: bool) -> None:
        try:
            loaded = await asyncio.to_thread(self._load)
            if not asked and self._seen != await self._look():
                return  # it has changed while it was read; the next look sees that
            self._files = tuple({*self._files, *loaded.files}) if not loaded.ok else loaded.files
            _demand(loaded)
            generation = _generation(loaded)
            same = generation == self._generation and loaded.settings == self._settings
            if same and self.problem is None and not asked:
                return
            self._use(loaded)
            self._settings = loaded.settings
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the last good policy stays in force
            self.problem = str(error) or type(error).__name__
            self._metrics.reloaded(successful=False)
            self._audit(policy_reload_failed(self._generation, self.problem, asked=asked))
            log.error("reload failed, the last good policy stays in force: %s", self.problem)  # noqa: TRY400 - no bug
            return
        self._audit(policy_reloaded(self._generation, generation, asked=asked))
        self.problem, self._generation = None, generation
        self._metrics.reloaded(successful=True)
        log.info("reloaded: generation %s", generation)


def _demand(loaded: Loaded) -> None:
    """Raise where a configuration has errors, naming the first few."""
    errors = [finding for finding in loaded.findings if finding.level is Level.ERROR]
    if errors:
        named = (f"{each.place}: {each.message}" if each.place else each.message for each in errors[:_SHOWN])
        more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        raise ReloadError("; ".join(named) + more)


def _generation(loaded: Loaded) -> str:
    return loaded.policy.generation if loaded.policy else ""


def _young(files: Iterable[Path]) -> bool:
    """Tell whether a file was written so recently that it may have changed while it was read."""
    for path in files:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < _RECENT:
                return True
    return False

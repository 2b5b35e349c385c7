"""Reloading: when to load the configuration anew, and what becomes of a file that does not load.

Owns the triggers (HUP, changed content) and the outcome in log, metric, audit and readiness detail. Loading happens in
a thread; what is in force is replaced by the caller, on the loop, in one step. Never raises: the last good policy
stays. A file that is confined to a subtree holds nobody else up, neither by an error nor by changing all the time.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from outward.config.diagnostics import Level
from outward.config.loaded import Loaded
from outward.config.watch import fingerprint, restless
from outward.ops import provenance
from outward.ops.metrics import Metrics
from outward.records.audit.events import policy_reload_failed, policy_reloaded
from outward.records.audit.values import AuditEvent

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between looks at the files
SETTLING = 0.2  # seconds without a change after which nobody is taken to be writing
PATIENCE = 5  # looks in a row at which a confined file changes, after which the others no longer wait for it
_RECENT = 5.0  # seconds; a file this young may have changed while it was first read
_SHOWN = 5  # errors that the log names


class ReloadError(Exception):
    """The configuration has errors."""


class Reloader:
    """Keeps what is in force up with the files.

    Attributes:
        problem: why the last load failed, or None.
        kept_back: what is not in force as confined files say, in words.
    """

    def __init__(
        self,
        loaded: Loaded,
        load: Callable[[frozenset[str]], Loaded],
        use: Callable[[Loaded], None],
        metrics: Metrics,
        audit: Callable[[AuditEvent], None],
    ) -> None:
        """Remember what is in force.

        Args:
            loaded: the configuration that is in force.
            load: loads it anew, but for confined files of these names, which stay as they were; called in a thread.
            use: puts a configuration in force, at once and as a whole; may raise, and then has changed nothing.
            metrics: where outcomes are noted.
            audit: takes what compliance asks about; never blocks, never raises.
        """
        self.problem: str | None = None
        self._files: tuple[Path, ...] = ()
        self._load, self._use, self._metrics, self._audit = load, use, metrics, audit
        self.kept_back: tuple[str, ...] = ()
        self._watch(loaded)
        self._generation, self._settings = _generation(loaded), loaded.settings  # secrets are in no generation
        self._policy = loaded.policy
        self._seen: Mapping[str, object] | None = (
            None if _young(loaded.files) else fingerprint(self._files, self._folders)
        )
        self._asked = asyncio.Event()
        self._waited = 0
        metrics.reloaded(successful=True)
        self._tell(loaded)

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
            changing = frozenset[str]() if asked or now == self._seen else await self._changing(now)
            if asked or (now != self._seen and self._goes_on(changing)):
                self._seen, self._waited = now, 0
                await self._reload(changing, asked=asked)

    async def _look(self) -> Mapping[str, object]:
        return await asyncio.to_thread(fingerprint, self._files, self._folders)

    async def _changing(self, now: Mapping[str, object]) -> frozenset[str]:
        """Return what somebody is writing: a first half may load as well, and miss what the second one denies."""
        await asyncio.sleep(SETTLING)
        return restless(now, await self._look())

    def _goes_on(self, changing: frozenset[str]) -> bool:
        """Tell whether to load now: nobody is writing, or only those who have long been and hold nobody else up."""
        self._waited += 1
        return not changing or (self._waited > PATIENCE and changing <= self._confined)

    def _watch(self, loaded: Loaded) -> None:
        """Look at the files of a configuration from now on, also at those that have failed."""
        more = () if loaded.ok else self._files
        self._files = tuple({*more, *loaded.files})
        self._folders = loaded.folders
        self._subtrees = [{*map(str, each.latest.files)} for each in loaded.subtrees]
        confined = {path for each in loaded.subtrees for path in each.latest.files}
        self._confined = {*map(str, confined), *(f"{path.parent}/" for path in confined)}
        self._confined |= {f"{folder}/*" for folder in loaded.folders}

    async def _read(self, changing: frozenset[str], *, asked: bool) -> Loaded | None:
        """Load, but for what changes meanwhile in confined files; None if another file does, as the next look sees.

        Args:
            changing: names of files that are left out already.
            asked: take all of them as they are.
        """
        while True:
            loaded = await asyncio.to_thread(self._load, changing)
            late = frozenset[str]() if asked else restless(self._seen or {}, await self._look()) - changing
            if not late:
                return loaded
            if not late <= self._confined:
                return None
            changing = changing.union(late, *(files for files in self._subtrees if files & late))

    async def _reload(self, changing: frozenset[str], *, asked: bool) -> None:
        try:
            loaded = await self._read(changing, asked=asked)
            if loaded is None:
                return
            self._watch(loaded)
            _demand(loaded)
            generation = _generation(loaded)
            same = generation == self._generation and loaded.settings == self._settings
            if same and self.problem is None and not asked and loaded.kept_back == self.kept_back:
                return
            self._use(loaded)
            self._settings = loaded.settings
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the last good policy stays in force
            self.problem = str(error) or type(error).__name__
            self._metrics.reloaded(successful=False)
            self._audit(policy_reload_failed(self._generation, self.problem, asked=asked))
            log.error("reload failed, the last good policy stays in force: %s", self.problem)  # noqa: TRY400 - no bug
            return
        more = await asyncio.to_thread(self._news, loaded)
        self._audit(policy_reloaded(self._generation, generation, asked=asked, kept_back=loaded.kept_back, more=more))
        self._tell(loaded)
        self.problem, self._generation = None, generation
        self._metrics.reloaded(successful=True)
        log.info("reloaded: generation %s", generation)

    def _news(self, loaded: Loaded) -> Mapping[str, object]:
        """Return where a policy that is now in force comes from, and what is new in it."""
        before, self._policy = self._policy, loaded.policy
        if before is None or loaded.policy is None or not loaded.files:
            return {}
        return provenance.told(before, loaded.policy, loaded.files[0])

    def _tell(self, loaded: Loaded) -> None:
        """Log what is kept back, and what no longer is, each once."""
        for told in loaded.kept_back:
            if told not in self.kept_back:
                log.error("kept back: %s", told)
        healed = len([told for told in self.kept_back if told not in loaded.kept_back])
        if healed:
            log.info("%d of what was kept back is so no longer", healed)
        self.kept_back = loaded.kept_back
        self._metrics.set("policy_subtrees", float(len(loaded.subtrees)))
        self._metrics.set("policy_subtrees_kept_back", float(len(loaded.kept_back)))


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

"""What is known of the audit chains, for a page that must not wait for a verification of every row.

Verifies in a thread of its own, one at a time: what is new whenever somebody asks, everything again once an hour. Rows
that were verified within the hour are only counted; `outward audit verify` reads them all.
"""

import logging
import threading
import time
from collections.abc import Callable

from outward.ops.web import Problem
from outward.records.audit.verify import ChainReport

WHOLE = 3600.0  # seconds between two verifications of every row
_PATIENCE = 0.5  # seconds that an asker waits

_log = logging.getLogger(__name__)

type Check = Callable[[ChainReport | None], ChainReport]
"""Verifies the chains, going on from a report or from nothing."""


class ChainWatch:
    """Answers from the last verification, and sees that there is a newer one soon."""

    def __init__(self, check: Check, clock: Callable[[], float] = time.monotonic) -> None:
        self._check, self._clock = check, clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._report: ChainReport | None = None
        self._whole_at = -WHOLE

    def report(self, patience: float = _PATIENCE) -> ChainReport | None:
        """Return what the last verification found, after waiting a while for a new one; None before the first."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="outward-chain", daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(patience)
        return self._report

    def _run(self) -> None:
        now, known = self._clock(), self._report
        whole = known is None or not known.ok or now - self._whole_at >= WHOLE
        try:
            self._report = self._check(None if whole else known)
        except Problem as problem:
            _log.warning("the audit chain could not be verified: %s", problem.detail)
            return
        if whole:
            self._whole_at = now

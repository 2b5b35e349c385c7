"""Run-time state in force: web-search toggles, opt-ins and administrators' tokens, as this process knows them.

Answers from memory and never waits; a thread reads what other processes changed, several times a second. Until the
database has been read once, nothing that it might have switched off is on.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from outward.core.model import OptIn as OptInChoice
from outward.core.model import WebSearch
from outward.core.policy import Policy
from outward.core.toggles import Toggle, effective, is_settable
from outward.records import changes
from outward.records.changes import Audit, OptIn, StoredToken
from outward.records.database import Database, StoreAwayError

log = logging.getLogger(__name__)

EVERY = 0.25  # seconds between two looks at the version
_MAX_BINDINGS = 10_000  # waiting to be written


class LockedError(Exception):
    """The file locks this group's toggle.

    Attributes:
        by: path of the group whose lock it is.
    """

    def __init__(self, by: str) -> None:
        super().__init__(f"web search is locked by the policy of {by}")
        self.by = by


class State:
    """What administrators set at run time, over one policy.

    Attributes:
        policy: replaced by a reload.
        loaded: whether the database has been read.
    """

    def __init__(self, policy: Policy, connect: Callable[[], Database]) -> None:
        self.policy = policy
        self.loaded = False
        self.toggles: dict[str, Toggle] = {}
        self.tokens: dict[str, StoredToken] = {}
        self._opt_ins: dict[tuple[str, str], OptIn] = {}
        self._connect = connect
        self._database: Database | None = None
        self._version = -1
        self._lock = threading.Lock()
        self._unbound: deque[tuple[str, str, str]] = deque(maxlen=_MAX_BINDINGS)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read the database once, if it answers, and keep up with it from a thread."""
        self.refresh()
        self._thread = threading.Thread(target=self._follow, name="outward-state", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the connection."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        with self._lock:
            self._hang_up()

    def web_search(self, group: str) -> WebSearch:
        """Return a group's web-search settings as they are in force now."""
        policy = self.policy
        settings = effective(policy, group, self.toggles)
        known = policy.groups.get(group)
        if not self.loaded and known is not None and is_settable(known):
            return replace(settings, enabled=False)
        return settings

    def opted_in(self, group: str, conversation: str | None, credential: str) -> bool:
        """Tell whether a conversation has opted in to web search, for this group and with this credential.

        The first credential that uses an opt-in is the one that it is bound to: another client that knows the
        conversation's name cannot borrow it. `opt_in: assumed` of a group counts without a conversation.
        """
        if self.web_search(group).opt_in is OptInChoice.ASSUMED:
            return True
        key = (conversation or "", group)
        found = self._opt_ins.get(key)
        if found is None or not conversation:
            return False
        if found.credential is None:
            self._opt_ins[key] = replace(found, credential=credential)
            self._unbound.append((conversation, group, credential))
            return True
        return found.credential == credential

    def opt_in_of(self, conversation: str, group: str) -> OptIn | None:
        """Return a conversation's opt-in for a group, or None."""
        return self._opt_ins.get((conversation, group))

    def set_web_search(self, path: str, toggle: Toggle, audit: Audit) -> bool:
        """Set a group's toggle; False where it had that value.

        Raises:
            KeyError: there is no such group.
            LockedError: the file locks it.
            StoreAwayError: the database does not answer; nothing has changed.
        """
        group = self.policy.groups[path]
        if not is_settable(group):
            raise LockedError(group.web_search.locked_by or path)
        return self._change(lambda database: changes.set_toggle(database, path, toggle, audit))

    def set_opt_in(self, wanted: OptIn, audit: Audit) -> bool:
        """Opt a conversation in or out; False where nothing changes.

        Raises:
            KeyError: there is no such group.
            StoreAwayError: the database does not answer; nothing has changed.
        """
        if wanted.active and wanted.group not in self.policy.groups:
            raise KeyError(wanted.group)
        return self._change(lambda database: changes.set_opt_in(database, wanted, audit))

    def refresh(self) -> None:
        """Read what is new; a database that is away leaves what is known in force."""
        with suppress(StoreAwayError):
            self._change(lambda _database: False)

    def _change(self, work: Callable[[Database], bool]) -> bool:
        """Run work on the connection, then read what is new, the work's own change included."""
        with self._lock:
            try:
                if self._database is None:
                    self._database = self._connect()
                done = work(self._database)
                self._read(self._database)
            except StoreAwayError:
                self._hang_up()
                raise
        return done

    def _read(self, database: Database) -> None:
        if self.loaded and changes.version(database) == self._version:
            return
        new = changes.since(database, self._version)
        self.toggles = {**self.toggles, **new.toggles}
        self.tokens = {**self.tokens, **{token.sha256: token for token in new.tokens}}
        for opt_in in new.opt_ins:
            key = (opt_in.conversation, opt_in.group)
            if opt_in.active:
                self._opt_ins[key] = opt_in
            else:
                self._opt_ins.pop(key, None)
        self._version, self.loaded = new.version, True

    def _hang_up(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _follow(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self._change(self._bind)
            except StoreAwayError as error:
                log.debug("run-time state cannot be read now: %s", error)
            except Exception:  # the thread must outlive what it does not understand; what is known stays in force
                log.exception("run-time state could not be read")

    def _bind(self, database: Database) -> bool:
        """Write the bindings that `opted_in` made; each is taken off the queue when it is written."""
        while self._unbound:
            changes.bind(database, *self._unbound[0])
            self._unbound.popleft()
        return True

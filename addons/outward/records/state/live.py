"""Run-time state in force: web-search toggles, opt-ins, grants and administrators' tokens, as this process knows them.

Answers from memory and never waits; a thread reads what other processes changed: when the database announces it, and
several times a second whatever happens. Until the database has been read once, nothing that it might have switched off
is on.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from outward.core.model import WebSearch
from outward.core.policy import Policy
from outward.core.toggles import Toggle, effective, is_settable
from outward.records.audit import events
from outward.records.audit.values import AuditEvent, as_record
from outward.records.database import Database, NotificationListener, StoreAwayError
from outward.records.events.values import Record
from outward.records.state import runtime_settings
from outward.records.state.access import AccessState
from outward.records.state.runtime_settings import OptInChange, StoredToken

if TYPE_CHECKING:
    from outward.records.audit.chain import ChainHead  # cryptography is not needed before the first change

log = logging.getLogger(__name__)

EVERY = 0.25  # seconds between two looks at the version
_DAY = 86_400.0  # seconds
_USE_EVERY = 60.0  # seconds between two notes of a token's use
_MAX_BINDINGS = 10_000  # waiting to be written


class LockedError(Exception):
    """The file locks this group's toggle.

    Attributes:
        by: path of the group whose lock it is.
    """

    def __init__(self, by: str) -> None:
        super().__init__(f"web search is locked by the policy of {by}")
        self.by = by


class Appender(Protocol):
    """A chain of audit events; see `records.chain`."""

    def append(self, database: Database, records: Sequence[Record]) -> "ChainHead":
        """Append inside the caller's transaction."""

    def save(self, head: "ChainHead") -> None:
        """Keep the head, after the commit."""


class State:
    """What administrators set at run time, over one policy.

    Attributes:
        policy: replaced by a reload.
        loaded: whether the database has been read.
        access: requests, and the grants in force.
    """

    def __init__(
        self,
        policy: Policy,
        connect: Callable[[], Database],
        chain: Callable[[], Appender],
        listen: Callable[[], NotificationListener | None] = lambda: None,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            policy: the policy in force.
            connect: opens the database, its schema up to date.
            chain: opens the chain that changes are audited in.
            listen: opens what hears other processes' changes; where it is None there is only the regular look.
        """
        self.policy = policy
        self._chain, self._listen = chain, listen
        self.loaded = False
        self.toggles: dict[str, Toggle] = {}
        self.tokens: dict[str, StoredToken] = {}
        self.access = AccessState(self._audited, self._now)
        self._opt_ins: dict[tuple[str, str], OptInChange] = {}
        self._connect = connect
        self._database: Database | None = None
        self._version = -1
        self._used: dict[str, float] = {}
        self._unwritten: dict[str, float] = {}
        self._lock, self._binding = threading.Lock(), threading.Lock()
        self._unbound: deque[tuple[str, str, str]] = deque(maxlen=_MAX_BINDINGS)
        self._stop, self._asked = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, wait: float = 0.5) -> None:
        """Keep up with the database from a thread; wait some seconds at most for its first answer."""
        self._thread = threading.Thread(target=self._follow, name="outward-state", daemon=True)
        self._thread.start()
        self._asked.wait(wait)

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

        It is bound to the credential that it was given to, or else to the first one that uses it: another client that
        knows the conversation's name cannot borrow it then.
        """
        key = (conversation or "", group)
        with self._binding:  # an opt-out that is read meanwhile must not be undone
            found = self._opt_ins.get(key)
            if found is None or not conversation:
                return False
            if found.credential is None:
                self._opt_ins[key] = replace(found, credential=credential)
                self._unbound.append((conversation, group, credential))
                return True
        return found.credential == credential

    def set_web_search(self, path: str, toggle: Toggle, address: str | None = None) -> bool:
        """Set a group's toggle; False if it had that value.

        Raises:
            KeyError: there is no such group.
            LockedError: the file locks it.
            StoreAwayError: the database does not answer; the change may be made all the same.
        """
        group = self.policy.groups[path]
        if not is_settable(group):
            raise LockedError(group.web_search.locked_by or path)
        return self._set_toggle(path, toggle, self.web_search(path).enabled, address)

    def switch_off(self, path: str, actor: str, time: float) -> bool:
        """Set a toggle to off by name, with no policy at hand; False if it was.

        It counts where the policy in force has such a group and does not lock it.

        Raises:
            StoreAwayError: the database does not answer; the change may be made all the same.
        """
        known = self.toggles.get(path)
        return self._set_toggle(path, Toggle(False, actor, time), known.enabled if known else None, None)

    def _set_toggle(self, path: str, toggle: Toggle, was: bool | None, address: str | None) -> bool:
        event = events.toggle_set(path, toggle, was=was, address=address)
        return self._audited(event, lambda database, audit: runtime_settings.set_toggle(database, path, toggle, audit))

    def set_opt_in(self, wanted: OptInChange, address: str | None = None) -> bool:
        """Opt a conversation in or out, and bind it where a credential is named; False if nothing changes.

        Raises:
            KeyError: there is no such group.
            StoreAwayError: the database does not answer; the change may be made all the same.
        """
        if wanted.active and wanted.group not in self.policy.groups:
            raise KeyError(wanted.group)
        event = events.opt_in_set(wanted, address)
        return self._audited(event, lambda database, audit: runtime_settings.set_opt_in(database, wanted, audit))

    def sign_in(self, person: StoredToken, address: str | None) -> None:
        """Keep a person's sign-in, or the audit row alone of one who has no role.

        Raises:
            StoreAwayError: the database does not answer; nobody is signed in.
        """

        def work(database: Database, audit: runtime_settings.Audit) -> bool:
            if person.held:
                runtime_settings.add_token(database, person, audit)
            else:
                runtime_settings.note(database, audit)
            return True

        self._audited(events.signed_in(person, address), work)

    def used(self, ident: str, now: float) -> None:
        """Note the use of a stored token; written within moments, once a minute for each."""
        if now - self._used.get(ident, 0.0) >= _USE_EVERY:
            self._used[ident] = self._unwritten[ident] = now

    def add_token(self, token: StoredToken, author: str) -> None:
        """Keep a new token of the admin API.

        Raises:
            StoreAwayError: the database does not answer; the change may be made all the same.
        """
        event = events.token_changed("admin_token_created", token, author)

        def work(database: Database, audit: runtime_settings.Audit) -> bool:
            runtime_settings.add_token(database, token, audit)
            return True

        self._audited(event, work)

    def revoke_token(self, ident: str, author: str) -> bool:
        """Take a token back; False if there is none in force by this id.

        Raises:
            StoreAwayError: the database does not answer; the change may be made all the same.
        """
        self._change(lambda _database: True)  # it may have been made a moment ago
        token = next((each for each in self.tokens.values() if each.id == ident), None)
        if token is None:
            return False
        event = events.token_changed(
            "admin_token_revoked" if token.held is None else "admin_session_revoked", token, author
        )
        return self._audited(event, lambda database, audit: runtime_settings.revoke_token(database, ident, audit))

    def opt_ins(self, conversation: str) -> list[OptInChange]:
        """Return a conversation's opt-ins, one for each group."""
        return [found for (name, _), found in list(self._opt_ins.items()) if name == conversation]

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

    def _now(self) -> float | None:
        """Return the database's own Unix time; None if its clock is this machine's."""
        found: list[float | None] = []

        def ask(database: Database) -> bool:
            found.append(database.now())
            return True

        self._change(ask)
        return found[0]

    def _audited(self, event: AuditEvent, work: Callable[[Database, runtime_settings.Audit], bool]) -> bool:
        """Run a change whose audit row is in its transaction, and keep the chain's new head after the commit."""
        chain = self._chain()
        heads: list[ChainHead] = []

        def audit(database: Database) -> None:
            heads.append(chain.append(database, [as_record(event)]))

        done = self._change(lambda database: work(database, audit))
        for head in heads:
            try:
                chain.save(head)
            except (StoreAwayError, OSError) as error:  # the change is made; rows behind the head prove themselves
                log.warning("the head of the audit chain cannot be kept: %s", error)
        return done

    def _read(self, database: Database) -> None:
        if self.loaded and runtime_settings.version(database) == self._version:
            return
        new = runtime_settings.since(database, self._version)
        self.toggles = {**self.toggles, **new.toggles}
        now = time.time()
        known = {**self.tokens, **{token.sha256: token for token in new.tokens}}
        self.tokens = {sha256: token for sha256, token in known.items() if not _is_over(token, now)}
        self._used = {ident: used for ident, used in list(self._used.items()) if now - used < _USE_EVERY}
        self._take_opt_ins(new.opt_ins)
        self._version, self.loaded = new.version, True
        self.access.take(new.grants)

    def _take_opt_ins(self, opt_ins: Iterable[OptInChange]) -> None:
        """Take what was read; a binding that is not written yet holds over a row that names none."""
        with self._binding:
            unwritten = {(name, group): credential for name, group, credential in reversed(self._unbound)}
            for opt_in in opt_ins:
                key = (opt_in.conversation, opt_in.group)
                if not opt_in.active:
                    self._opt_ins.pop(key, None)
                elif opt_in.credential is None and key in unwritten:
                    self._opt_ins[key] = replace(opt_in, credential=unwritten[key])
                else:
                    self._opt_ins[key] = opt_in

    def _hang_up(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _follow(self) -> None:
        listener = None
        while not self._stop.is_set():
            try:
                listener = listener or self._listen()
                self._bind()
                self._write_uses()
                self._change(lambda _database: True)
                self.access.tell_ends()
            except StoreAwayError as error:
                log.debug("run-time state cannot be read now: %s", error)
            except Exception:  # the thread must outlive what it does not understand; what is known stays in force
                log.exception("run-time state could not be read")
            self._asked.set()
            if listener is None or not listener.wait(EVERY):
                self._stop.wait(EVERY)
        if listener is not None:
            listener.close()

    def _bind(self) -> None:
        """Write the bindings that `opted_in` made; each is taken off the queue when it is written."""
        while self._unbound:
            self._audited(events.opt_in_bound(*self._unbound[0]), self._bind_first)
            self._unbound.popleft()

    def _write_uses(self) -> None:
        uses, self._unwritten = self._unwritten, {}
        if uses:
            try:
                self._change(partial(_write_uses, uses))
            except StoreAwayError:
                self._unwritten = uses | self._unwritten
                raise

    def _bind_first(self, database: Database, audit: runtime_settings.Audit) -> bool:
        conversation, group, credential = self._unbound[0]
        return runtime_settings.bind(database, conversation, group, credential, audit)


def _is_over(token: StoredToken, now: float) -> bool:
    """Whether a sign-in ended more than a day ago: there are many; tokens, which are few, stay."""
    return token.held is not None and token.expires is not None and token.expires < now - _DAY


def _write_uses(uses: dict[str, float], database: Database) -> bool:
    runtime_settings.used_tokens(database, uses)
    return True

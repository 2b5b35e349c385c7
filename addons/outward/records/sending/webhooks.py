"""Webhooks: telling programs of who asks for access, meets a host, uses a secret for the first time, or misplaces one.

A notice says who, what and why in words of ours: never in those of a client, and never so that a chat makes a link of
it. Each hook has a thread and a bounded queue; what finds it full, or does not get through after some tries, is dropped
and counted. The log tells when an endpoint begins to take no notices.
"""

import hashlib
import hmac
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.core.secrets import secret_of
from outward.records.database import Database, StoreAwayError
from outward.records.events.values import Event, rfc3339
from outward.records.sending.destination import DeliveryError, Destination
from outward.records.state.requests import AccessRequest
from outward.records.state.uses import used_before

log = logging.getLogger(__name__)

SIGNATURE = "Outward-Signature"
LONGEST = 64  # characters of a host or a group
RETRIES = (1.0, 5.0, 30.0, 120.0)  # seconds before each further try
_WAITING = 200  # notices of one hook
_REMEMBERED = 20_000  # pairs of group and host
_MISDIRECTED = "secret_misdirected"
_HOUR = 3600.0  # seconds
_LATELY = 60.0  # seconds that the record of an attempt may be older than the attempt


class WebhookCounts(Protocol):
    """Where deliveries are counted; any thread may call it."""

    def webhook(self, outcome: str) -> None:
        """Count a notice: `sent`, `failed` or `dropped`."""


class Bucket(Protocol):
    """Limits notices by group."""

    def take(self, key: str) -> bool:
        """Take one; False if there is none left."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told.

    Attributes:
        event: `request`, `new_host`, `secret_new_use` or `secret_misdirected`.
        id: of the request, or of the decision.
        time: Unix time in seconds.
        secret: name of the secret that was used, or whose placeholder was refused; empty for the others.
    """

    event: str
    id: str
    group: str
    host: str
    port: int
    reason: str
    time: float
    secret: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs; host and group are no links there either."""
        about = {"event": self.event, "id": self.id, "time": rfc3339(self.time), "group": unlinked(self.group)}
        about |= {"secret": unlinked(self.secret)} if self.secret else {}
        return {**about, "host": unlinked(self.host), "port": self.port, "reason": self.reason}

    def as_slack(self) -> dict[str, Any]:
        """Return it for a chat."""
        did = (_OWN if self.event == _MISDIRECTED and not self.secret else _DID[self.event]).format(
            secret=unlinked(self.secret)
        )
        about = f"`{unlinked(self.host)}` port {self.port} ({self.reason}), `{self.id}`"
        return {"text": f"`{unlinked(self.group)}` {did} {about}"}


_OWN = "sent a credential of its own where a secret is set, to"
_DID = {
    "request": "asks for",
    "new_host": "met for the first time, and was blocked:",
    _MISDIRECTED: "sent the placeholder of the secret `{secret}` where it does not belong, to",
    "secret_new_use": "used the secret `{secret}` for the first time at",
}
FORMATS: dict[str, Callable[[Notice], dict[str, Any]]] = {"json": Notice.as_json, "slack": Notice.as_slack}


def unlinked(text: str) -> str:
    """Return a host or group as code that nobody makes a link of: dots broken, at most 64 characters, no markup."""
    plain = "".join(each if each.isascii() and (each.isalnum() or each in "-_./:") else "?" for each in text)
    broken = plain.replace("://", "?").replace(".", "[.]")
    return broken if len(broken) <= LONGEST else f"{broken[: LONGEST - 3]}..."


class Hook:
    """One endpoint, and the thread that tells it."""

    def __init__(
        self,
        destination: Destination,
        events: Sequence[str],
        form: str,
        secret: Callable[[], str | None],
        counts: WebhookCounts,
        *,
        retries: Sequence[float] = RETRIES,
    ) -> None:
        """Prepare; the thread starts with the first notice.

        Args:
            destination: where to.
            events: the names of those that it wants.
            form: one of FORMATS.
            secret: returns what notices are signed with, or None; asked for each, so that a file may be rotated.
            counts: where to count.
            retries: seconds before each further try.
        """
        self.problem: str | None = None
        self._destination, self._events, self._form, self._secret = destination, frozenset(events), form, secret
        self._counts, self._retries = counts, retries
        self._queue: queue.Queue[tuple[Notice, Callable[[], bool]]] = queue.Queue(_WAITING)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def wants(self, event: str) -> bool:
        """Tell whether it is told of such events."""
        return event in self._events

    def offer(self, notice: Notice, holds: Callable[[], bool]) -> None:
        """Take a notice to deliver, if it still holds then; for any thread, and never waits for the endpoint."""
        try:
            self._queue.put_nowait((notice, holds))
        except queue.Full:
            self._counts.webhook("dropped")
            return
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outward-webhook", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End soon; what waits is not told."""
        self._stop.set()
        self._destination.abort()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                notice, holds = self._queue.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                if holds():
                    self._deliver(notice)
            except Exception:  # the thread must outlive what it does not understand
                self._counts.webhook("failed")
                log.exception("a webhook failed")

    def _deliver(self, notice: Notice) -> None:
        body = orjson.dumps(FORMATS[self._form](notice)).decode()
        for wait in (*self._retries, None):
            try:
                self._destination.post([body], "application/json", None, self._signed(body))
            except DeliveryError as error:
                self._failed(error)
                if wait is None or self._stop.wait(max(wait, min(error.retry_after, 600.0))):
                    break
            else:
                self.problem = None
                self._counts.webhook("sent")
                return
        self._counts.webhook("failed")

    def _failed(self, error: DeliveryError) -> None:
        if self.problem is None:
            log.warning("the webhook at %s does not take notices: %s", self._destination.name, error)
        self.problem = f"{self._destination.name} does not take notices: {error}"

    def _signed(self, body: str) -> dict[str, str]:
        """Return the field that proves who sent a body: HMAC-SHA256 of `TIME.BODY`, the body as it is sent.

        Raises:
            DeliveryError: the secret cannot be read.
        """
        try:
            secret = self._secret()
        except (OSError, ValueError) as error:
            raise DeliveryError("token", f"the secret cannot be read: {error}") from error
        if secret is None:
            return {}
        now = int(time.time())
        mac = hmac.new(secret.encode(), f"{now}.{body}\n".encode(), hashlib.sha256).hexdigest()
        return {SIGNATURE: f"t={now},v1={mac}"}


class Webhooks:
    """All hooks of a proxy.

    Attributes:
        hooks: each told what it wants.
    """

    def __init__(
        self, hooks: Sequence[Hook], connect: Callable[[], Database], limit: Bucket, counts: WebhookCounts
    ) -> None:
        self.hooks = tuple(hooks)
        self._connect, self._limit, self._counts = connect, limit, counts
        self._met: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._news = any(hook.wants("new_host") for hook in hooks)
        self._uses = any(hook.wants("secret_new_use") for hook in hooks)
        self._canaries = any(hook.wants(_MISDIRECTED) for hook in hooks)

    @property
    def problem(self) -> str | None:
        """What keeps notices from their destinations, in words; None if nothing does."""
        return "; ".join(hook.problem for hook in self.hooks if hook.problem) or None

    def asked(self, request: AccessRequest) -> None:
        """Tell of a new request."""
        about = (request.id, request.group, request.host, request.port, request.reason, request.first / 1000)
        self._tell(Notice("request", *about), lambda: True)

    def met(self, event: Event) -> None:
        """Tell of a host that a group was refused for the first time; for the loop, and cheap."""
        if self._canaries and event.reason is Reason.SECRET_MISDIRECTED:
            self._misdirected(event)
        if not self._news or event.reason is not Reason.NO_RULE or event.verdict is Verdict.ALLOW:
            return
        if event.group is not None and event.host and self._remember(event.group, event.host):
            about = (event.id, event.group, event.host, event.port or 0, str(event.reason), event.time)
            notice = Notice("new_host", *about)
            self._tell(notice, lambda: self._is_new(notice))

    def _misdirected(self, event: Event) -> None:
        """Tell of a placeholder that was refused: once an hour for the same group, host and secret."""
        secret, hour = secret_of(event.detail) or "", str(event.time // _HOUR)
        if event.group is not None and event.host and self._remember(event.group, event.host, secret, hour):
            about = (event.id, event.group, event.host, event.port or 0, str(event.reason), event.time, secret)
            self._tell(Notice(_MISDIRECTED, *about), lambda: True)

    def used(self, secret: str, event: Event) -> None:
        """Tell of a secret that a group used for a host for the first time; for the loop, and cheap."""
        if self._uses and event.group is not None and event.host and self._remember(event.group, event.host, secret):
            about = (event.id, event.group, event.host, event.port or 0, str(event.reason), event.time, secret)
            notice = Notice("secret_new_use", *about)
            self._tell(notice, lambda: self._is_new_use(notice))

    def close(self) -> None:
        """End."""
        for hook in self.hooks:
            hook.close()

    def _remember(self, *key: str) -> bool:
        """Tell whether something was not met lately, and remember it."""
        new = key not in self._met
        self._met[key] = None
        self._met.move_to_end(key)
        if len(self._met) > _REMEMBERED:
            self._met.popitem(last=False)
        return new

    def _tell(self, notice: Notice, holds: Callable[[], bool]) -> None:
        wanting = [hook for hook in self.hooks if hook.wants(notice.event)]
        if not wanting:
            return
        if not self._limit.take(f"{notice.event} {notice.group}"):
            self._counts.webhook("dropped")
            return
        for hook in wanting:
            hook.offer(notice, holds)

    def _is_new(self, notice: Notice) -> bool:
        """Tell whether the records know of no earlier attempt; False if they do not answer."""
        sums = "SELECT MIN(first_ms) FROM blocked_sums WHERE group_path = ? AND host = ?"
        first = self._ask(lambda database: database.execute(sums, (notice.group, notice.host))[0][0], 0)
        return first is None or first >= (notice.time - _LATELY) * 1000

    def _is_new_use(self, notice: Notice) -> bool:
        """Tell whether the audit log has no earlier use; True if it does not answer: twice is better than never."""
        before = notice.time - _LATELY
        return not self._ask(lambda found: used_before(found, notice.secret, notice.group, notice.host, before), False)

    def _ask[T](self, question: Callable[[Database], T], unanswered: T) -> T:
        try:
            database = self._connect()
            try:
                return question(database)
            finally:
                database.close()
        except StoreAwayError:
            return unanswered

"""Metrics: plain numbers on the hot path, Prometheus families when somebody asks.

Owns every metric name, its help and its labels. Labels are bounded: groups come from the policy, everything else from
the code; what is unknown folds into `_other`. A host, path or client is never a label. The numbers are kept here and
handed to prometheus_client on a scrape only: its own counters cost five times as much, and its import a third of the
start-up budget.

Hot-path methods belong to the event loop's thread; `records_*` and `audit_*` may be called from any.
"""

import asyncio
import builtins
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from outward.core.model import Lane, Stage, Verdict
from outward.core.policy import Policy, layers
from outward.core.reasons import Reason
from outward.ops.series import OTHER, Family, Histogram, Number
from outward.records.events.values import Event

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_MAX_GROUPS = 10_000  # over the life of the process, so that reloads do not grow series without end
_LAG_WINDOW = 30  # samples

_MICRO = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2)
_NETWORK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EXCHANGE = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0, 1800.0, 7200.0)


_LANES: dict[Lane | None, str] = {None: "none"} | {lane: lane.value for lane in Lane}


def lane_label(lane: Lane | None) -> str:
    """Return the label of a lane; `none` for what was refused before a lane was chosen."""
    return _LANES[lane]


class Metrics:
    """All metrics of one process.

    Attributes:
        decision_duration: how long the policy took to decide.
        accept_duration: from a question's first byte to its decision.
        dial_duration: how long upstream connections took to establish.
        tls_duration: how long TLS handshakes took, with the `client` and with the `destination`.
        first_byte_duration: from an inspected request to the head of its response.
        vendor_duration: the same, by governed vendor.
        resolve_duration: how long DNS questions took.
        group_connections: asked on every scrape, in any thread: connections and how many may be, of limited groups.
        request_duration: by lane, from the question to its end; fed by `count_request`.
    """

    def __init__(self) -> None:
        self.decision_duration = Histogram(_MICRO)
        self.accept_duration = Histogram(_MICRO)
        self.tls_duration = Family(lambda: Histogram(_NETWORK))
        self.first_byte_duration = Histogram(_EXCHANGE)
        self.vendor_duration = Family(lambda: Histogram(_EXCHANGE))
        self.dial_duration = Histogram(_NETWORK)
        self.resolve_duration = Histogram(_NETWORK)
        self.request_duration = Family(lambda: Histogram(_EXCHANGE))
        self.requests: dict[tuple[str, Verdict, Reason, Stage, Lane | None], int] = {}
        self.families = {name: Family(Number) for name in ("connections", "bytes", "upstream", "searches", "errors")}
        self.families |= {
            name: Family(Number) for name in ("dropped", "unsent", "pruned", "trailers", "group_searches", "webhooks")
        }
        self.families |= {name: Family(Number) for name in ("exported", "unexported", "traced", "vendors")}
        self.families |= {name: Family(Number) for name in ("secret_uses", "secret_bodies", "secret_misdirected")}
        for of in ("strangers", "groups", "receipts"):
            self.families["pruned"].labels("size", of)
        for sink in ("stdout", "store", "audit"):  # present at zero, so that a first loss is an increase
            self.families["dropped"].labels(sink)
        self.policy_rules: dict[str, int] = {}
        self.group_connections: Callable[[], Mapping[str, tuple[int, int]]] = dict
        self.gauges: dict[str, Callable[[], float]] = {}
        self.written, self.sent = Number(), Number()
        self._active: dict[Lane | None, Number] = {}  # of the families, found at once
        self._carried: dict[tuple[str, Lane | None], Number] = {}
        self._groups: set[str] = set()
        self._lags: deque[float] = deque([0.0], maxlen=_LAG_WINDOW)
        self._lock = threading.Lock()
        self._registry: CollectorRegistry | None = None

    def count_request(self, event: Event) -> None:
        """Count an event whose question has ended, and its duration where it is known."""
        lane = event.lane
        group = event.group if event.group in self._groups and event.group is not None else OTHER
        key = (group, event.verdict, event.reason, event.stage, lane)
        self.requests[key] = self.requests.get(key, 0) + 1
        if event.duration_ms is not None:
            self.request_duration.labels(lane_label(lane)).observe(event.duration_ms / 1000, event.id)

    def connections(self, lane: Lane | None) -> Number:
        """Return the gauge of open connections of a lane."""
        number = self._active.get(lane)
        if number is None:
            number = self._active[lane] = self.families["connections"].labels(lane_label(lane))
        return number

    def bytes(self, direction: str, lane: Lane | None) -> Number:
        """Return the counter of payload bytes; `direction` is `up` (to the destination) or `down`."""
        number = self._carried.get((direction, lane))
        if number is None:
            number = self._carried[direction, lane] = self.families["bytes"].labels(direction, lane_label(lane))
        return number

    def upstream_failure(self, reason: str) -> None:
        """Count a destination that could not be reached or talked to."""
        self.families["upstream"].labels(str(reason)).inc()

    def vendor_answered(self, vendor: str, status: int | None, seconds: float | None) -> None:
        """Count what became of a request that a governed vendor was sent.

        Args:
            vendor: its adapter.
            status: of its answer; None if none came.
            seconds: until the answer's head came; None if none did.
        """
        self.families["vendors"].labels(vendor, _outcome(status)).inc()
        if seconds is not None:
            self.vendor_duration.labels(vendor).observe(seconds)

    def web_search(self, vendor: str, outcome: str) -> None:
        """Count a hosted search: `allowed`, `narrowed`, `stripped`, `denied` or `observed`."""
        self.families["searches"].labels(vendor, outcome).inc()

    def group_searches(self, group: str, vendor: str, count: int) -> None:
        """Count the searches that a vendor ran for a group."""
        self.families["group_searches"].labels(group if group in self._groups else OTHER, vendor).inc(count)

    def secret_used(self, secret: str) -> None:
        """Count a request that a secret was set on; its name is one of the configuration's."""
        self.families["secret_uses"].labels(secret).inc()

    def secret_in_body(self, secret: str) -> None:
        """Count a request whose body held a placeholder; its secret's name is one of the configuration's."""
        self.families["secret_bodies"].labels(secret).inc()

    def secret_misdirected(self, secret: str) -> None:
        """Count a request that was refused for a secret's placeholder; its name is one of the configuration's."""
        self.families["secret_misdirected"].labels(secret).inc()

    def internal_error(self, where: str) -> None:
        """Count an exception that was turned into a denial; `where` names the place in the code."""
        self.families["errors"].labels(where).inc()

    def trailers_dropped(self, direction: str) -> None:
        """Count a message whose trailer fields were not passed on; `up` is a request, `down` a response."""
        self.families["trailers"].labels(direction).inc()

    def records_written(self, count: int) -> None:
        """Count events that the store has taken."""
        with self._lock:
            self.written.inc(count)

    def records_dropped(self, sink: str, count: int) -> None:
        """Count what a sink (`stdout`, `store`, `audit`) lost for good."""
        with self._lock:
            self.families["dropped"].labels(sink).inc(count)

    def records_pruned(self, why: str, of: str, count: int) -> None:
        """Count events that were deleted: for their `age` or for the store's `size`; `of` whom, or receipts."""
        with self._lock:
            self.families["pruned"].labels(why, of).inc(count)

    def traced(self, outcome: str, count: int) -> None:
        """Count requests whose spans a collector was sent, or that were dropped."""
        with self._lock:
            self.families["traced"].labels(outcome).inc(count)

    def audit_sent(self, count: int) -> None:
        """Count audit events that the stream's destination has taken."""
        with self._lock:
            self.sent.inc(count)

    def audit_failed(self, reason: str) -> None:
        """Count an attempt of the audit stream that failed; `reason` comes from the code."""
        with self._lock:
            self.families["unsent"].labels(reason).inc()

    def exported(self, export: str, outcome: str, count: int) -> None:
        """Count records of an export: `sent`, `rejected` by the receiver, or `dropped` for want of room."""
        with self._lock:
            self.families["exported"].labels(export, outcome).inc(count)

    def export_failed(self, export: str, reason: str) -> None:
        """Count a request of an export that failed; `reason` comes from the code."""
        with self._lock:
            self.families["unexported"].labels(export, reason).inc()

    def webhook(self, outcome: str) -> None:
        """Count a notice of a webhook: `sent`, `failed` or `dropped`."""
        with self._lock:
            self.families["webhooks"].labels(outcome).inc()

    def use_policy(self, policy: Policy) -> None:
        """Learn the groups that may be labels, and how many rules each has."""
        self._groups.update(list(policy.groups)[: max(0, _MAX_GROUPS - len(self._groups))])
        rules: dict[str, int] = {}
        for path, group in policy.groups.items():
            label = path if path in self._groups else OTHER
            own = sum(len(node.allow.all) + len(node.deny.all) for node in layers([group]))
            rules[label] = rules.get(label, 0) + own
        self.policy_rules = rules

    def reloaded(self, *, successful: bool) -> None:
        """Note the outcome of loading the configuration, at start and at every reload."""
        self.set("config_last_reload_successful", float(successful))
        if successful:
            self.set("config_last_reload_success_timestamp_seconds", time.time())

    def set(self, gauge: str, value: float) -> None:
        """Give one of the unlabelled gauges a value; its name is one of the known ones."""
        self.watch(gauge, lambda: value)

    def watch(self, gauge: str, function: Callable[[], float]) -> None:
        """Ask a function for the value of an unlabelled gauge on every scrape; it may run in another thread.

        Raises:
            KeyError: no gauge has this name: what nobody would ever see is a mistake in the code.
        """
        if gauge not in GAUGES:
            raise KeyError(gauge)
        self.gauges[gauge] = function

    async def watch_lag(self, interval: float = 0.5) -> None:
        """Measure until cancelled how late the event loop wakes; the gauge is the worst of the last samples."""
        self.watch("event_loop_lag_seconds", lambda: max(self._lags.copy()))
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + interval
            await asyncio.sleep(interval)
            self._lags.append(max(0.0, loop.time() - due))

    @property
    def registry(self) -> "CollectorRegistry":
        """The registry of this instance, with its families and `process_*`."""
        with self._lock:
            if self._registry is None:
                from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 - slow, scrapes only

                from outward.ops.collector import Collector  # noqa: PLC0415 - as above

                self._registry = CollectorRegistry()
                self._registry.register(Collector(self))
                ProcessCollector(registry=self._registry)
            return self._registry

    def render(self, accept: str = "") -> tuple[builtins.bytes, str]:
        """Return the body and the content type of a scrape; slow at first, so call it outside the event loop."""
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - slow, scrapes only

        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


_CLASSES = {2: "ok", 3: "ok", 4: "client_error", 5: "server_error"}


def _outcome(status: int | None) -> str:
    """Return the label of an answer: `ok`, `client_error`, `rate_limited`, `server_error`, `unreachable`."""
    if status is None:
        return "unreachable"
    return "rate_limited" if status == 429 else _CLASSES.get(status // 100, "server_error")


COUNTERS = (
    ("traced", "traces", "Traced requests, by what became of their spans.", ("outcome",)),
    ("vendors", "vendor_responses", "What governed vendors answered.", ("vendor", "outcome")),
    ("bytes", "bytes", "Payload bytes carried.", ("direction", "lane")),
    ("upstream", "upstream_failures", "Destinations that could not be reached or talked to.", ("reason",)),
    ("searches", "web_searches", "Hosted searches seen, by what became of them.", ("vendor", "outcome")),
    ("group_searches", "group_searches", "Searches that vendors ran for a group.", ("group", "vendor")),
    ("secret_uses", "secret_uses", "Requests that a secret was set on.", ("secret",)),
    ("secret_bodies", "secret_bodies", "Requests whose body held a secret's placeholder.", ("secret",)),
    ("secret_misdirected", "secret_misdirected", "Requests refused for a secret's placeholder.", ("secret",)),
    ("errors", "internal_errors", "Exceptions turned into denials.", ("where",)),
    ("trailers", "trailers_dropped", "Messages whose trailer fields were not passed on.", ("direction",)),
    ("dropped", "records_dropped", "Events that a sink lost for good.", ("sink",)),
    (
        "pruned",
        "records_pruned",
        "Events deleted: too old, or too much for the store.",
        ("why", "of"),
    ),
    ("webhooks", "webhook_notices", "Notices of webhooks, by what became of them.", ("outcome",)),
    ("exported", "export_records", "Records to be exported, by what became of them.", ("export", "outcome")),
    ("unexported", "export_failures", "Requests of an export that failed.", ("export", "reason")),
    ("unsent", "audit_stream_failures", "Attempts to deliver audit events that failed.", ("reason",)),
)
GAUGES = {
    "record_queue_length": "Events waiting for the writer.",
    "record_store_up": "Whether the store takes records; while it does not they are spilled to disk.",
    "record_queue_limit": "Events that may wait for the writer.",
    "connections_limit": "Client connections that may be open.",
    "destinations_idle": "Connections to destinations that wait for a next request.",
    "certificates_cached": "Certificates of inspected hosts that are kept.",
    "records_spilled_limit_bytes": "Bytes of records that may lie on disk.",
    "records_spilled_bytes": "Bytes of records on disk that the store has not taken.",
    "audit_stream_pending": "Audit events that the stream's destination has not taken yet.",
    "audit_stream_lag_seconds": "Age of the oldest of them.",
    "export_spooled_bytes": "Bytes of records on disk that receivers of exports have not taken.",
    "export_lag_seconds": "Age of the oldest of them.",
    "audit_anchor_lag_seconds": "For how long the audit chain has had a head that no anchor was told.",
    "jwks_age_seconds": "Age of the JWT issuers' keys that were read longest ago; infinite while some never were.",
    "jwks_failing": "Key sets of JWT issuers that could not be read when that was last tried.",
    "event_loop_lag_seconds": "Worst lateness of the event loop in the last samples.",
    "config_last_reload_successful": "Whether the last load of the configuration succeeded.",
    "config_last_reload_success_timestamp_seconds": "When the configuration in force was loaded.",
    "policy_subtrees": "Subtrees that confined files write.",
    "policy_subtrees_kept_back": "Those whose files have an error, so that they are not in force as they are.",
    "rotation_failing": "Kinds of files (certificates, keys, roots) whose new content cannot be used.",
    "ca_expiry_timestamp_seconds": "When the certificate authority that signs expires.",
    "ca_next_expiry_timestamp_seconds": "When the CA expires that is published and will sign; 0 while there is none.",
    "ca_old_expiry_timestamp_seconds": "When the CA expires that signed before and is published still; 0 if none is.",
    "server_certificate_expiry_timestamp_seconds": "When the certificate of the proxy's own listener expires.",
    "ops_certificate_expiry_timestamp_seconds": "When the certificate of the ops port expires.",
    "client_ca_expiry_timestamp_seconds": "When the first of the authorities of client certificates expires.",
}

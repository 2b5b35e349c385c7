"""Single parts of a service, made from the settings; and what opening and tending them takes. Holds no state."""

import asyncio
import errno
import logging
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outward.config.loaded import Loaded
from outward.config.settings import AuditStreamSettings as StreamTo
from outward.config.settings import ExportTo, Settings
from outward.core.model import Credential, Decision
from outward.core.policy import Policy
from outward.dns.resolver import Resolver
from outward.ops.access import TokenError
from outward.ops.administration import Administration
from outward.ops.metrics import Metrics
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge, Verifier
from outward.proxy.listener import ProxyListener
from outward.proxy.search_settings import FileConsent
from outward.records.database import Database, StoreAwayError, driver_of, migrate, open_database
from outward.records.events.recorder import Recorder
from outward.records.events.values import Event
from outward.records.otel import endpoint, other_protocol
from outward.records.state.search_memory import SearchMemory

if TYPE_CHECKING:
    from ssl import SSLContext

    from outward.proxy.desk import Desk
    from outward.proxy.governance import SearchGovernor
    from outward.proxy.keyfetch import KeyReader
    from outward.records.audit.keeper import Anchor
    from outward.records.audit.stream import AuditStream
    from outward.records.sending.export import Export
    from outward.records.sending.traces import Traces
    from outward.records.sending.webhooks import Webhooks
    from outward.signin.door import Door

log = logging.getLogger(__name__)


class StartError(Exception):
    """The proxy cannot start; the message is for the operator."""


class Observed:
    """A recorder that shows each event to somebody else first."""

    def __init__(self, recorder: Recorder, observe: Callable[[Event], None]) -> None:
        self._recorder = recorder
        self._observe = observe

    def settle(self, event: Event) -> None:
        """Give a denial the id of the row that counts it."""
        self._recorder.settle(event)

    def withdraw(self, event: Event) -> bool:
        """See `Recorder`."""
        return self._recorder.withdraw(event)

    def record(self, event: Event) -> None:
        """Show and record one event."""
        self._recorder.settle(event)  # who watches is shown the id of the row
        self._observe(event)
        self._recorder.record(event)


def whole(loaded: Loaded) -> tuple[Settings, Policy]:
    """Return the settings and the policy of a configuration.

    Raises:
        StartError: it has errors.
    """
    if loaded.settings is None or loaded.policy is None:
        raise StartError("the configuration has errors")
    return loaded.settings, loaded.policy


def prepare_records(url: str, state: Path) -> None:
    """Make the state directory, and try that it takes a file, and that the records' database has its driver.

    A database that is away may come back, and is waited for; a driver that is not installed does not.

    Raises:
        StartError: one of them does not.
    """
    try:
        driver_of(url)
    except StoreAwayError as error:
        raise StartError(str(error)) from error
    cure = "set `server.state`, or OUTWARD_STATE, to a folder that this user may write"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = state / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(f"the state directory {state} cannot be written: {_reason(error)}; {cure}") from error
    from outward.records.audit.chain import begin  # noqa: PLC0415 - loads cryptography

    begin(url, state)


def refused(error: OSError) -> StartError:
    """Return what is told where the system refuses a file: which, why, and what helps against a full disk."""
    path = f"{error.filename} cannot be used: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cure = "; make room there, or set `server.state`, or OUTWARD_STATE, to a folder elsewhere" if full else ""
    return StartError(f"{path}{_reason(error)}{cure}")


def resolver_of(settings: Settings) -> Resolver:
    """Make the resolver.

    Raises:
        ValueError: a server is not given by its address.
    """
    return Resolver(settings.dns_servers, settings.dns_hosts, settings.limits.resolve_timeout)


def administration_of(settings: Settings, judge: Judge) -> Administration:
    """Make the administrator's side; its token comes from the environment.

    Raises:
        StartError: the file of the token cannot be read, or a token is too short.
    """
    try:
        return Administration(settings, lambda: judge.policy)
    except TokenError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"the file of OUTWARD_ADMIN_TOKEN_FILE cannot be read: {error.strerror}") from error


def governor_of(
    settings: Settings,
    judge: Judge,
    recorder: Recorder,
    administration: Administration | None,
    memory: SearchMemory,
    *,
    hear: Callable[[Mapping[str, Any]], None] | None,
) -> "SearchGovernor":
    """Make the governance of hosted search; without an administrator's side nothing can be set at run time.

    Receipts are shown to who wants to `hear` of them.
    """
    from outward.proxy.governance import (  # noqa: PLC0415 - while it loads, the ops port answers already
        SearchGovernor,
    )
    from outward.proxy.search_hosts import registry_for  # noqa: PLC0415 - as above
    from outward.proxy.search_told import Overheard  # noqa: PLC0415 - as above

    consent = administration.state if administration else FileConsent(lambda: judge.policy)
    registry, most = registry_for(settings), settings.limits.body_inspect_bytes
    sinks = Overheard(recorder, hear) if hear else recorder
    return SearchGovernor(judge, registry, consent, sinks, most, counts=memory.counts, machines=memory.machines)


def connecting(settings: Settings) -> Callable[[], Database]:
    """Return what opens the records' database, its schema up to date."""

    def connect() -> Database:
        database = open_database(settings.records_url, settings.state)
        migrate(database)
        return database

    return connect


def desk_of(settings: Settings, judge: Judge, administration: Administration | None) -> "Desk":
    """Make what answers for the proxy itself; without an administrator's side nobody could answer a request."""
    from outward.proxy.desk import Desk  # noqa: PLC0415 - while it loads, the ops port answers already
    from outward.proxy.keeping import Keeping  # noqa: PLC0415 - as above

    access = administration.state.access if administration else None
    return Desk(judge, Keeping(lambda: open_database(settings.records_url, settings.state), access))


def stream_of(settings: Settings, metrics: Metrics) -> "AuditStream | None":
    """Make what sends audit events to the operator's endpoint, where the settings name one.

    Raises:
        StartError: there is no secret where the settings say.
    """
    wanted = settings.audit_stream
    if wanted is None:
        return None
    from outward.records.audit.stream import AuditStream  # noqa: PLC0415 - loads an HTTP client, which few need
    from outward.records.sending.destination import Destination, secret_of, trusting  # noqa: PLC0415 - as above

    try:
        token = secret_of(wanted, os.environ)
        token()
    except (OSError, ValueError) as error:
        raise StartError(f"the token of `records.audit_stream` cannot be used: {error}") from error
    stream = AuditStream(
        Destination(wanted.url, token, context=lambda: trusting(settings.trust)),
        lambda: open_database(settings.records_url, settings.state),
        metrics,
        batch=wanted.batch,
    )
    metrics.watch("audit_stream_pending", lambda: stream.pending)
    metrics.watch("audit_stream_lag_seconds", stream.lag)
    return stream


def traces_of(settings: Settings, metrics: Metrics) -> "Traces | None":
    """Make what sends spans to a collector, if the variables of OpenTelemetry name one.

    Raises:
        StartError: what it needs is not installed.
    """
    url = endpoint(os.environ)
    if url is None:
        return None
    own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    _need_otlp(own if os.environ.get(own) else "OTEL_EXPORTER_OTLP_ENDPOINT")
    from outward.records.sending.destination import Destination, trusting  # noqa: PLC0415 - few need it
    from outward.records.sending.traces import Traces, headers  # noqa: PLC0415 - as above

    other = other_protocol(os.environ)
    if other is not None:
        log.warning("`%s` is `%s`, which is not spoken here: traces go to %s as `http/protobuf`", *other, url)
    for outcome in ("sent", "dropped"):
        metrics.traced(outcome, 0)
    to = Destination(url, context=lambda: trusting(settings.trust))
    told = headers(os.environ)
    return Traces(to, metrics, instance=settings.instance or platform.node(), environ=os.environ, headers=told)


def _need_otlp(setting: str) -> None:
    found = None
    with suppress(ModuleNotFoundError):  # what lies above it is not there, or is no package
        found = find_spec("opentelemetry.proto.collector")
    if found is None:
        raise StartError(
            f"`{setting}` needs the extra `otlp`: in a checkout,"
            " `.venv/bin/python -m pip install --require-hashes -r requirements/otlp.txt`"
        )


def anchor_of(settings: Settings, metrics: Metrics) -> "Anchor | None":
    """Make what tells the head of the audit chain to a place outside, where the settings name one."""
    place = settings.audit_anchor
    if place is None:
        return None
    from outward.records.audit.keeper import Anchor  # noqa: PLC0415 - loads cryptography
    from outward.records.sending.destination import Destination, trusting  # noqa: PLC0415 - few need it

    if isinstance(place, str):
        anchor = Anchor(settings.state, Destination(place, context=lambda: trusting(settings.trust)))
    else:
        anchor = Anchor(settings.state, place)
    metrics.watch("audit_anchor_lag_seconds", anchor.lag)
    return anchor


def exports_of(settings: Settings, metrics: Metrics) -> "tuple[Export, ...]":
    """Make what sends decisions to receivers outside, where the settings name any.

    Raises:
        StartError: what a receiver needs is not installed, or cannot be read.
    """
    exports = [_otlp_of(settings, settings.export, metrics)] if settings.export else []
    if settings.audit_stream is not None and settings.audit_stream.denials:
        exports.append(_siem_of(settings, settings.audit_stream, metrics))
    for export in exports:
        for outcome in ("sent", "rejected", "dropped"):  # present at zero, so that a first loss is an increase
            metrics.exported(export.name, outcome, 0)
    if exports:
        metrics.watch("export_spooled_bytes", lambda: sum(export.waiting for export in exports))
        metrics.watch("export_lag_seconds", lambda: max(export.lag() for export in exports))
    return tuple(exports)


def _siem_of(settings: Settings, wanted: StreamTo, metrics: Metrics) -> "Export":
    """Make what sends denials where audit events go; `stream_of` has tried the secret."""
    from outward.records.events.spill import Spill  # noqa: PLC0415 - as above
    from outward.records.sending.destination import TOKEN_HEADER, Destination, secret_of, trusting  # noqa: PLC0415 - few need it
    from outward.records.sending.export import Export  # noqa: PLC0415 - as above
    from outward.records.sending.ocsf import Ocsf  # noqa: PLC0415 - as above

    secret = secret_of(wanted, os.environ)
    return Export(
        "siem",
        Ocsf(),
        Destination(wanted.url, context=lambda: trusting(settings.trust)),
        Spill(settings.state / "export-siem", max_bytes=settings.spill_bytes),
        metrics,
        headers=lambda: {TOKEN_HEADER: secret() or ""},
    )


def _otlp_of(settings: Settings, wanted: ExportTo, metrics: Metrics) -> "Export":
    _need_otlp("records.export.otlp")
    from outward.records.events.spill import Spill  # noqa: PLC0415 - as above
    from outward.records.sending.destination import Destination, headers_in, trusting  # noqa: PLC0415 - few need it
    from outward.records.sending.export import Export  # noqa: PLC0415 - as above
    from outward.records.sending.otlp import Otlp  # noqa: PLC0415 - as above

    headers = headers_in(wanted.headers_file)
    try:
        headers()
    except (OSError, ValueError) as error:
        raise StartError(f"`records.export.headers_file` cannot be used: {error}") from error
    return Export(
        "otlp",
        Otlp(settings.instance or platform.node(), os.environ),
        Destination(wanted.otlp, context=lambda: trusting(settings.trust)),
        Spill(settings.state / "export-otlp", max_bytes=settings.spill_bytes),
        metrics,
        headers=headers,
    )


def webhooks_of(settings: Settings, metrics: Metrics) -> "Webhooks | None":
    """Make what tells other programs of requests and new hosts, where the settings name any."""
    if not settings.webhooks:
        return None
    from outward.ops.access import Buckets  # noqa: PLC0415 - few need it
    from outward.records.sending.destination import Destination, secret_in, trusting  # noqa: PLC0415 - as above
    from outward.records.sending.webhooks import Hook, Webhooks  # noqa: PLC0415 - as above

    hooks = [
        Hook(
            Destination(each.url, context=lambda: trusting(settings.trust)),
            each.events,
            each.format,
            secret_in(each.secret_file),
            metrics,
        )
        for each in settings.webhooks
    ]
    connect = partial(open_database, settings.records_url, settings.state)
    return Webhooks(hooks, connect, Buckets(rate=1 / 60, burst=10), metrics)


def watch_limits(metrics: Metrics, recorder: Recorder, settings: Settings) -> None:
    """Show how much of each limit is used: connections, and what waits to be recorded, in memory and on disk."""
    metrics.set("connections_limit", settings.limits.connections)
    metrics.set("records_spilled_limit_bytes", settings.spill_bytes)
    metrics.set("record_queue_limit", recorder.capacity)
    metrics.watch("record_queue_length", lambda: len(recorder))
    metrics.watch("record_store_up", lambda: float(recorder.away is None))
    metrics.watch("records_spilled_bytes", lambda: recorder.spilled)


def doorway_of(settings: Settings, metrics: Metrics) -> "SSLContext | None":
    """Return the context of TLS to the proxy, where the settings want it, and show when its certificates end.

    Raises:
        StartError: its files cannot be used.
    """
    if settings.tls is None:
        return None
    from outward.proxy.listener_tls import ends, server_context  # noqa: PLC0415 - few speak TLS to their proxy

    try:
        context = server_context(settings.tls)
        metrics.set("server_certificate_expiry_timestamp_seconds", ends(settings.tls.cert, chain=True))
        if settings.tls.client_ca is not None:
            metrics.set("client_ca_expiry_timestamp_seconds", ends(settings.tls.client_ca))
    except (OSError, ValueError) as error:
        raise StartError(f"`server.tls` cannot be used: {error}") from error
    return context


def ops_tls_of(settings: Settings, metrics: Metrics) -> "SSLContext | None":
    """Return the context of TLS to the ops port, where the settings want it, and show when its certificate ends.

    Raises:
        StartError: its files cannot be used.
    """
    if settings.admin.tls is None:
        return None
    from outward.proxy.listener_tls import ends, server_context  # noqa: PLC0415 - few speak TLS here

    try:
        context = server_context(settings.admin.tls)
        metrics.set("ops_certificate_expiry_timestamp_seconds", ends(settings.admin.tls.cert, chain=True))
    except (OSError, ValueError) as error:
        raise StartError(f"`admin.tls` cannot be used: {error}") from error
    return context


def transparent_of(gate: ProxyListener) -> Callable[[str, int], Awaitable[None]]:
    """Return what opens the port of redirected connections.

    Raises:
        StartError: this system cannot tell where a redirected connection was going.
    """
    if sys.platform != "linux":
        raise StartError("`server.transparent` needs Linux: no other system tells where a connection was going")
    return gate.start_transparent


def verifier_for(
    policy: Policy, current: Verifier | None, dialer: Dialer, settings: Callable[[], Settings], metrics: Metrics
) -> Verifier | None:
    """Return the verifier of JWTs where a policy has clients for it: the current one, where there is one.

    Args:
        policy: the one that is put in force.
        current: verifies now.
        dialer: resolves and judges where key sets are fetched from; its loop is the running one.
        settings: returns those in force, whose roots are believed.
        metrics: where the age of the keys is shown.
    """
    if not any(entry.kind is Credential.JWT for entry in policy.clients):
        return None
    from outward.proxy.credentials import JwtVerifier  # noqa: PLC0415 - slow, and few need it
    from outward.proxy.keysets import KeySets  # noqa: PLC0415 - as above

    if isinstance(current, JwtVerifier):
        verifier = current
    else:
        verifier = JwtVerifier(KeySets(_reader_of(dialer, settings)))
        metrics.watch("jwks_age_seconds", verifier.keysets.age)
        metrics.watch("jwks_failing", lambda: float(verifier.keysets.failing))
    verifier.use(policy)
    return verifier


def door_of(settings: Settings, dialer: Dialer, in_force: Callable[[], Settings]) -> "Door | None":
    """Make what signs people in at a provider of identities, where the settings name one.

    Args:
        settings: those that are put in force.
        dialer: resolves and judges where the provider is; its loop is the running one.
        in_force: returns the settings in force, whose roots are believed.
    """
    if settings.admin.oidc is None:
        return None
    from outward.signin.door import Door  # noqa: PLC0415 - slow, and few need it
    from outward.signin.provider import Provider  # noqa: PLC0415 - as above

    return Door(settings.admin.oidc, Provider(settings.admin.oidc, _reader_of(dialer, in_force).ask))


def _reader_of(dialer: Dialer, settings: Callable[[], Settings]) -> "KeyReader":
    """Return what asks the issuers of tokens, by the roots and addresses of destinations."""
    from outward.proxy.keyfetch import KeyReader, context_of  # noqa: PLC0415 - slow, and few need it
    from outward.proxy.trust import upstream_roots  # noqa: PLC0415 - as above

    return KeyReader(
        asyncio.get_running_loop(),
        lambda host, port: dialer.addresses(host, port, Decision()),
        lambda: context_of(upstream_roots(settings().trust, settings().state)),
    )


def _reason(error: OSError) -> str:
    """Return the system's short text; asyncio wraps it in one that says the address again."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


async def bind(what: str, start: Callable[[str, int], Awaitable[None]], at: tuple[str, int]) -> None:
    """Open a listener, or say which one cannot be opened, where, and why.

    Raises:
        StartError: it cannot be opened.
    """
    try:
        await start(*at)
    except OSError as error:
        key = {"proxy": "listen"}.get(what, what)
        where = f"the {what} port cannot be opened on {at[0]} port {at[1]}: {_reason(error)}"
        named = f"; `server.{key}` names it" if at[1] else ""  # `run` takes a free port, which no key names
        raise StartError(f"{where}{named}") from error


async def every(interval: float, action: Callable[[], None]) -> None:
    """Act each time a number of seconds has passed; a failure is logged, and the next try made in its time."""
    while True:
        await asyncio.sleep(interval)
        try:
            action()
        except Exception:
            log.exception("a periodic task failed")

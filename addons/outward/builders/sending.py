"""What sends records elsewhere: audit stream, anchor, exports, traces, webhooks. Each loads its own: few need any."""

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from socket import gethostname
from typing import TYPE_CHECKING

from outward.builders.errors import StartError
from outward.config.settings import AuditStreamSettings, ExportTo, Settings
from outward.ops.metrics import Metrics
from outward.records.database import open_database
from outward.records.otel import endpoint, other_protocol

if TYPE_CHECKING:
    from outward.records.audit.keeper import Anchor
    from outward.records.audit.stream import AuditStream
    from outward.records.sending.destination import Destination
    from outward.records.sending.export import Dialect, Export
    from outward.records.sending.traces import Traces
    from outward.records.sending.webhooks import Webhooks

log = logging.getLogger(__name__)


def stream_of(settings: Settings, metrics: Metrics) -> "AuditStream | None":
    """Make what sends audit events to the operator's endpoint, where the settings name one.

    Raises:
        StartError: there is no secret where the settings say.
    """
    wanted = settings.audit_stream
    if wanted is None:
        return None
    from outward.records.audit.stream import AuditStream  # noqa: PLC0415 - loads an HTTP client, which few need
    from outward.records.sending.destination import secret_of  # noqa: PLC0415 - as above

    try:
        token = secret_of(wanted, os.environ)
        token()
    except (OSError, ValueError) as error:
        raise StartError(f"the token of `records.audit_stream` cannot be used: {error}") from error
    stream = AuditStream(
        _to(settings, wanted.url, token),
        partial(open_database, settings.records_url, settings.state),
        metrics,
        batch=wanted.batch,
    )
    metrics.watch("audit_stream_pending", lambda: stream.pending)
    metrics.watch("audit_stream_lag_seconds", stream.lag)
    return stream


def anchor_of(settings: Settings, metrics: Metrics) -> "Anchor | None":
    """Make what tells the head of the audit chain to a place outside, where the settings name one."""
    place = settings.audit_anchor
    if place is None:
        return None
    from outward.records.audit.keeper import Anchor  # noqa: PLC0415 - loads cryptography

    anchor = Anchor(settings.state, _to(settings, place) if isinstance(place, str) else place)
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


def _siem_of(settings: Settings, wanted: AuditStreamSettings, metrics: Metrics) -> "Export":
    """Make what sends denials where audit events go; `stream_of` has tried the secret."""
    from outward.records.sending.destination import TOKEN_HEADER, secret_of  # noqa: PLC0415 - few need it
    from outward.records.sending.ocsf import Ocsf  # noqa: PLC0415 - as above

    secret = secret_of(wanted, os.environ)
    return _export("siem", Ocsf(), settings, metrics, url=wanted.url, headers=lambda: {TOKEN_HEADER: secret() or ""})


def _otlp_of(settings: Settings, wanted: ExportTo, metrics: Metrics) -> "Export":
    _need_otlp("records.export.otlp")
    from outward.records.sending.destination import headers_in  # noqa: PLC0415 - few need it
    from outward.records.sending.otlp import Otlp  # noqa: PLC0415 - as above

    headers = headers_in(wanted.headers_file)
    try:
        headers()
    except (OSError, ValueError) as error:
        raise StartError(f"`records.export.headers_file` cannot be used: {error}") from error
    dialect = Otlp(settings.instance or gethostname(), os.environ)
    return _export("otlp", dialect, settings, metrics, url=wanted.otlp, headers=headers)


def _export(
    name: str,
    dialect: "Dialect",
    settings: Settings,
    metrics: Metrics,
    *,
    url: str,
    headers: Callable[[], Mapping[str, str]],
) -> "Export":
    """Make an export with a spill of its own, named after it."""
    from outward.records.events.spill import Spill  # noqa: PLC0415 - few need it
    from outward.records.sending.export import Export  # noqa: PLC0415 - as above

    spill = Spill(settings.state / f"export-{name}", max_bytes=settings.spill_bytes)
    return Export(name, dialect, _to(settings, url), spill, metrics, headers=headers)


def _to(settings: Settings, url: str, *token: Callable[[], str | None]) -> "Destination":
    """Return an endpoint, which the roots of `upstream.trust` vouch for; its secret goes with each request."""
    from outward.records.sending.destination import Destination, trusting  # noqa: PLC0415 - few need it

    return Destination(url, *token, context=lambda: trusting(settings.trust))


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
    from outward.records.sending.traces import Traces, headers  # noqa: PLC0415 - few need it

    other = other_protocol(os.environ)
    if other is not None:
        log.warning("`%s` is `%s`, which is not spoken here: traces go to %s as `http/protobuf`", *other, url)
    for outcome in ("sent", "dropped"):
        metrics.traced(outcome, 0)
    name = settings.instance or gethostname()
    return Traces(_to(settings, url), metrics, instance=name, environ=os.environ, headers=headers(os.environ))


def _need_otlp(setting: str) -> None:
    found = None
    with suppress(ModuleNotFoundError):  # what lies above it is not there, or is no package
        found = find_spec("opentelemetry.proto.collector")
    if found is None:
        raise StartError(
            f"`{setting}` needs the extra `otlp`: in a checkout,"
            " `.venv/bin/python -m pip install --require-hashes -r requirements/otlp.txt`"
        )


def webhooks_of(settings: Settings, metrics: Metrics) -> "Webhooks | None":
    """Make what tells other programs of requests and new hosts, where the settings name any."""
    if not settings.webhooks:
        return None
    from outward.ops.buckets import Buckets  # noqa: PLC0415 - few need it
    from outward.records.sending.destination import secret_in  # noqa: PLC0415 - as above
    from outward.records.sending.webhooks import Hook, Webhooks  # noqa: PLC0415 - as above

    hooks = [
        Hook(_to(settings, each.url), each.events, each.format, secret_in(each.secret_file), metrics)
        for each in settings.webhooks
    ]
    connect = partial(open_database, settings.records_url, settings.state)
    return Webhooks(hooks, connect, Buckets(rate=1 / 60, burst=10), metrics)

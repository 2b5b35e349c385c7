"""Decisions as OpenTelemetry logs: OTLP over HTTP, in protobuf (https://opentelemetry.io/docs/specs/otlp/).

Names follow the semantic conventions where these have one; ours begin with `outward.`. `log.record.uid` is the decision
id: who receives a record twice tells it by that. Needs the extra `otlp`, and is loaded by the thread that sends.
"""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

from outward import __version__
from outward.records.events.rows import milliseconds
from outward.records.events.values import Record
from outward.records.sending.export import Rejection

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

# Attributes by the record's field; https://opentelemetry.io/docs/specs/semconv/registry/attributes/
NAMES: Mapping[str, str] = {
    "client": "client.address",
    "host": "server.address",
    "port": "server.port",
    "address": "network.peer.address",
    "method": "http.request.method",
    "scheme": "url.scheme",
    "path": "url.path",
    "status": "http.response.status_code",
    "user_agent": "user_agent.original",
    "sni": "tls.client.server_name",
    "conversation": "gen_ai.conversation.id",
    "subject": "user.id",
    **{
        name: f"outward.{name}"
        for name in (
            *("verdict", "reason", "stage", "mode", "would_deny", "would_reason", "group", "client_name", "lane"),
            *("generation", "duration_ms", "bytes_up", "bytes_down", "ech", "detail", "count", "repeats_of"),
            *("redirected_from", "schema_version"),
        )
    },
}
_INFO, _WARN = (9, "INFO"), (13, "WARN")  # severity, https://opentelemetry.io/docs/specs/otel/logs/data-model/
_TIMES = ("first_seen", "last_seen")


def resource_of(instance: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what every record and span says of who sends it.

    Args:
        instance: which proxy this is.
        environ: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say more of it, as they do everywhere.
    """
    found = {
        "service.name": "outward",
        "service.version": __version__,
        "service.instance.id": instance,
        "host.name": platform.node(),
        **pairs(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")),
    }
    if name := environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = name
    return found


class Otlp:
    """The dialect of OpenTelemetry collectors; see `export.Dialect`."""

    content_type = "application/x-protobuf"
    compressed = True
    denials_only = False

    def __init__(self, instance: str, environ: Mapping[str, str]) -> None:
        """Prepare.

        Args:
            instance: which proxy this is.
            environ: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say more of it, as they do everywhere.
        """
        self._resource = resource_of(instance, environ)

    def encode(self, records: Sequence[Record]) -> bytes:
        """Return a request with a log record for each decision."""
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415 - an extra that few need
            ExportLogsServiceRequest,
        )

        request = ExportLogsServiceRequest()
        ours = request.resource_logs.add()
        for name, value in self._resource.items():
            put(ours.resource.attributes.add, name, value)
        scope = ours.scope_logs.add()
        scope.scope.name, scope.scope.version = "outward", __version__
        now = time.time_ns()
        for record in records:
            _fill(scope.log_records.add(), record, now)
        return bytes(request.SerializeToString())

    def read(self, answer: bytes) -> None:
        """Read what the collector did not take.

        Raises:
            Rejection: there was something.
        """
        from google.protobuf.message import DecodeError  # noqa: PLC0415 - an extra that few need
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415 - as above
            ExportLogsServiceResponse,
        )

        try:
            partial = ExportLogsServiceResponse.FromString(answer).partial_success
        except DecodeError:
            return  # a 2xx answer is a success, whatever stands in it
        if partial.rejected_log_records or partial.error_message:
            raise Rejection(partial.rejected_log_records, partial.error_message)


def _fill(found: "LogRecord", record: Record, now: int) -> None:
    """Make a log record of a decision, or of its repeats."""
    denied = record["verdict"] == "deny"
    repeats = record.get("repeats_of")
    found.time_unix_nano = milliseconds(record["last_seen"] if repeats else record["time"]) * 1_000_000
    found.observed_time_unix_nano = now
    found.severity_number, found.severity_text = _WARN if denied else _INFO
    found.event_name = "outward.decision"
    where = f"{record['host'] or '-'}:{record['port'] or '-'}"
    found.body.string_value = f"{record['verdict']} {record['reason']} {record['method'] or '-'} {where}"
    add = found.attributes.add
    put(add, "log.record.uid", f"{repeats}+{record['count']}@{record['last_seen']}" if repeats else record["id"])
    for name, value in record.items():
        if value is not None and name in NAMES:
            put(add, NAMES[name], value)
    for name in _TIMES:
        if record["count"] > 1 or repeats:
            put(add, f"outward.{name}", record[name])
    for part, value in (record.get("rule") or {}).items():
        put(add, f"outward.rule.{part}", value)
    for claim, value in (record.get("claims") or {}).items():
        put(add, f"outward.claim.{claim}", value)
    trace = record.get("trace_id") or ""
    if len(trace) == 32:
        try:
            found.trace_id = bytes.fromhex(trace)
        except ValueError:
            return


def put(add: "Callable[[], KeyValue]", name: str, value: object) -> None:
    """Add an attribute."""
    entry = add()
    entry.key = name
    if isinstance(value, str):
        entry.value.string_value = value
    elif isinstance(value, bool):
        entry.value.bool_value = value
    elif isinstance(value, int):
        entry.value.int_value = value
    elif isinstance(value, float):
        entry.value.double_value = value
    else:
        entry.value.string_value = str(value)


def pairs(text: str) -> dict[str, str]:
    """Read `key=value,…`, its values percent-encoded."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}

"""Traces: how the time of a request passed, as OpenTelemetry spans (https://opentelemetry.io/docs/specs/otlp/).

A client that sends `traceparent` (https://www.w3.org/TR/trace-context/) finds the proxy in its own trace. The
destination of an inspected request hears of the proxy's span as its parent. Traces help to look; they are no records:
what a collector does not take at once, or in time, is dropped and counted. Loaded where the variables say where
spans go (`records.otel`), and nowhere else.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from outward.records.events.values import Event, Record, recorded
from outward.records.sending.destination import DeliveryError, Destination
from outward.records.sending.otlp import NAMES, pairs, put, resource_of
from outward.records.sending.spans import Span
from outward.records.worker import Worker

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NOTHING = ("0" * 32, "0" * 16)  # ids that stand for none
_SAMPLED = 1
_SAMPLERS = frozenset(
    f"{above}{each}" for above in ("", "parentbased_") for each in ("always_on", "always_off", "traceidratio")
)
_CAPACITY = 4096  # spans that wait
_LINGER = 1.0  # seconds
_SERVER, _CLIENT, _INTERNAL = 2, 3, 1  # kinds of spans
_ERROR = 2  # status
_OUTGOING = frozenset({"resolve", "dial", "tls", "upstream"})


class TraceCounts(Protocol):
    """Where traces are counted; any thread may call it."""

    def traced(self, outcome: str, count: int) -> None:
        """Count requests whose spans were `sent` or `dropped`."""
        ...


def headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return further fields of a request: those for traces, or else those for everything."""
    own, shared = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS"), environ.get("OTEL_EXPORTER_OTLP_HEADERS")
    return pairs(own or shared or "")


def _sampler(environ: Mapping[str, str]) -> str:
    sampler = environ.get("OTEL_TRACES_SAMPLER", "")
    return sampler if sampler in _SAMPLERS else "parentbased_always_on"


def share(environ: Mapping[str, str]) -> float:
    """Return which part of the requests is traced that no trace of the client's decides for."""
    sampler = _sampler(environ)
    if sampler.endswith("always_off"):
        return 0.0
    if not sampler.endswith("traceidratio"):
        return 1.0
    try:
        return min(1.0, max(0.0, float(environ.get("OTEL_TRACES_SAMPLER_ARG", "1"))))
    except ValueError:
        return 1.0


class Traces:
    """Begins spans, and sends those that have ended to a collector."""

    def __init__(
        self,
        destination: Destination,
        counts: TraceCounts,
        *,
        instance: str,
        environ: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> None:
        """Prepare; nothing is sent before `start`.

        Args:
            destination: the collector.
            counts: where to count.
            instance: which proxy this is.
            environ: variables of OpenTelemetry, about the service and the sampler.
            headers: further fields of a request.
        """
        self._destination, self._counts, self._headers = destination, counts, headers
        self._resource, self._share = resource_of(instance, environ), share(environ)
        self._follows = _sampler(environ).startswith("parentbased_")
        self._worker: Worker[tuple[Span, Record, int]] = Worker(
            "traces", self._send, capacity=_CAPACITY, linger=_LINGER, on_error=self._drop
        )

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def begin(self, traceparent: str | None) -> Span | None:
        """Return the span of a request, or None if it is not traced.

        Args:
            traceparent: the client's, if it sent one; what is not valid counts as none.
        """
        match = _PARENT.fullmatch(traceparent or "")
        if match is None or match[1] == _NOTHING[0] or match[2] == _NOTHING[1]:
            trace, parent, said = os.urandom(16).hex(), None, None
        else:
            trace, parent, said = match[1], match[2], bool(int(match[3], 16) & _SAMPLED)
        if said is None or not self._follows:
            said = int(trace[16:], 16) < self._share * 2**64
        return Span(trace, os.urandom(8).hex(), parent) if said else None

    def end(self, event: Event) -> None:
        """Take a span whose request has ended. Never blocks, never raises."""
        if event.span is not None and not self._worker.offer((event.span, recorded(event), time.time_ns())):
            self._drop(1)

    def close(self, timeout: float) -> None:
        """Send what is left, within a number of seconds."""
        self._worker.close(timeout)

    def _drop(self, count: int) -> None:
        self._counts.traced("dropped", count)

    def _send(self, items: list[tuple[Span, Record, int]]) -> None:
        if not items:
            return
        fields = {"Content-Type": "application/x-protobuf", **self._headers}
        try:
            self._destination.send(encoded(self._resource, items), fields)
        except DeliveryError:
            self._drop(len(items))
        else:
            self._counts.traced("sent", len(items))


def encoded(resource: Mapping[str, str], items: Sequence[tuple[Span, Record, int]]) -> bytes:
    """Return an OTLP request with the spans of requests that have ended, each with when, in Unix nanoseconds."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 - an extra that few need
        ExportTraceServiceRequest,
    )

    request = ExportTraceServiceRequest()
    ours = request.resource_spans.add()
    for name, value in resource.items():
        put(ours.resource.attributes.add, name, value)
    scope = ours.scope_spans.add()
    scope.scope.name = "outward"
    for span, record, ended in items:
        _fill(scope, span, record, ended)
    return bytes(request.SerializeToString())


def _fill(scope: "ScopeSpans", span: Span, record: Record, ended: int) -> None:
    """Add a request's span and those of its stages."""
    found = scope.spans.add()
    found.trace_id, found.span_id = bytes.fromhex(span.trace), bytes.fromhex(span.ident)
    found.parent_span_id = bytes.fromhex(span.parent or "")
    found.name = record["method"] or "connection"
    found.kind = _SERVER
    found.start_time_unix_nano, found.end_time_unix_nano = span.began, ended
    put(found.attributes.add, "outward.decision_id", record["id"])
    for name, value in record.items():
        if value is not None and name in NAMES:
            put(found.attributes.add, NAMES[name], value)
    if record["verdict"] == "deny":
        found.status.code, found.status.message = _ERROR, record["reason"]
    stages = list(span.stages)
    if record["verdict"] == "allow":
        stages.append(("upstream", max((end for _, _, end in stages), default=span.began), ended))
    for stage, begin, end in stages:
        part = scope.spans.add()
        part.trace_id, part.parent_span_id = found.trace_id, found.span_id
        part.span_id, part.name = os.urandom(8), stage
        part.kind = _CLIENT if stage in _OUTGOING else _INTERNAL
        part.start_time_unix_nano, part.end_time_unix_nano = begin, end

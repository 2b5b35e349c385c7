"""Prometheus families of the numbers that `Metrics` keeps. Slow to import: for scrapes only."""

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.samples import Exemplar

from outward import __version__
from outward.ops.metrics import COUNTERS, GAUGES, Metrics, lane_label
from outward.ops.series import Histogram


class Collector:
    """Turns the numbers into Prometheus families, in a fixed order."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Yield every family."""
        metrics = self._metrics
        yield self._requests()
        yield from self._histograms()
        yield from self._counters()
        active = GaugeMetricFamily("outward_connections_active", "Open client connections.", labels=["lane"])
        for values, number in metrics.families["connections"].items():
            active.add_metric(values, number.value)
        yield active
        held = GaugeMetricFamily("outward_group_connections", "Open connections of a limited group.", labels=["group"])
        most = GaugeMetricFamily("outward_group_connections_limit", "How many it may have.", labels=["group"])
        for group, (count, limit) in metrics.group_connections().items():
            held.add_metric([group], count)
            most.add_metric([group], limit)
        yield from (held, most)
        rules = GaugeMetricFamily("outward_policy_rules", "Rules of a group's own.", labels=["group"])
        for group, count in metrics.policy_rules.items():
            rules.add_metric([group], count)
        yield rules
        for name, text in GAUGES.items():
            if name in metrics.gauges:
                yield GaugeMetricFamily(f"outward_{name}", text, value=metrics.gauges[name]())
        build = InfoMetricFamily("outward_build", "What is running.", value={"version": __version__})
        yield build

    def _requests(self) -> Metric:
        labels = ["group", "verdict", "reason", "stage", "lane"]
        family = CounterMetricFamily("outward_requests", "Questions decided.", labels=labels)
        for (group, verdict, reason, stage, lane), count in self._metrics.requests.copy().items():
            family.add_metric([group, verdict.name.lower(), reason.value, stage.value, lane_label(lane)], count)
        return family

    def _histograms(self) -> Iterator[Metric]:
        metrics = self._metrics
        for name, text, label, found in (
            ("request", "From question to end.", "lane", metrics.request_duration),
            ("tls", "How long TLS handshakes took.", "side", metrics.tls_duration),
            (
                "vendor_first_byte",
                "From a request to a governed vendor to its answer.",
                "vendor",
                metrics.vendor_duration,
            ),
        ):
            family = HistogramMetricFamily(f"outward_{name}_duration_seconds", text, labels=[label])
            for values, histogram in found.items():
                family.add_metric(values, *_with_exemplars(histogram))
            yield family
        for name, text, histogram in (
            ("decision", "How long the policy took to decide.", metrics.decision_duration),
            ("accept", "From a question's first byte to its decision.", metrics.accept_duration),
            ("first_byte", "From an inspected request to its response's head.", metrics.first_byte_duration),
            ("dial", "How long upstream connections took.", metrics.dial_duration),
            ("resolve", "How long DNS questions took.", metrics.resolve_duration),
        ):
            buckets, total = histogram.cumulative()
            yield HistogramMetricFamily(f"outward_{name}_duration_seconds", text, buckets=buckets, sum_value=total)

    def _counters(self) -> Iterator[Metric]:
        for key, name, text, labels in COUNTERS:
            family = CounterMetricFamily(f"outward_{name}", text, labels=labels)
            for values, number in self._metrics.families[key].items():
                family.add_metric(values, number.value)
            yield family
        written = self._metrics.written.value
        yield CounterMetricFamily("outward_records_written", "Events that the store has taken.", value=written)
        sent = self._metrics.sent.value
        yield CounterMetricFamily(
            "outward_audit_stream_sent", "Audit events that the destination has taken.", value=sent
        )


def _with_exemplars(histogram: Histogram) -> tuple[list[tuple[str, float] | tuple[str, float, Exemplar]], float]:
    """Return the buckets and the sum; a bucket that remembers an id shows it as its exemplar (OpenMetrics 1.0)."""
    buckets, total = histogram.cumulative()
    return [
        (*bucket, Exemplar({"decision_id": known[0]}, known[1])) if known else bucket
        for bucket, known in zip(buckets, histogram.exemplars(), strict=True)
    ], total

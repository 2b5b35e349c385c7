"""Metrics: every documented name, and labels that no client can grow."""

import asyncio
import re
import time

from harness.loops import on_loop, until
from outward.core.model import Lane, Stage, Verdict
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.ops.metrics import Metrics
from outward.records.events.values import Event

DOCUMENTED = [
    "requests_total",
    "request_duration_seconds",
    "decision_duration_seconds",
    "dial_duration_seconds",
    "resolve_duration_seconds",
    "connections_active",
    "bytes_total",
    "upstream_failures_total",
    "web_searches_total",
    "records_written_total",
    "records_dropped_total",
    "record_queue_length",
    "internal_errors_total",
    "event_loop_lag_seconds",
    "config_last_reload_successful",
    "config_last_reload_success_timestamp_seconds",
    "policy_rules",
    "ca_expiry_timestamp_seconds",
    "build_info",
]


def text(metrics: Metrics) -> str:
    return metrics.render()[0].decode()


def used() -> Metrics:
    metrics = Metrics()
    metrics.use_policy(Policy(groups={"acme": Group("acme")}))
    metrics.reloaded(successful=True)
    metrics.set("ca_expiry_timestamp_seconds", 1.0)
    metrics.set("event_loop_lag_seconds", 0.0)
    metrics.watch("record_queue_length", lambda: 3)
    metrics.connections(Lane.TUNNEL).inc()
    metrics.bytes("up", Lane.TUNNEL).inc(10)
    metrics.upstream_failure("timeout")
    metrics.web_search("anthropic", "narrowed")
    metrics.internal_error("gate")
    metrics.records_written(2)
    metrics.records_dropped("store", 1)
    metrics.count_request(Event(group="acme", reason=Reason.NO_RULE, lane=Lane.TUNNEL, duration_ms=12.0))
    return metrics


def test_every_documented_metric_is_rendered() -> None:
    shown = text(used())
    missing = [name for name in DOCUMENTED if not re.search(rf"^outward_{name}(_bucket)?[{{ ]", shown, re.MULTILINE)]
    assert not missing
    assert "process_resident_memory_bytes" in shown


def test_a_request_is_counted_with_its_labels_and_duration() -> None:
    shown = text(used())
    labels = 'group="acme",lane="tunnel",reason="no_rule",stage="connect",verdict="deny"'
    assert f"outward_requests_total{{{labels}}} 1.0" in shown
    assert 'outward_request_duration_seconds_bucket{lane="tunnel",le="0.005"} 0.0' in shown
    assert 'outward_request_duration_seconds_bucket{lane="tunnel",le="0.025"} 1.0' in shown
    assert 'outward_request_duration_seconds_sum{lane="tunnel"} 0.012' in shown


def test_groups_that_the_policy_does_not_know_fold_into_one() -> None:
    metrics = used()
    for number in range(1000):
        metrics.count_request(Event(group=f"made-up-{number}"))
    metrics.count_request(Event(group=None, reason=Reason.UNKNOWN_CLIENT))
    assert "made-up" not in text(metrics)
    assert {key[0] for key in metrics.requests} == {"acme", "_other"}


def test_no_host_path_or_client_is_ever_a_label() -> None:
    metrics = used()
    metrics.count_request(
        Event(host="canary.example", path="/canary", client="203.0.113.9", sni="canary.example", user_agent="canary")
    )
    assert "canary" not in text(metrics)
    assert "203.0.113.9" not in text(metrics)


def test_label_values_from_the_code_are_bounded_too() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.internal_error(f"place-{number}")
    shown = text(metrics)
    assert shown.count("outward_internal_errors_total{") == 65
    assert 'outward_internal_errors_total{where="_other"} 936.0' in shown


def test_a_reload_keeps_old_groups_countable_and_shows_only_the_rules_in_force() -> None:
    metrics = used()
    metrics.use_policy(Policy(groups={"other": Group("other")}))
    metrics.count_request(Event(group="acme", verdict=Verdict.ALLOW, reason=Reason.RULE, stage=Stage.TLS))
    shown = text(metrics)
    assert 'outward_policy_rules{group="other"} 0.0' in shown
    assert 'outward_policy_rules{group="acme"}' not in shown
    assert 'outward_requests_total{group="acme",lane="none",reason="rule",stage="tls",verdict="allow"} 1.0' in shown


def test_a_failed_reload_is_shown_and_keeps_the_time_of_the_last_good_one() -> None:
    metrics = used()
    good = metrics.gauges["config_last_reload_success_timestamp_seconds"]()
    metrics.reloaded(successful=False)
    assert metrics.gauges["config_last_reload_successful"]() == 0.0
    assert metrics.gauges["config_last_reload_success_timestamp_seconds"]() == good


def test_two_instances_do_not_share_numbers() -> None:
    used()
    assert "outward_web_searches_total{" not in text(Metrics())


def test_openmetrics_is_spoken_to_those_who_ask() -> None:
    body, content_type = used().render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@on_loop
async def test_a_blocked_event_loop_shows_as_lag() -> None:
    metrics = Metrics()
    watch = asyncio.create_task(metrics.watch_lag(interval=0.01))
    await until(lambda: "event_loop_lag_seconds" in metrics.gauges)
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        pass  # what is measured: the loop is held up
    await until(lambda: metrics.gauges["event_loop_lag_seconds"]() > 0.1)
    watch.cancel()

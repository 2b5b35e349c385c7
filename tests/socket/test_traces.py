"""Traces: the spans of real requests at a real receiver, in the client's own trace and on to the destination."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.collector import Collector
from harness.inspection import PassingGovernor, World, get, inspecting, web_origin
from harness.loops import on_loop
from harness.policies import group, policy, rule
from harness.raw import raw
from harness.waiting import wait_for
from outward.builders import sending
from outward.builders.errors import StartError
from outward.builders.sending import traces_of
from outward.config.settings import Settings
from outward.core.model import LaneChoice
from outward.ops.metrics import Metrics
from outward.records.otel import endpoint
from outward.records.sending.destination import Destination
from outward.records.sending.traces import Traces, headers, share

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FIELD = f"traceparent: 00-{TRACE}-{PARENT}-01"


class Told:
    """Counts as the metrics do."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}

    def traced(self, outcome: str, count: int) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count


@asynccontextmanager
async def tracing(
    tmp_path: Path, environ: dict[str, str], **facts: Any
) -> AsyncIterator[tuple[World, Collector, Told]]:
    collector, told = Collector(), Told()
    traces = Traces(
        Destination(collector.url.replace("logs", "traces")), told, instance="a", environ=environ, headers={}
    )
    traces.start()
    allowing = replace(policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT)), **facts)
    try:
        async with inspecting(allowing, tmp_path, governor=PassingGovernor()) as world:
            world.judge.traces = traces
            yield world, collector, told
    finally:
        await asyncio.to_thread(traces.close, 5)
        collector.stop()


async def spans(collector: Collector, count: int) -> dict[str, Any]:
    """Return spans by name, once there are so many."""
    await asyncio.to_thread(wait_for, lambda: len(collector.spans) >= count)
    return {each.name: each for each in collector.spans}


@on_loop
async def test_a_request_is_a_span_of_the_clients_trace_with_its_stages(tmp_path: Path) -> None:
    """And its destination hears of the proxy's span, not of the client's."""
    governed = {"vendor_of": {"allowed.test": "openai"}.get}
    async with (
        tracing(tmp_path, {}, **governed) as (world, collector, told),
        web_origin(world, "allowed.test") as server,
    ):
        async with world.tunnel("allowed.test", server.port) as client:
            await client.ask(get("/v1/models?key=private", f"allowed.test:{server.port}", FIELD))
        found = await spans(collector, 7)
        (passed,) = server.seen[0].all("traceparent")
    request = found.pop("GET")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert passed == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert set(found) == {"judge", "search", "resolve", "dial", "tls", "upstream"}
    for each in found.values():
        assert (each.trace_id, each.parent_span_id) == (request.trace_id, request.span_id)
        assert request.start_time_unix_nano <= each.start_time_unix_nano <= each.end_time_unix_nano
        assert each.end_time_unix_nano <= request.end_time_unix_nano
    about = {each.key: each.value for each in request.attributes}
    assert about["server.address"].string_value == "allowed.test"
    assert about["http.response.status_code"].int_value == 200
    assert about["url.path"].string_value == "/v1/models"
    assert about["outward.decision_id"].string_value == world.events[-1].id
    assert world.events[-1].trace_id == TRACE
    assert "private" not in str(collector.spans)
    assert told.outcomes == {"sent": 1}


@on_loop
async def test_a_refusal_is_an_error_by_its_reason_and_begins_a_trace_of_its_own(tmp_path: Path) -> None:
    async with tracing(tmp_path, {}) as (world, collector, _):
        async with raw(world.address) as client:
            await client.ask(b"CONNECT denied.example:443 HTTP/1.1\r\nHost: denied.example:443\r\n\r\n")
        found = (await spans(collector, 2))["CONNECT"]
    assert (found.status.code, found.status.message) == (2, "no_rule")
    assert found.parent_span_id == b""
    assert world.events[0].trace_id == found.trace_id.hex()


@pytest.mark.parametrize(
    ("field", "environ"),
    [(FIELD.replace("-01", "-00"), {}), ("X-None: 1", {"OTEL_TRACES_SAMPLER": "parentbased_always_off"})],
    ids=["the client's trace is not sampled", "nothing is sampled here"],
)
@on_loop
async def test_what_is_not_sampled_goes_on_unchanged(tmp_path: Path, field: str, environ: dict[str, str]) -> None:
    async with tracing(tmp_path, environ) as (world, collector, told), web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            await client.ask(get("/", f"allowed.test:{server.port}", field))
        name, _, value = field.partition(": ")
        assert server.seen[0].all(name.lower()) == [value]
    assert (collector.spans, told.outcomes) == ([], {})


@on_loop
async def test_a_collector_that_is_away_costs_traces_and_nothing_else(tmp_path: Path) -> None:
    async with tracing(tmp_path, {}) as (world, collector, told):
        collector.stop()
        async with web_origin(world, "allowed.test") as server, world.tunnel("allowed.test", server.port) as client:
            assert (await client.ask(get("/", f"allowed.test:{server.port}"))).endswith(b"hello")
        await asyncio.to_thread(wait_for, lambda: told.outcomes == {"dropped": 1})


@pytest.mark.parametrize(
    ("sampler", "sampled", "unsampled", "alone"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("traceidratio", False, False, None),
        ("parentbased_always_on", True, False, True),
        ("parentbased_always_off", True, False, False),
        ("parentbased_traceidratio", True, False, None),
        ("unknown", True, False, True),
    ],
)
def test_a_client_is_followed_by_samplers_that_say_so(
    sampler: str, sampled: bool, unsampled: bool, alone: bool | None
) -> None:
    """By the others it is judged as if it had said nothing; a ratio, by the lower half of the trace's id."""
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    traces = Traces(Destination("http://127.0.0.1:1/"), Told(), instance="a", environ=environ, headers={})
    value = FIELD.partition(": ")[2]
    assert (traces.begin(value) is not None) is sampled
    assert (traces.begin(value.replace("-01", "-00")) is not None) is unsampled
    assert alone is None or (traces.begin(None) is not None) is alone


def test_own_header_fields_come_first_and_another_protocol_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "b=2"}
    assert (headers(environ), headers({"OTEL_EXPORTER_OTLP_HEADERS": "a=1"}), headers({})) == (
        {"b": "2"},
        {"a": "1"},
        {},
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert traces_of(Settings(), Metrics()) is not None
    (told,) = caplog.messages
    assert told.startswith("`OTEL_EXPORTER_OTLP_PROTOCOL` is `grpc`, which is not spoken here: traces go to http://")


def test_the_extra_is_needed_where_traces_go_somewhere_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "find_spec", lambda _name: None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/")
    with pytest.raises(StartError, match="`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` needs the extra `otlp`"):
        traces_of(Settings(), Metrics())
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert traces_of(Settings(), Metrics()) is None


def test_the_variables_are_those_of_every_program() -> None:
    """https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/."""
    shared, own = (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"},
    )
    assert endpoint(shared) == "http://c:4318/v1/traces"
    assert endpoint(shared | own) == "http://t/x"
    assert endpoint(shared | {"OTEL_TRACES_EXPORTER": "none"}) is None
    assert endpoint(shared | {"OTEL_SDK_DISABLED": "true"}) is None
    assert endpoint({}) is None
    ratio = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}
    assert (share({}), share(ratio), share(ratio | {"OTEL_TRACES_SAMPLER_ARG": "much"})) == (1.0, 0.25, 1.0)

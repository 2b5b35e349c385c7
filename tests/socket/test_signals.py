"""How long each stage takes, and what vendors answer, as metrics of real exchanges."""

from dataclasses import replace
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.inspection import PassingGovernor, World, get, inspecting, keep, replying, response, web_origin
from harness.loops import on_loop
from harness.policies import group, policy, rule
from outward.core.model import LaneChoice
from outward.core.policy import Policy

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
RATE_LIMITED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"


def allowing(*hosts: str) -> Policy:
    return policy(group(*(rule(host) for host in hosts), lane=LaneChoice.INSPECT))


def value(world: World, name: str, **labels: str) -> float:
    """Return a sample's value; none is nothing."""
    return world.judge.metrics.registry.get_sample_value(name, labels) or 0.0


@on_loop
async def test_each_stage_is_timed_once(tmp_path: Path) -> None:
    """Two requests in one tunnel: one handshake on each side, two first bytes."""
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            for _ in range(2):
                await client.send(keep("/", f"allowed.test:{server.port}"))
                assert (await response(client)).endswith(b"hello")
        for name, labels, count in (
            ("accept", {}, 1),
            ("resolve", {}, 1),
            ("dial", {}, 1),
            ("tls", {"side": "client"}, 1),
            ("tls", {"side": "destination"}, 1),
            ("first_byte", {}, 2),
            ("request", {"lane": "inspect"}, 2),
        ):
            assert value(world, f"outward_{name}_duration_seconds_count", **labels) == count, (name, labels)


@on_loop
async def test_a_slow_request_can_be_found_by_its_decision(tmp_path: Path) -> None:
    """The bucket's exemplar is the id that `outward blocked`, the page and the log know."""
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            await client.ask(get("/", f"allowed.test:{server.port}"))
        shown = world.judge.metrics.render(OPENMETRICS)[0].decode()
        (family,) = (
            each for each in text_string_to_metric_families(shown) if each.name == "outward_request_duration_seconds"
        )
        found = [sample.exemplar.labels["decision_id"] for sample in family.samples if sample.exemplar]
        assert found == [world.events[-1].id]


@on_loop
async def test_what_vendors_answer_is_counted(tmp_path: Path) -> None:
    """By class; a vendor that is not reached is one that is not available."""
    governed = replace(allowing("allowed.test"), vendor_of={"allowed.test": "openai"}.get)
    async with inspecting(governed, tmp_path, governor=PassingGovernor()) as world:
        async with web_origin(world, "allowed.test") as server:
            for handler in (replying(close=True), replying(RATE_LIMITED, close=True)):
                server.answer = handler
                async with world.tunnel("allowed.test", server.port) as client:
                    await client.ask(get("/v1/models", f"allowed.test:{server.port}"))
        async with world.tunnel("allowed.test", server.port) as client:
            assert b"502" in await client.ask(get("/v1/models", f"allowed.test:{server.port}"))
        counted = {
            outcome: value(world, "outward_vendor_responses_total", vendor="openai", outcome=outcome)
            for outcome in ("ok", "rate_limited", "unreachable", "server_error")
        }
        assert counted == {"ok": 1, "rate_limited": 1, "unreachable": 1, "server_error": 0}
        assert value(world, "outward_vendor_first_byte_duration_seconds_count", vendor="openai") == 2

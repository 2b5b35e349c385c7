"""Requests that come back through a parent proxy: refused at their second visit, whatever way they took."""

from pathlib import Path

import pytest

from harness.gates import World, connect, gate_for, request, status
from harness.inspection import World as Inspecting
from harness.inspection import inspecting
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.model import LaneChoice
from outward.core.reasons import Reason
from outward.proxy.parent import Parent

TUNNEL = policy(group(rule("www.example.test")))
INSPECT = policy(group(rule("www.example.test"), lane=LaneChoice.INSPECT))


def leads(here: World | Inspecting, there: World | Inspecting) -> None:
    """Make one proxy the parent of another."""
    here.gate.resources.dialer.parent = Parent.parse(f"http://127.0.0.1:{there.address[1]}")


@on_loop
async def test_a_tunnel_between_two_proxies_that_are_each_others_parent_ends() -> None:
    async with gate_for(TUNNEL) as one, gate_for(TUNNEL) as two:
        leads(one, two)
        leads(two, one)
        async with raw(one.address) as client:
            assert (
                status(await client.ask(connect("www.example.test", 443, "Via: 1.1 before", "Via: 1.0 again"))) == 502
            )
        await until(lambda: len(one.events) == 2)
        assert [event.reason for event in one.events] == [Reason.LOOP, Reason.PARENT_FAILED]
        assert [event.reason for event in two.events] == [Reason.PARENT_FAILED]


@on_loop
async def test_a_plain_request_that_comes_back_ends_too(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with inspecting(INSPECT, tmp_path / "one") as one, inspecting(INSPECT, tmp_path / "two") as two:
        leads(one, two)
        leads(two, one)
        async with raw(one.address) as client:
            head = request("GET http://www.example.test/ HTTP/1.1", "Host: www.example.test", "Connection: close")
            assert status(await client.ask(head)) == 502
        await until(lambda: len(one.events) == 2)
        assert sorted(event.reason for event in one.events) == [Reason.LOOP, Reason.RULE]


@pytest.mark.parametrize("guess", ["1.1 0123456789abcdef", "1.1 outward"])
@on_loop
async def test_who_names_other_proxies_is_carried(guess: str) -> None:
    """Only the name that this proxy gave itself counts, and that only its parent has seen."""
    async with gate_for(TUNNEL) as one, gate_for(policy(group(rule("other.test")))) as two:
        leads(one, two)
        async with raw(one.address) as client:
            await client.ask(connect("www.example.test", 443, f"Via: {guess}"))
        assert [event.reason for event in two.events] == [Reason.NO_RULE]

"""Many clients that send bodies which are read as a whole cannot fill the memory: together they have one budget."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from harness.gates import decision_id, status
from harness.inspection import PassingGovernor, inspecting, post, response, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from outward.core.model import LaneChoice
from outward.core.reasons import Reason
from outward.proxy.inspection.governor import Pass

GOVERNED = policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT), vendor_of=lambda _host: "vendor")


@on_loop
async def test_bodies_that_are_held_share_a_budget_and_give_it_back(tmp_path: Path) -> None:
    """The body beyond it is refused as overload; once the others have ended there is room again."""
    async with (
        inspecting(GOVERNED, tmp_path, governor=PassingGovernor()) as world,
        web_origin(world, "allowed.test") as server,
    ):
        budget, host = world.engine.parts.budget, f"allowed.test:{server.port}"
        budget.left = 2500
        whole = post(b"x" * 1000, host)
        async with AsyncExitStack() as stack:
            for held in (999, 1998):
                client = await stack.enter_async_context(world.tunnel("allowed.test", server.port))
                await client.send(whole[:-1])
                await until(lambda held=held: budget.left == 2500 - held)
            third = await stack.enter_async_context(world.tunnel("allowed.test", server.port))
            reply = await third.ask(whole)
            assert status(reply) == 503
            (event,) = world.events
            assert (event.reason, event.id) == (Reason.OVERLOADED, decision_id(reply))
            assert server.accepts == 0
        await until(lambda: budget.left == 2500)
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(whole)
            assert status(await response(client)) == 200
        await until(lambda: budget.left == 2500)


class Slow(PassingGovernor):
    """A governor that reads no body, and takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()

    def request_needs_body(self, _vendor: str, _head: object) -> bool:
        return False

    async def on_request(self, _exchange: object, _body: bytes) -> Pass:  # type: ignore[override]
        await self.free.wait()
        return Pass()


@on_loop
async def test_a_body_that_waits_for_a_verdict_on_its_head_is_left_with_the_client(tmp_path: Path) -> None:
    """However much it sends meanwhile; it arrives whole afterwards."""
    governor, body = Slow(), b"x" * 5_000_000
    async with (
        inspecting(GOVERNED, tmp_path, governor=governor) as world,
        web_origin(world, "allowed.test") as server,
        world.tunnel("allowed.test", server.port) as client,
    ):
        sending = asyncio.create_task(client.send(post(body, f"allowed.test:{server.port}")))
        await until(
            lambda: any(each.downstream._exchange and each.downstream._exchange.up for each in world.engine._sessions)
        )
        (session,) = world.engine._sessions
        await until(lambda: session.client.transport and not session.client.transport.is_reading())
        assert session.downstream._exchange
        assert session.downstream._exchange.up < 1_000_000
        governor.free.set()
        await sending
        assert status(await response(client)) == 200
        assert server.seen[0].body == body

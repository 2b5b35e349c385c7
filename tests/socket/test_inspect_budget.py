"""Many clients that send bodies which are read as a whole cannot fill the memory: together they have one budget."""

from contextlib import AsyncExitStack
from pathlib import Path

from harness.gates import decision_id, status
from harness.inspection import PassingGovernor, inspecting, post, response, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from outward.core.model import LaneChoice
from outward.core.reasons import Reason

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

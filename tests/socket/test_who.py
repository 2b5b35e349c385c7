"""Who asks: tokens with nested claims, names in certificates and redirects, from real sockets into events."""

import base64
import json
from pathlib import Path

import pytest

from harness.gates import connect, gate_for, status
from harness.inspection import inspecting, keep, replying, response, web_origin
from harness.loops import on_loop, until
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import raw
from harness.tokens import pod_entry, pod_token, verifying
from outward.core.model import LaneChoice
from outward.core.reasons import Reason


def authorization(token: str) -> str:
    return "Proxy-Authorization: Basic " + base64.b64encode(f"job-1:{token}".encode()).decode()


@on_loop
async def test_a_pod_is_its_namespace_and_its_name_is_on_record(tmp_path: Path):
    """The address of a pod is no evidence once the pod is gone."""
    allowing = policy(group(rule("allowed.test"), path="k8s/team-a"), clients=(pod_entry(tmp_path),))
    async with origin() as server, gate_for(allowing) as world:
        await verifying(world)
        world.dns.add("allowed.test", "A", "127.0.0.1")
        async with raw(world.address) as client:
            await client.send(connect("allowed.test", server.address[1], authorization(pod_token("team-a"))))
            assert status(await client.head()) == 200
        async with raw(world.address) as client:
            await client.ask(connect("denied.test", 443, authorization(pod_token("team-a"))))
        await until(lambda: len(world.events) == 2)
        for event in world.events:
            assert (event.group, event.client_name) == ("k8s/team-a", "pods")
            assert event.subject == "system:serviceaccount:team-a:bot"
            assert event.claims == (("kubernetes.io.pod.name", "bot-7d4b9-x2x8k"),)


@pytest.mark.parametrize("namespace", ["team-b", "team-a/admin", "..", ""])
@on_loop
async def test_a_pod_of_a_namespace_without_a_group_is_unknown_and_told_why(tmp_path: Path, namespace: str):
    """It is no member of `k8s` either, and no credentials would help. The record says whom it was."""
    below = (group(rule("allowed.test"), path=path) for path in ("k8s", "k8s/team-a/admin"))
    async with gate_for(policy(*below, clients=(pod_entry(tmp_path),))) as world:
        await verifying(world)
        async with raw(world.address) as client:
            reply = await client.ask(connect("allowed.test", 443, authorization(pod_token(namespace))))
        assert status(reply) == 403
        (event,) = world.events
        assert (event.reason, event.group, event.client_name) == (Reason.UNKNOWN_CLIENT, None, "pods")
        assert event.subject == f"system:serviceaccount:{namespace}:bot"
        told = json.loads(reply.partition(b"\r\n\r\n")[2])["detail"]
        assert told.startswith("Your token is good, but ")
        assert (event.detail or "-") in told


@on_loop
async def test_a_blocked_host_that_another_host_led_to_says_which(tmp_path: Path):
    """What the developer wrote down is the first host; what is blocked is the second one."""
    allowing = policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT))
    moved = b"HTTP/1.1 302 Found\r\nLocation: https://Cdn.Test/blob?token=secret\r\nContent-Length: 0\r\n\r\n"
    async with inspecting(allowing, tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = replying(moved)
        async with raw(world.address) as client:
            await client.ask(connect("cdn.test"))
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            assert status(await response(client)) == 302
        async with raw(world.address) as client:
            await client.ask(connect("cdn.test"))
        async with raw(world.address, "127.0.0.2") as other:
            await other.ask(connect("cdn.test"))
        await until(lambda: len(world.events) == 4)
        blocked = [(event.client, event.redirected_from) for event in world.events if event.host == "cdn.test"]
        assert blocked == [("127.0.0.1", None), ("127.0.0.1", "allowed.test"), ("127.0.0.2", None)]

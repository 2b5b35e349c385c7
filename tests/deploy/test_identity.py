"""A pod's own token as its proxy credential: the small proxy beside the agent, over real sockets, and its manifest."""

import base64
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from harness.gates import connect, gate_for, request, status
from harness.inspection import inspecting, web_origin
from harness.loops import on_loop, until
from harness.manifests import DEPLOY, container, of_kind, pods, rendered, volumes
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import raw
from harness.tokens import pod_entry, pod_token, verifying
from harness.waiting import PATIENCE
from outward.config.load import load
from outward.core.reasons import Reason

SCRIPT = DEPLOY / "kubernetes/overlays/gateway-identity/identity.py"
SUBJECT = "system:serviceaccount:team-a:bot"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("identity_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.asynccontextmanager
async def relay(address: tuple[str, int], token: Path):
    """Run the small proxy before a gateway; returns where it listens."""
    variables = {
        "IDENTITY_GATEWAY": "http://{}:{}".format(*address),
        "IDENTITY_TOKEN": str(token),
        "IDENTITY_LISTEN": "127.0.0.1:0",
    }
    server = await loaded().Relay(variables).start()
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()


def put(token: Path, text: str) -> None:
    """Replace a file as the kubelet does, at once."""
    after = token.with_name("next")
    after.write_text(text)
    after.replace(token)


@on_loop
async def test_a_token_that_is_replaced_is_the_one_that_counts(tmp_path: Path):
    """The variables of the running agent stay the same. An ended token is refused, and nothing goes on without one."""
    token = tmp_path / "token"
    allowing = policy(group(rule("allowed.test"), path="k8s/team-a"), clients=(pod_entry(tmp_path),))
    async with origin() as server, gate_for(allowing) as world, relay(world.address, token) as address:
        await verifying(world)
        world.dns.add("allowed.test", "A", "127.0.0.1")
        statuses = []
        for text in (
            None,
            pod_token("team-a", exp=1),
            pod_token("team-a", "old"),
            pod_token("team-a", "new"),
            "",
            "a b",
        ):
            if text is not None:
                put(token, text)
            async with raw(address) as client:
                await client.send(connect("allowed.test", server.address[1]))
                statuses.append(status(await client.head()))
        assert statuses == [502, 407, 200, 200, 502, 502]
        await until(lambda: len(world.events) == 3)
        assert [event.reason for event in world.events] == [Reason.BAD_CREDENTIALS, Reason.RULE, Reason.RULE]
        assert [dict(event.claims) for event in world.events[1:]] == [
            {"kubernetes.io.pod.name": "old"}, {"kubernetes.io.pod.name": "new"}
        ]  # fmt: skip
        assert {event.subject for event in world.events[1:]} == {SUBJECT}


@on_loop
async def test_what_the_agent_says_of_itself_does_not_count_and_its_conversation_does(tmp_path: Path):
    """Requests in the clear carry the token each; bytes go both ways untouched."""
    token = tmp_path / "token"
    put(token, pod_token("team-a") + "\n")
    allowing = policy(group(rule("allowed.test"), path="k8s/team-a"), clients=(pod_entry(tmp_path),))
    async with inspecting(allowing, tmp_path) as world, web_origin(world, "allowed.test", tls=False) as server:
        await verifying(world)
        async with relay(world.address, token) as address:
            host = f"allowed.test:{server.port}"
            for said in (b"chat-7:of another", b"chat-7:"):
                own = "Proxy-Authorization: Basic " + base64.b64encode(said).decode()
                async with raw(address) as client:
                    head = request(f"GET http://{host}/ HTTP/1.1", f"Host: {host}", own, "Connection: keep-alive")
                    reply = await client.ask(head)
                assert status(reply) == 200
                assert reply.endswith(b"hello")
        await until(lambda: len(world.events) == 2)
        assert {(event.subject, event.conversation) for event in world.events} == {(SUBJECT, "chat-7")}
        assert not any(name.lower().startswith("proxy-") for seen in server.seen for name, _ in seen.fields)


def test_as_an_entrypoint_it_is_there_for_as_long_as_the_command(tmp_path: Path):
    """Its variables, its exit status, its signals."""
    environment = {**os.environ, "IDENTITY_GATEWAY": "http://127.0.0.1:9", "IDENTITY_LISTEN": "127.0.0.1:0"}
    command = "echo $HTTPS_PROXY; trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    started = subprocess.Popen(
        [sys.executable, "-I", SCRIPT, "sh", "-c", command], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    try:
        assert started.stdout.readline().startswith("http://127.0.0.1:")
        assert started.stdout.readline() == "ready\n"
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE) == 7
    finally:
        started.kill()
        started.communicate()


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl renders the overlays")
def test_the_manifest_gives_the_token_to_the_relay_alone():
    """For our audience, for an hour; the agent's proxy is its own loopback."""
    objects = rendered("gateway-identity")
    pod = pods(objects)["agent"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    held = {each["name"] for each in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])
            if "identity-token" in volumes(pod, each["name"])}  # fmt: skip
    assert held == {"identity"}
    (source,) = volumes(pod, "identity")["identity-token"]["projected"]["sources"]
    assert source == {"serviceAccountToken": {"audience": "outward", "expirationSeconds": 3600, "path": "token"}}
    beside, agent = container(pod, "identity"), container(pod, "agent")
    assert beside["restartPolicy"] == "Always"
    assert beside["securityContext"]["runAsUser"] != agent["securityContext"]["runAsUser"]
    said = {each["name"]: each["value"] for each in agent["env"]}
    assert {said[name] for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")} == {
        f"http://{loaded().LISTEN}"
    }
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(objects, "ConfigMap")}
    assert maps["outward-identity"]["identity.py"] == SCRIPT.read_text()
    found = load(SCRIPT.parent / "outward.yaml", env={})
    assert found.ok, found.findings
    assert found.policy is not None
    assert found.policy.clients[0].template == "k8s/{claim}"

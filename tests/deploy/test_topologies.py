"""The gateway and the sidecar as networks: what an agent tries fails, and no packet of it reaches the internet.

The firewall and the NetworkPolicies are the files that are deployed.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from harness import cni, netns
from harness.bypasses import BY_NETWORK, BYPASSES, Bypass
from harness.netns import AGENT_UID, CANARY, PROXY_UID, Agent, Network, agent_command, as_proxy_user, needs_root
from harness.process import OUTWARD
from harness.waiting import PATIENCE, wait_for

pytestmark = [needs_root, pytest.mark.slow]

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes" / "overlays"
FIREWALL = DEPLOY / "sidecar" / "firewall.nft"
POLICIES = DEPLOY / "gateway" / "networkpolicies.yaml"
NAMES = f"metadata.inside.test: [{netns.METADATA}], node.inside.test: [{netns.NODE}], ops.inside.test: [127.0.0.1]"


@dataclass
class Topology:
    """A network with a proxy and an agent in it."""

    network: Network
    agent: Agent
    kill_proxy: Callable[[], None]


@contextmanager
def proxy(network: Network, space: str, listen: str) -> Iterator[Callable[[], None]]:
    """Run the proxy as its user, wait until it listens, and yield what kills it.

    Its files lie where its user can reach them: pytest's own folders are closed to others.
    """
    with tempfile.TemporaryDirectory() as name:
        yield start_proxy(network, space, Path(name), listen)


def start_proxy(network: Network, space: str, folder: Path, listen: str) -> Callable[[], None]:
    """Write the files and start the process."""
    state = folder / "state"
    state.mkdir()
    (folder / "outward.yaml").write_text(
        f"version: 1\nserver: {{listen: '{listen}', ops: '127.0.0.1:9090', state: '{state}'}}\n"
        f"upstream: {{dns: {{servers: ['{CANARY}:53'], hosts: {{{NAMES}}}}}}}\n"
        "groups: {agents: {allow: [{host: allowed.test, ports: [443], tls: false}, '*.inside.test']}}\n"
        "clients: [{group: agents, anyone: true}]\n"
    )
    for path in (folder, state, folder / "outward.yaml"):
        os.chown(path, PROXY_UID, PROXY_UID)
    log = folder / "log"
    serve = (OUTWARD, "serve", "--config", folder / "outward.yaml")
    process = network.start(space, *as_proxy_user(), *serve, stderr=log)

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return "the proxy listens" in log.read_text()

    wait_for(listens)

    def kill() -> None:
        process.kill()
        process.wait()

    return kill


def start_agent(network: Network, space: str, proxy: str) -> Agent:
    """Start the agent and tell it where the proxy is."""
    agent = Agent(network.start(space, *agent_command(AGENT_UID)))
    agent.attempt("proxy", proxy, 8080)
    return agent


@contextmanager
def sidecar(*, firewall: bool = True) -> Iterator[Topology]:
    """One pod: the firewall first, then the proxy, then the agent, as the manifest orders them."""
    with netns.network() as network:
        pod = network.pod("pod")
        if firewall:
            network.at(pod, "nft", "-f", FIREWALL)
        with proxy(network, pod, "127.0.0.1:8080") as kill:
            yield Topology(network, start_agent(network, pod, "127.0.0.1"), kill)


@contextmanager
def gateway() -> Iterator[Topology]:
    """Two pods, and a node that holds them to the NetworkPolicies."""
    with netns.network() as network:
        outward, agents = network.pod("proxy"), network.pod("agent")
        labels = {"app.kubernetes.io/name": "outward", "app.kubernetes.io/component": "proxy"}
        pods = [
            cni.Pod("to-proxy", ("10.42.1.2", "fd42:1::2"), labels, "outward"),
            cni.Pod("to-agent", ("10.42.2.2", "fd42:2::2"), {"app.kubernetes.io/component": "agent"}, "outward"),
            cni.Pod("to-internet", (CANARY,), {"k8s-app": "kube-dns"}, "kube-system"),
        ]
        policies = list(yaml.safe_load_all(POLICIES.read_text()))
        network.at(network.node, "nft", "-f", "-", stdin=cni.rules(policies, pods, "outward"))
        with proxy(network, outward, "0.0.0.0:8080") as kill:
            yield Topology(network, start_agent(network, agents, "10.42.1.2"), kill)


TOPOLOGIES = {"gateway": gateway, "sidecar": sidecar}


@pytest.fixture(scope="module", params=TOPOLOGIES)
def topology(request: pytest.FixtureRequest) -> Iterator[Topology]:
    """Each topology in turn, with its proxy alive."""
    with TOPOLOGIES[request.param]() as built:
        yield built


def assert_fails(topology: Topology, bypass: Bypass) -> None:
    """Try a way around: it fails, and nothing arrives."""
    before = topology.network.arrived
    answer = topology.agent.attempt(bypass.act, bypass.host, bypass.port)
    assert answer.startswith("none"), f"{bypass.title}: {answer}"
    assert topology.network.arrived == before, f"{bypass.title}: a packet got out"


@pytest.mark.parametrize("bypass", BYPASSES, ids=lambda bypass: bypass.title)
def test_a_way_around_leads_nowhere(topology: Topology, bypass: Bypass) -> None:
    """The attempt fails, and the internet has not seen one packet of it."""
    assert_fails(topology, bypass)


def test_what_is_allowed_works_through_the_proxy(topology: Topology) -> None:
    """Name, address and answer come by way of the proxy alone."""
    assert topology.agent.attempt("connect", "allowed.test", 443) == f"200 reached {CANARY}"


@pytest.mark.parametrize(
    ("host", "port", "answer"),
    [
        ("denied.test", 443, '403 "no_rule"'),
        ("allowed.test", 22, '403 "port_not_allowed"'),
        (netns.METADATA, 80, '403 "no_rule"'),
        (netns.NODE, 10250, '403 "no_rule"'),
        ("127.0.0.1", 9090, '403 "no_rule"'),
        ("metadata.inside.test", 443, '403 "address_not_public"'),
        ("node.inside.test", 443, '403 "address_not_public"'),
        ("ops.inside.test", 443, '403 "address_not_public"'),
    ],
)
def test_what_is_denied_is_denied_and_asks_nobody(topology: Topology, host: str, port: int, answer: str) -> None:
    """A refused name causes no packet, not even a DNS query."""
    before = topology.network.arrived
    assert topology.agent.attempt("connect", host, port) == answer
    assert topology.network.arrived == before


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_dead_proxy_leaves_nothing(name: str) -> None:
    """Not even when the agent listens where the proxy did."""
    with TOPOLOGIES[name]() as built:
        assert built.agent.attempt("connect", "allowed.test", 443).startswith("200")
        built.kill_proxy()
        assert built.agent.attempt("connect", "allowed.test", 443).startswith("none")
        assert built.agent.attempt("bind", "127.0.0.1", 8080) == "bound"
        for bypass in BYPASSES:
            assert_fails(built, bypass)


def test_without_a_firewall_the_same_attempts_get_out() -> None:
    """The attempts are real: what stops them above is the firewall, not the test."""
    with sidecar(firewall=False) as built:
        for bypass in BY_NETWORK:
            before = built.network.arrived
            answer = built.agent.succeed(bypass.act, bypass.host, bypass.port)
            assert answer.startswith("got"), f"{bypass.title}: {answer}"
            assert bypass.host == netns.NODE or built.network.arrived > before, f"{bypass.title}: was not counted"


CANARY_SCRIPT = DEPLOY.parent / "base" / "scripts" / "canary.py"


@pytest.mark.parametrize(("firewall", "status"), [(True, 0), (False, 1)])
def test_the_canary_tells_an_open_pod_from_a_closed_one(firewall: bool, status: int) -> None:
    """The init container's own script, as the agent's user, with the addresses of this internet."""
    with netns.network() as network:
        pod = network.pod("pod")
        if firewall:
            network.at(pod, "nft", "-f", FIREWALL)
        user = ("setpriv", f"--reuid={AGENT_UID}", f"--regid={AGENT_UID}", "--clear-groups")
        interpreter, *_ = agent_command()
        script = CANARY_SCRIPT.read_text()
        command = [*user, interpreter, "-c", script, CANARY, netns.CANARY6, netns.METADATA]
        process = network.start(pod, *command)
        assert process.wait(PATIENCE) == status

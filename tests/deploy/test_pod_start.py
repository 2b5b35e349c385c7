"""From the start of a sidecar's pod to the start of the agent: the init containers in the manifest's order, each timed.

Pulling images and making containers is the node's part and not in it. The proxy counts as up when `/readyz` says so to a
probe that comes from the node, as the kubelet's does; the kubelet looks once in `periodSeconds`, and so sees it up to
that much later. Prints the figures.
"""

import http.client
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import netns
from harness.netns import AGENT_UID, CANARY, CANARY6, PROXY_UID, Network, agent_command, as_proxy_user, needs_root
from harness.process import OUTWARD
from harness.waiting import wait_for

pytestmark = [needs_root, pytest.mark.slow]

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
SIDECAR = KUBERNETES / "overlays" / "sidecar"
SCRIPTS = KUBERNETES / "base" / "scripts"
INIT: list[dict[str, Any]] = yaml.safe_load((SIDECAR / "agent.yaml").read_text())["spec"]["template"]["spec"][
    "initContainers"
]
ROUNDS = 3
BUDGET = 30.0  # seconds; the machine may be busy


def ready(space: str) -> bool:
    """Ask from a namespace whether the pod's proxy is ready; the thread that asks stays there."""
    found = []

    def ask() -> None:
        with Path("/run/netns", space).open() as node:
            os.setns(node.fileno(), os.CLONE_NEWNET)
        connection = http.client.HTTPConnection("10.42.1.2", 9090, timeout=1)
        try:
            connection.request("GET", "/readyz")
            found.append(connection.getresponse().status == 200)
        except OSError:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found == [True]


class Pod:
    """The pod's namespace, and what each init container does in it."""

    def __init__(self, network: Network, folder: Path) -> None:
        self._network, self._folder = network, folder
        self._space = network.pod("pod")
        (folder / "state").mkdir()
        (folder / "outward.yaml").write_text(
            f"version: 1\nserver: {{ops: '0.0.0.0:9090', state: '{folder}/state'}}\n"
            "groups: {agents: {allow: ['@developer']}}\nclients: [{group: agents, anyone: true}]\n"
        )
        for path in (folder, *folder.iterdir()):
            os.chown(path, PROXY_UID, PROXY_UID)

    def start(self, name: str) -> None:
        """Do what an init container does, and return when the next one may start."""
        acts: dict[str, Callable[[], object]] = {
            "firewall": lambda: self._network.at(self._space, "nft", "-f", SIDECAR / "firewall.nft"),
            "outward": self._proxy,
            "canary": lambda: self._script("canary.py", CANARY, CANARY6, netns.METADATA),
            "trust": lambda: self._script("trust.py", self._folder / "state" / "ca.pem", self._folder / "bundle.pem"),
        }
        acts[name]()

    def _proxy(self) -> None:
        serve = (*as_proxy_user(), OUTWARD, "serve", "--config", self._folder / "outward.yaml")
        self._network.start(self._space, *serve, stderr=self._folder / "log")
        wait_for(lambda: ready(self._network.node))
        (self._folder / "state").chmod(0o755)
        self._folder.chmod(0o777)

    def _script(self, name: str, *arguments: str | Path) -> None:
        user = ("setpriv", f"--reuid={AGENT_UID}", f"--regid={AGENT_UID}", "--clear-groups")
        interpreter, *_ = agent_command()
        self._network.at(self._space, *user, interpreter, "-c", (SCRIPTS / name).read_text(), *arguments)


def test_the_agent_starts_within_seconds() -> None:
    """Firewall, proxy, canary, trust: whatever the manifest lists, in its order."""
    spent: dict[str, list[float]] = {each["name"]: [] for each in INIT}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name, netns.network() as network:
            pod = Pod(network, Path(name))
            for each, seconds in spent.items():
                began = time.monotonic()
                pod.start(each)
                seconds.append(time.monotonic() - began)
    totals = [sum(each) for each in zip(*spent.values(), strict=True)]
    for each, seconds in (*spent.items(), ("from pod start to agent start", totals)):
        print(
            f"{each}: {statistics.median(seconds):.2f} s (median of {ROUNDS}, {min(seconds):.2f} to {max(seconds):.2f})"
        )
    (probe,) = (each["startupProbe"] for each in INIT if "startupProbe" in each)
    print(f"and up to {probe['periodSeconds']} s until the kubelet looks")
    assert min(totals) < BUDGET

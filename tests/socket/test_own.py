"""The proxy's own addresses are closed from the first connection on."""

import sys
from pathlib import Path

import pytest

from harness.loops import on_loop
from harness.netns import needs_root, run
from outward.config.load import load_text
from outward.core.addresses import Own
from outward.proxy.listener import ProxyListener
from outward.service import Options, Service


def test_own_addresses_are_known_before_anybody_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects first finds the proxy and the ops port closed to him already."""
    known: list[tuple[Own, set[tuple[str, int]]]] = []
    adopt = ProxyListener.adopt

    async def watched(self: ProxyListener, listener: object) -> None:
        known.append((self.resources.judge.own, {*self.addresses, service.ops_address}))
        await adopt(self, listener)  # type: ignore[arg-type]

    monkeypatch.setattr(ProxyListener, "adopt", watched)
    text = f"version: 1\nserver: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{tmp_path}'}}\ngroups: {{dev: {{}}}}\n"
    loaded = load_text(text, env={}, machine={})

    @on_loop
    async def body() -> None:
        nonlocal service
        service = Service(loaded, Options())
        try:
            await service.start()
        finally:
            await service.stop()

    service: Service
    body()
    [(own, listeners)] = known
    assert {(str(address), port) for address, port in own.listeners} == listeners


_ROUTED = """
from ipaddress import ip_address, ip_network
from outward.core.addresses import Own
from outward.core.model import Decision
from outward.core.policy import Policy
from outward.ops.metrics import Metrics
from outward.proxy.judge import Judge

own = Own(listeners=frozenset({(ip_address("127.0.0.1"), 8080)}))
judge = Judge(Policy(internal=(ip_network("10.0.0.0/8"),)), None, Metrics(), own)
for address, port in (("10.99.0.1", 8080), ("::ffff:10.99.0.1", 8080), ("10.99.0.1", 8081), ("10.98.0.1", 8080)):
    print(judge.address(ip_address(address), port, Decision())[0])
"""


@needs_root
def test_an_address_that_only_a_route_leads_back_here_is_own_at_the_ports_of_listeners() -> None:
    """Nothing else tells it: such an address is on no interface."""
    setup = "ip link set lo up && ip route add local 10.99.0.0/24 dev lo && exec "
    told = run("unshare", "-n", "sh", "-c", setup + '"$@"', "sh", sys.executable, "-c", _ROUTED)
    assert told.split() == ["loop", "loop", "None", "None"]

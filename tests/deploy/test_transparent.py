"""Transparent mode as networks: the guide's own lines redirect, and what was dialled does not matter, only what was named.

Every client dials an address of its own choice; what arrives, and where, is told by the servers of the test's internet.
"""

import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from harness import hellos, netns
from harness.bypasses import BYPASSES, Bypass
from harness.netns import AGENT_UID, CANARY, CANARY6, OTHER, PROXY_UID, Agent, Network, agent_command, needs_root
from harness.process import OUTWARD
from harness.waiting import wait_for
from harness.web_canary import CLEAR, SECURE

pytestmark = [needs_root, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SIDECAR, NODE = re.findall(r"```nft\n(.*?)```", (ROOT / "docs" / "guides" / "transparent.md").read_text(), re.DOTALL)
FIREWALL = (ROOT / "deploy" / "kubernetes" / "overlays" / "sidecar" / "firewall.nft").read_text()
PORT = 15001
NAMES = ("allowed.test", "seen.test", "six.test", "evil.test", "rebound.test")
CONFIG = f"""
version: 1
server: {{{{listen: '127.0.0.1:8080', transparent: '[::]:{PORT}', ops: '127.0.0.1:9090', state: '{{folder}}/state'}}}}
upstream:
  trust: ['{{folder}}/origins.pem']
  dns: {{{{servers: ['{CANARY}:53'], hosts: {{{{six.test: ['{CANARY6}'], rebound.test: [10.99.0.1, 127.0.0.1], meta.test: [169.254.169.254]}}}}}}}}
groups:
  agents:
    ech: refuse
    allow:
      - {{{{host: allowed.test, ports: [{SECURE}, {CLEAR}]}}}}
      - {{{{host: seen.test, ports: [{SECURE}, {CLEAR}], methods: [GET]}}}}
      - {{{{host: six.test, ports: [{SECURE}, {CLEAR}]}}}}
      - {{{{host: rebound.test, ports: [{SECURE}, {CLEAR}]}}}}
      - {{{{host: meta.test, ports: [80]}}}}
      - {{{{host: {OTHER}, ports: [22], tls: false}}}}
clients: [{{{{group: agents, anyone: true}}}}]
"""


DENIED = "none: [SSL: TLSV1_ALERT_ACCESS_DENIED]"


def hello(*extensions: bytes) -> str:
    """Return a ClientHello as hex digits."""
    return hellos.record(hellos.hello(*extensions)).hex()


def named(name: bytes) -> bytes:
    """Return the extension that names the server."""
    return hellos.extension(0, hellos.server_name(name))


def http(*lines: str) -> str:
    """Return a request head as hex digits."""
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode().hex()


@dataclass
class Redirecting:
    """A network in which an agent's connections are led to a proxy, and the proxy's records."""

    network: Network
    agent: Agent
    lines: list[str]
    kill: Callable[[], None]
    itself: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The recorded events."""
        return [json.loads(each) for each in list(self.lines)]

    def attempt(
        self, act: str, host: str, port: int, attempt: Callable[[str, str, int], str] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Let the agent try something; return its answer, and the one event that was recorded of it."""
        before = len(self.lines)
        answer = (attempt or self.agent.attempt)(act, host, port)
        wait_for(lambda: len(self.lines) > before)
        (event,) = self.events[before:]
        return answer, event

    def refused(self, act: str, host: str, port: int) -> tuple[str, str]:
        """Let the agent try something that has to fail without a packet; return the answer and the reason recorded."""
        before = self.network.arrived
        answer, event = self.attempt(act, host, port)
        assert (event["verdict"], event["port"]) == ("deny", port)
        assert self.network.arrived == before, "a packet got out"
        return answer, event["reason"]


@contextmanager
def redirecting(rules: str, *, on_node: bool = False) -> Iterator[Redirecting]:
    """Build a pod with an agent, and a proxy in the pod or on its node."""
    with tempfile.TemporaryDirectory() as name, netns.network() as network:
        folder, pod = Path(name), network.pod("agents0")
        home = network.node if on_node else pod
        network.at(home, "nft", "-f", "-", stdin=rules)
        origins = trustme.CA(organization_name="the origin")
        origins.cert_pem.write_to_path(str(folder / "origins.pem"))
        origins.issue_cert(*NAMES).private_key_and_cert_chain_pem.write_to_path(str(folder / "origin.pem"))
        web = network.start(
            network.internet,
            sys.executable,
            netns.HERE / "web_canary.py",
            folder / "origin.pem",
            CANARY,
            OTHER,
            CANARY6,
        )
        assert web.stdout is not None
        assert web.stdout.readline() == "ready\n"
        lines, kill = start_proxy(network, home, folder)
        trusted = folder / "trusted.pem"
        trusted.write_bytes((folder / "origins.pem").read_bytes() + (folder / "state" / "ca.pem").read_bytes())
        agent = network.start(pod, "env", f"SSL_CERT_FILE={trusted}", *agent_command(AGENT_UID))
        yield Redirecting(network, Agent(agent), lines, kill, "10.42.1.1" if on_node else "127.0.0.1")


def start_proxy(network: Network, space: str, folder: Path) -> tuple[list[str], Callable[[], None]]:
    """Start the proxy as its user and wait until it listens; return the list of its events, and what kills it."""
    (folder / "state").mkdir()
    (folder / "outward.yaml").write_text(CONFIG.format(folder=folder))
    for path in (folder, *folder.iterdir()):
        os.chown(path, PROXY_UID, PROXY_UID)
    folder.chmod(0o755)
    serve = (*netns.as_proxy_user(), OUTWARD, "serve", "--config", folder / "outward.yaml")
    process = network.start(space, *serve, stderr=folder / "log")
    lines: list[str] = []
    assert process.stdout is not None
    threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True).start()

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        return "the proxy listens" in (folder / "log").read_text()

    wait_for(listens)
    (folder / "state").chmod(0o755)

    def kill() -> None:
        process.kill()
        process.wait()

    return lines, kill


SIDECAR_RULES = FIREWALL + SIDECAR
TOPOLOGIES = {
    "sidecar": lambda: redirecting(SIDECAR_RULES),
    "node": lambda: redirecting(NODE.replace("agents0", "to-agents0"), on_node=True),
}


@pytest.fixture(scope="module", params=TOPOLOGIES)
def world(request: pytest.FixtureRequest) -> Iterator[Redirecting]:
    """Each topology in turn."""
    with TOPOLOGIES[request.param]() as built:
        yield built


@pytest.mark.parametrize("dialled", [CANARY, OTHER, CANARY6, "192.0.2.77"])
@pytest.mark.parametrize(
    ("name", "signer", "lane"), [("allowed.test", "the origin", "tunnel"), ("seen.test", "Outward", "inspect")]
)
def test_tls_goes_where_its_name_resolves_to(
    world: Redirecting, dialled: str, name: str, signer: str, lane: str
) -> None:
    """Whatever address was dialled, a forged, an unreachable or one of the other family: the proxy's own answer is reached."""
    answer, event = world.attempt("secure", f"{dialled}/{name}", SECURE)
    assert answer == f"{signer}: 200 reached {CANARY} for {name}:{SECURE}"
    facts = {key: event[key] for key in ("verdict", "lane", "host", "port", "sni", "address", "group")}
    assert facts == {
        "verdict": "allow", "lane": lane, "host": name, "port": SECURE, "sni": name, "address": CANARY, "group": "agents",
    }  # fmt: skip


@pytest.mark.parametrize("dialled", [CANARY, OTHER, CANARY6])
def test_plain_http_goes_where_its_host_resolves_to(world: Redirecting, dialled: str) -> None:
    """Judged by Host, method and path, in the inspect lane."""
    answer, event = world.attempt("plain", f"{dialled}/seen.test", CLEAR)
    assert answer == f"200 reached {CANARY} for seen.test:{CLEAR}"
    assert (event["method"], event["scheme"], event["host"], event["path"]) == ("GET", "http", "seen.test", "/page")


@pytest.mark.parametrize("act", ["secure", "plain"])
def test_a_name_that_is_ipv6_is_reached_over_ipv6(world: Redirecting, act: str) -> None:
    """Whatever family the client chose."""
    port = SECURE if act == "secure" else CLEAR
    answer, event = world.attempt(act, f"{CANARY}/six.test", port)
    assert f"200 reached {CANARY6} for six.test:{port}" in answer
    assert event["address"] == CANARY6


def test_a_rule_that_names_an_address_opens_it_to_raw_bytes(world: Redirecting) -> None:
    """With `tls: false`, as for a CONNECT: here the address that was dialled is the one that was named."""
    answer, event = world.attempt("tcp", OTHER, 22, world.agent.succeed)
    assert answer == f"got reached {OTHER}"
    assert (event["verdict"], event["host"], event["address"]) == ("allow", OTHER, OTHER)


@pytest.mark.parametrize("dialled", [CANARY, CANARY6])
@pytest.mark.parametrize(
    ("act", "what", "port", "answer", "reason"),
    [
        ("secure", "evil.test", SECURE, DENIED, "no_rule"),
        ("secure", "allowed.test", 22, DENIED, "port_not_allowed"),
        ("secure", "", SECURE, DENIED, "sni_missing"),
        ("secure", "rebound.test", SECURE, DENIED, "address_not_public"),
        ("secure", "meta.test", 80, DENIED, "address_not_public"),
        ("say", hello(named(b"203.0.113.1")), SECURE, "got 15030300020231", "no_rule"),
        ("say", hello(named(b"allowed.test"), hellos.extension(0xFE0D)), SECURE, "got 15030300020231", "ech_refused"),
        ("say", hello(named(b"allowed.test"), named(b"evil.test")), SECURE, "got 15030300020231", "sni_mismatch"),
        ("say", hello(named(b"a\0b")), SECURE, "got 15030300020232", "malformed_host"),
        ("say", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00".hex(), SECURE, "got 15030300020232", "malformed_request"),
        ("say", "16ff", SECURE, "got 15030300020231", "not_tls"),
        ("say", "00000008", 5432, "none", "no_rule"),
        ("plain", "evil.test", CLEAR, '403 "no_rule"', "no_rule"),
        ("plain", "rebound.test", CLEAR, '403 "address_not_public"', "address_not_public"),
        ("plain", f"seen.test:{CLEAR}", 80, '400 "malformed_host"', "malformed_host"),
        ("say", http("GET / HTTP/1.1", "Host: seen.test"), CLEAR, f"got {b'HTTP/1.1 403'.hex()}", "host_mismatch"),
        ("say", http("GET / HTTP/1.1"), CLEAR, f"got {b'HTTP/1.1 400'.hex()}", "malformed_request"),
        ("say", http("GET http://seen.test/ HTTP/1.1", "Host: seen.test"), 80, f"got {b'HTTP/1.1 400'.hex()}", "malformed_request"),
        ("say", http("CONNECT seen.test:443 HTTP/1.1", "Host: seen.test:443"), 443, f"got {b'HTTP/1.1 400'.hex()}", "malformed_request"),
    ],
)  # fmt: skip
def test_what_is_refused_is_recorded_and_sends_no_packet(
    world: Redirecting, dialled: str, act: str, what: str, port: int, answer: str, reason: str
) -> None:
    """Not even a DNS query, although the address that was dialled is there and answers."""
    got, recorded = world.refused(act, f"{dialled}/{what}", port)
    assert recorded == reason
    assert got.startswith(answer)


def test_who_was_not_redirected_is_refused(world: Redirecting) -> None:
    """The port is no proxy: a connection to itself leads nowhere, whatever it says."""
    assert world.refused("say", f"{world.itself}/{hello(named(b'allowed.test'))}", PORT)[1] == "loop"


@pytest.mark.parametrize(
    "bypass", [each for each in BYPASSES if each.act not in ("tcp", "child")], ids=lambda bypass: bypass.title
)
def test_what_is_not_tcp_stays_closed(world: Redirecting, bypass: Bypass) -> None:
    """Redirection opens nothing beside itself."""
    before = world.network.arrived
    assert world.agent.attempt(bypass.act, bypass.host, bypass.port).startswith("none")
    assert world.network.arrived == before


def test_a_proxy_that_the_firewall_does_not_exempt_refuses_itself() -> None:
    """Its own dial comes back to it, is known, and is refused: once, not for ever."""
    with redirecting(
        "table inet outward { chain output { }; }\n" + SIDECAR.replace("meta skuid != 10001 ", "")
    ) as world:
        before = world.network.arrived
        assert world.agent.attempt("secure", f"{CANARY}/six.test", SECURE).startswith("none")
        wait_for(lambda: len(world.lines) == 2)
        assert [(each["verdict"], each["reason"]) for each in world.events] == [("deny", "loop"), ("allow", "rule")]
        assert world.network.arrived == before


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_dead_proxy_leaves_nothing(name: str) -> None:
    """What is redirected finds nobody."""
    with TOPOLOGIES[name]() as world:
        assert "200" in world.attempt("secure", f"{CANARY}/allowed.test", SECURE)[0]
        world.kill()
        before = world.network.arrived
        for act, port in (("secure", SECURE), ("plain", CLEAR), ("tcp", 443)):
            assert world.agent.attempt(act, f"{CANARY}/allowed.test" if act != "tcp" else CANARY, port).startswith(
                "none"
            )
        assert world.network.arrived == before

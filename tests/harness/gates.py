"""A real gate on loopback: real judge, dialer and resolver, a DNS stub that counts, and events kept in a list.

    async with gate_for(policy(group(rule("allowed.test")))) as world:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        async with origin() as server, raw(world.address) as client:
            reply = await client.ask(connect("allowed.test", server.address[1]))

`world.events` are the closed events in order; `world.engine.handled` what the gate handed to the inspect lane.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from harness.dns_stub import DnsStub, dns_stub
from harness.origins import Origin
from harness.raw import Raw
from outward.config.settings import Limits
from outward.core.addresses import Own
from outward.core.policy import Policy
from outward.dns.resolver import Resolver
from outward.ops.metrics import Metrics
from outward.proxy.context import ConnectionContext
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge
from outward.proxy.listener import ProxyListener
from outward.proxy.tunnel import ESTABLISHED
from outward.records.events.values import Event

LIMITS = Limits(resolve_timeout=5.0, connect_timeout=5.0, head_timeout=20.0, handshake_timeout=20.0, idle_timeout=60.0)


class Recorder:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def settle(self, event: Event) -> None:
        pass

    def withdraw(self, _event: Event) -> bool:
        return True

    def record(self, event: Event) -> None:
        self.events.append(event)


class StandInEngine:
    """Keeps what it is handed and closes, where the inspect lane itself is not the subject."""

    def __init__(self) -> None:
        self.handled: list[tuple[bytes, bytes, ConnectionContext]] = []

    async def handle(self, transport: asyncio.Transport, head: bytes, rest: bytes, context: ConnectionContext) -> None:
        self.handled.append((head, rest, context))
        transport.close()


@dataclass
class World:
    """A running gate and its witnesses."""

    gate: ProxyListener
    judge: Judge
    recorder: Recorder
    dns: DnsStub
    engine: StandInEngine = field(default_factory=StandInEngine)

    @property
    def address(self) -> tuple[str, int]:
        return self.gate.address

    @property
    def events(self) -> list[Event]:
        return self.recorder.events


@contextlib.asynccontextmanager
async def gate_for(policy: Policy, limits: Limits = LIMITS, host: str = "127.0.0.1") -> AsyncIterator[World]:
    """Run a gate under a policy on a free port."""
    recorder, metrics, engine = Recorder(), Metrics(), StandInEngine()
    judge = Judge(policy, recorder, metrics, Own(), patience=0.0)
    metrics.use_policy(policy)
    async with dns_stub() as dns:
        resolver = Resolver((dns.address,), {}, limits.resolve_timeout)
        gate = ProxyListener(judge, Dialer(resolver, judge, limits, None), engine, limits)
        await gate.start(host, 0)
        judge.own = replace(judge.own, listeners=frozenset({(ip_address(gate.address[0]), gate.address[1])}))
        try:
            yield World(gate, judge, recorder, dns, engine)
        finally:
            gate.close()


def connect(host: str, port: int = 443, *fields: str) -> bytes:
    """Return a CONNECT head."""
    return request(f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}", *fields)


def request(*lines: str) -> bytes:
    """Return a head from its lines."""
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def status(reply: bytes) -> int:
    """Return the status of a reply; 0 where there is none."""
    match = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", reply)
    return int(match[1]) if match else 0


def decision_id(reply: bytes) -> str:
    """Return the id that a denial gave to its client."""
    match = re.search(rb"\r\nOutward-Decision: ([0-9a-f]{32})\r\n", reply)
    return match[1].decode() if match else ""


async def opened(world: World, server: Origin, client: Raw, host: str = "allowed.test") -> None:
    """Open a tunnel to the origin."""
    world.dns.add("allowed.test", "A", "127.0.0.1")
    await client.send(connect(host, server.address[1]))
    assert await client.head() == ESTABLISHED

"""The real proxy with search governance in front of a stub vendor, and what both saw."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from harness.inspection import WebOrigin, World, inspecting, web_origin
from harness.policies import group, policy, rule
from harness.waiting import PATIENCE
from outward.core.model import WebSearch
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.proxy.governance import SearchGovernor
from outward.proxy.search_settings import FileConsent
from outward.records.audit.values import AuditEvent
from outward.records.events.recorder import Recorder
from outward.records.state.machines import StoredMachines
from outward.records.state.search_counts import SearchCounts
from outward.search.registry import Registry


@dataclass
class Memory:
    """Where the tests look for what was told."""

    audits: list[AuditEvent] = field(default_factory=list)
    receipts: list[Mapping[str, Any]] = field(default_factory=list)
    unaudited: bool = False

    def audit(self, event: AuditEvent) -> None:
        self.audits.append(event)

    def receipt(self, receipt: Mapping[str, Any]) -> None:
        self.receipts.append(receipt)


@dataclass
class Desk:
    """A proxy with search governance, a stub vendor behind it, and what both saw."""

    world: World
    vendor: WebOrigin
    told: Memory
    host: str

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.vendor.port}"

    def http(self, library: Any = httpx2) -> Any:
        """An HTTP client as the vendors' SDKs take it, of the library that they are built on."""
        address = "{}:{}".format(*self.world.address)
        proxy = library.Proxy(f"http://{address}", auth=("chat-1", ""))
        return library.AsyncClient(proxy=proxy, verify=self.world.client_tls(()), timeout=PATIENCE)

    def body(self, at: int = -1) -> Any:
        """The body of a request as the vendor got it."""
        return json.loads(self.vendor.seen[at].body)


def searchable(settings: WebSearch, host: str) -> Policy:
    """A policy with two searchable hosts and the vendor's."""
    found = group(
        rule("docs.example.com", ports=frozenset({443})),
        rule("example.org", ports=frozenset({443})),
        rule("*.example.org", ports=frozenset({443})),
        replace(rule(host), ports=None, paths=(PathGlob("/**"),)),
        web_search=settings,
    )
    return policy(found, vendor_of=Registry().vendor_of)


@contextlib.asynccontextmanager
async def governed(
    host: str,
    state: Path,
    settings: WebSearch,
    stub: Any,
    sinks: Recorder | None = None,
    *,
    counts: SearchCounts | None = None,
    machines: StoredMachines | None = None,
) -> AsyncIterator[Desk]:
    """Run proxy and stub vendor; what is told goes to `Desk.told`, unless there is a recorder for it."""
    told = Memory()
    async with inspecting(searchable(settings, host), state) as world, web_origin(world, host) as vendor:
        consent = FileConsent(lambda: world.judge.policy)
        world.engine.parts.governor = SearchGovernor(
            world.judge,
            Registry(),
            consent,
            told if sinks is None else sinks,
            10 << 20,
            counts=counts,
            machines=machines,
        )
        vendor.answer = stub
        yield Desk(world, vendor, told, host)

"""The proxy's own addresses are closed from the first connection on."""

from pathlib import Path

import pytest

from harness.loops import on_loop
from outward.config.load import load_text
from outward.core.addresses import Own
from outward.proxy.gate import Gate
from outward.service import Options, Service


def test_own_addresses_are_known_before_anybody_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects first finds the proxy and the ops port closed to him already."""
    known: list[tuple[Own, set[tuple[str, int]]]] = []
    adopt = Gate.adopt

    async def watched(self: Gate, listener: object) -> None:
        known.append((self.resources.judge.own, {*self.addresses, service.ops_address}))
        await adopt(self, listener)  # type: ignore[arg-type]

    monkeypatch.setattr(Gate, "adopt", watched)
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

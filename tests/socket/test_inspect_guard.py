"""The hooks fail closed: one that raises, and one that hangs, denies, is recorded once, counted, and lets nothing out."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.gates import LIMITS, decision_id, status
from harness.inspection import PassingGovernor, World, get, inspecting, keep, post, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.model import LaneChoice, Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.proxy.dial import Dialer
from outward.proxy.inspection.governor import Refuse
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.inspection.transfer import Transfer


def raising(*_args: object, **_facts: object) -> None:
    raise RuntimeError("a hook that fails")


async def hanging(*_args: object, **_facts: object) -> None:
    await asyncio.Event().wait()


FAULTS = pytest.mark.parametrize("fault", [raising, hanging], ids=["raises", "hangs"])
Fault = Callable[..., Any]


def broken(fault: Fault, hook: str) -> Fault:
    """Return the fault under the name of the hook that it replaces: the guard counts by name."""

    def stand_in(*args: object, **facts: object) -> object:
        return fault(*args, **facts)

    stand_in.__name__ = hook
    return stand_in


def allowing(**facts: object) -> Policy:
    return policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT), **facts)


GOVERNED = allowing(vendor_of=lambda _host: "vendor")


async def through(world: World, port: int) -> bytes:
    async with world.tunnel("allowed.test", port) as client:
        return await client.ask(get("/", f"allowed.test:{port}"))


def one_denial(world: World, reply: bytes, where: str) -> None:
    """The client was refused, and what was recorded and counted is exactly that."""
    (event,) = world.events
    assert (event.verdict, event.reason) == (Verdict.DENY, Reason.INTERNAL_ERROR)
    assert world.errors() == {where: 1.0}
    assert status(reply) == 500
    assert decision_id(reply) == event.id


@FAULTS
@on_loop
async def test_the_request_hook(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hooks, "request", broken(fault, "request"))
    async with (
        inspecting(allowing(), tmp_path, hook_timeout=0.5) as world,
        web_origin(world, "allowed.test") as server,
    ):
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        one_denial(world, reply, "hook_request")
        assert server.accepts == 0
        assert world.dns.asked("allowed.test") == []


@FAULTS
@on_loop
async def test_the_body_hook(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hooks, "body", broken(fault, "body"))
    async with (
        inspecting(GOVERNED, tmp_path, hook_timeout=0.5, governor=PassingGovernor()) as world,
        web_origin(world, "allowed.test") as server,
    ):
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(post(b"{}", f"allowed.test:{server.port}"))
        one_denial(world, reply, "hook_body")
        assert server.accepts == 0


@FAULTS
@on_loop
async def test_the_response_hook(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hooks, "response", broken(fault, "response"))
    async with (
        inspecting(allowing(), tmp_path, hook_timeout=0.5) as world,
        web_origin(world, "allowed.test") as server,
    ):
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        one_denial(world, reply, "hook_response")
        assert b"hello" not in reply


@FAULTS
@on_loop
async def test_the_hello_hook(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hooks, "hello", broken(fault, "hello"))
    async with (
        inspecting(allowing(), tmp_path, hook_timeout=0.5) as world,
        web_origin(world, "allowed.test") as server,
    ):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with world.tunnel("allowed.test", server.port):
                pass
        await until(lambda: world.events)
        (event,) = world.events
        assert (event.verdict, event.reason) == (Verdict.DENY, Reason.INTERNAL_ERROR)
        assert world.errors() == {"hook_hello": 1.0}
        assert server.accepts == 0


@FAULTS
@on_loop
async def test_the_dial(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dialer, "connect", fault)
    limits = replace(LIMITS, resolve_timeout=1.0, connect_timeout=1.0)
    async with inspecting(allowing(), tmp_path, limits) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        (event,) = world.events
        assert event.verdict is Verdict.DENY
        assert status(reply) == (500 if fault is raising else 504)
        assert decision_id(reply) == event.id
        assert server.accepts == 0


@on_loop
async def test_a_tap_that_raises_ends_the_response_before_its_end(tmp_path: Path) -> None:
    governor = PassingGovernor(raising)  # type: ignore[arg-type]
    async with (
        inspecting(GOVERNED, tmp_path, governor=governor) as world,
        web_origin(world, "allowed.test") as server,
    ):
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(post(b"{}", f"allowed.test:{server.port}"))
        assert status(reply) == 200
        assert b"hello" not in reply
        assert not reply.endswith(b"0\r\n\r\n")
        assert world.errors() == {"response_tap": 1.0}
        assert len(world.events) == 1


@on_loop
async def test_a_request_waits_until_what_judges_searches_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is loaded after the proxy is ready: what comes sooner would pass without it."""
    governor, tasks = PassingGovernor(), list[asyncio.Task[bytes]]()
    monkeypatch.setattr(governor, "on_request", lambda *_about: Refuse(Reason.WEB_SEARCH_DISABLED))

    async def govern() -> PassingGovernor:
        await asyncio.wait(tasks, timeout=0.2)  # for an answer that must not come
        return governor

    async with inspecting(GOVERNED, tmp_path) as world, web_origin(world, "allowed.test") as server:
        monkeypatch.setattr(world.engine, "_loaded", None)
        monkeypatch.setattr(world.engine, "_govern", govern)
        tasks.append(asyncio.create_task(through(world, server.port)))
        assert status(await tasks[0]) == 403
        assert server.accepts == 0


@pytest.mark.parametrize("method", ["begin", "_forward", "_connected", "replied", "_reply", "_end"])
@on_loop
async def test_a_layer_that_raises_ends_the_connection_with_one_event(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transfer, method, raising)
    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(keep("/", f"allowed.test:{server.port}"))
        assert b"hello" not in reply or method == "_end"
        await until(lambda: world.events)
        assert len(world.events) == 1
        assert world.errors() == {"engine": 1.0}
        assert (server.accepts == 0) is (method in ("begin", "_forward"))


@on_loop
async def test_an_engine_that_cannot_be_loaded_refuses_and_records_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a table that the policy names is broken at that moment, and mended later."""
    broken = [True, False]

    async def govern() -> PassingGovernor:
        if broken.pop(0):
            raise RuntimeError("no table")
        return PassingGovernor()

    async with inspecting(allowing(), tmp_path) as world, web_origin(world, "allowed.test") as server:
        monkeypatch.setattr(world.engine, "_loaded", None)
        monkeypatch.setattr(world.engine, "_govern", govern)
        async with raw(world.address) as client:
            reply = await client.ask(b"CONNECT allowed.test:443 HTTP/1.1\r\nHost: allowed.test:443\r\n\r\n")
        (event,) = world.events
        assert (status(reply), decision_id(reply), event.reason) == (500, event.id, Reason.INTERNAL_ERROR)
        assert status(await through(world, server.port)) == 200

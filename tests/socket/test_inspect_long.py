"""Long answers are read beside the loop: in order, never two pieces at once, and told of even if the client has left."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.gates import status
from harness.inspection import Seen, WebOrigin, World, get, inspecting, post, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.searching import Memory
from harness.waiting import PATIENCE
from outward.core.model import OnViolation, OptIn, WebSearch
from outward.proxy.governance import SearchGovernor
from outward.proxy.search_settings import FileConsent
from outward.search.observation import Observation
from outward.search.registry import registry_of

SOURCE = "https://docs.example.com/found"
RESULT = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": SOURCE, "title": "Found"}],
}
USE = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
LONG = 4 << 20  # bytes


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


STREAM = b"".join(
    event(each)
    for each in (
        {"type": "content_block_start", "index": 0, "content_block": USE},
        {"type": "content_block_start", "index": 1, "content_block": {**RESULT, "padding": "~" * LONG}},
        {"type": "message_stop"},
    )
)
WHOLE = json.dumps({"type": "message", "content": [USE, {**RESULT, "padding": "~" * LONG}]}).encode()


@dataclass
class Watched:
    """Observations, as their threads saw them.

    Attributes:
        loop: the thread of the loop.
        on_loop: sizes of what was read on it.
        entered: a thread reads.
        go: what threads wait for.
        together: how often two were at one observation at once.
    """

    loop: int = field(default_factory=threading.get_ident)
    on_loop: list[int] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    together: int = 0

    def watch(self, patch: pytest.MonkeyPatch, name: str) -> None:
        plain: Callable[..., Any] = getattr(Observation, name)
        inside = threading.Lock()

        def read(subject: Observation, *args: bytes, **how: bool) -> Any:
            alone = name == "finish" or inside.acquire(blocking=False)  # `replace` finishes by itself
            if not alone or (name == "finish" and inside.locked() and threading.get_ident() == self.loop):
                self.together += 1
            try:
                if threading.get_ident() == self.loop:
                    self.on_loop.append(len(args[0]) if args else subject.held)
                elif name != "finish":
                    self.entered.set()
                    assert self.go.wait(PATIENCE)
                return plain(subject, *args, **how)
            finally:
                if alone and name != "finish":
                    inside.release()

        patch.setattr(Observation, name, read)


@dataclass
class Stage:
    """A governed vendor whose answer is long, and what was seen of it."""

    world: World
    server: WebOrigin
    told: Memory
    watched: Watched
    sent: int = 0

    def ask(self) -> bytes:
        search = {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "messages": []}
        fields = ("Content-Type: application/json", "Connection: close")
        return post(json.dumps(search).encode(), f"allowed.test:{self.server.port}", *fields, path="/v1/messages")


@contextlib.asynccontextmanager
async def stage(
    tmp_path: Path, patch: pytest.MonkeyPatch, body: bytes, kind: str, on_violation: OnViolation
) -> AsyncIterator[Stage]:
    search = WebSearch(enabled=True, opt_in=OptIn.ASSUMED, on_violation=on_violation)
    allows = policy(
        group(rule("allowed.test"), rule("docs.example.com"), web_search=search),
        vendor_of={"allowed.test": "anthropic"}.get,
    )
    watched = Watched()
    for name in ("feed", "replace", "finish"):
        watched.watch(patch, name)

    async def answer(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith("GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nConnection: close\r\n\r\n" % kind.encode())
        for at in range(0, len(body), 1 << 16):
            writer.write(body[at : at + (1 << 16)])
            await writer.drain()
            made.sent += 1 << 16
        writer.close()

    async with (
        inspecting(allows, tmp_path, hook_timeout=PATIENCE) as world,
        web_origin(world, "allowed.test") as server,
    ):
        consent, told = FileConsent(lambda: world.judge.policy), Memory()
        registry = registry_of({"allowed.test": "anthropic"}, ["allowed.test"], ())
        world.engine.parts.governor = SearchGovernor(world.judge, registry, consent, told, 1 << 20)
        server.answer = answer
        made = Stage(world, server, told, watched)
        try:
            yield made
        finally:
            watched.go.set()


FORMS = pytest.mark.parametrize(
    ("body", "kind", "on_violation"),
    [
        (STREAM, "text/event-stream", OnViolation.FLAG),
        (STREAM, "text/event-stream", OnViolation.CUT),
        (WHOLE, "application/json", OnViolation.FLAG),
        (WHOLE, "application/json", OnViolation.CUT),
    ],
    ids=["stream", "stream cut", "whole", "whole cut"],
)


@FORMS
@on_loop
async def test_nothing_long_is_read_on_the_loop(
    body: bytes, kind: str, on_violation: OnViolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a thread reads, others are answered; then all goes on in its order."""
    async with stage(tmp_path, monkeypatch, body, kind, on_violation) as made:
        host = f"allowed.test:{made.server.port}"
        async with (
            made.world.tunnel("allowed.test", made.server.port) as client,
            made.world.tunnel("allowed.test", made.server.port) as other,
        ):
            slow = asyncio.ensure_future(client.ask(made.ask()))
            await until(made.watched.entered.is_set)
            assert status(await other.ask(get("/", host))) == 200
            assert not slow.done()
            made.watched.go.set()
            reply = await slow
        assert reply.count(b"~") == LONG
        assert max(made.watched.on_loop, default=0) <= 1 << 14
        assert made.watched.together == 0
        await until(lambda: made.told.audits)
        (audit,) = made.told.audits
        assert audit.details["sources"] == [SOURCE]
        assert not audit.details["incomplete"]


@FORMS
@on_loop
async def test_a_client_that_leaves_while_a_thread_reads_is_told_of_once(
    body: bytes, kind: str, on_violation: OnViolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path, monkeypatch, body[:-2] if kind == "application/json" else body, kind, on_violation) as m:
        async with m.world.tunnel("allowed.test", m.server.port) as client:
            await client.send(m.ask())
            await until(m.watched.entered.is_set)
            client.writer.transport.abort()
        await until(lambda: m.world.events)
        assert not m.told.audits
        m.watched.go.set()
        if kind == "text/event-stream":
            await until(lambda: m.told.audits)
            assert [each.details["incomplete"] for each in m.told.audits] == [True]
        governor = m.world.engine.parts.governor
        assert isinstance(governor, SearchGovernor)
        await governor.settle(PATIENCE)
        assert len(m.told.audits) <= 1
        assert m.watched.together == 0
        await until(lambda: m.world.engine.parts.budget.left == 256 << 20)


@on_loop
async def test_the_destination_is_not_read_while_a_thread_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sends meanwhile waits in the kernel, not in the proxy's memory."""
    body = STREAM.replace(b"~" * LONG, b"x" * (16 << 20))
    async with (
        stage(tmp_path, monkeypatch, body, "text/event-stream", OnViolation.FLAG) as made,
        made.world.tunnel("allowed.test", made.server.port) as client,
    ):
        slow = asyncio.ensure_future(client.ask(made.ask()))
        await until(made.watched.entered.is_set)
        before = -1
        while before != made.sent:
            before = made.sent
            for _ in range(50):
                await asyncio.sleep(0)
        assert made.sent < 16 << 20
        made.watched.go.set()
        assert len(await slow) > 16 << 20

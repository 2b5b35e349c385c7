"""What is held back of streamed answers: bounded for each, paid from the budget of all, and given back."""

import asyncio
import gzip
import json
import threading
from pathlib import Path

import pytest

from harness.gates import status
from harness.governing import Desk as Judged
from harness.inspection import Seen, get, inspecting, post, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.waiting import PATIENCE
from outward.core.model import OnViolation, OptIn, WebSearch
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.proxy.governance import SearchGovernor
from outward.proxy.search_settings import FileConsent
from outward.search import observation, streams
from outward.search.govern import Governance, Governed, SearchRequest
from outward.search.registry import registry_of

SEARCH = {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "messages": [], "stream": True}
ASK = post(
    json.dumps(SEARCH).encode(),
    "allowed.test",
    "Content-Type: application/json",
    "Connection: close",
    path="/v1/messages",
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
PIECE = b"Z" * 65_536


class Sinks:
    """Takes what a search leaves behind."""

    unaudited = False

    def __init__(self) -> None:
        self.audits: list[object] = []

    def audit(self, event: object) -> None:
        self.audits.append(event)

    def receipt(self, _receipt: object) -> None: ...


def governed(on_violation: OnViolation) -> Policy:
    search = WebSearch(enabled=True, opt_in=OptIn.ASSUMED, on_violation=on_violation)
    return policy(
        group(rule("allowed.test"), rule("docs.example.com"), web_search=search),
        vendor_of={"allowed.test": "anthropic"}.get,
    )


@pytest.mark.parametrize("on_violation", [OnViolation.CUT, OnViolation.FLAG])
@on_loop
async def test_an_endless_event_is_paid_from_the_budget_of_all(on_violation: OnViolation, tmp_path: Path) -> None:
    """Under `cut` it ends the answer; otherwise it passes unread, and costs no more memory."""
    more, sent = asyncio.Event(), 0

    async def answer(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(HEAD + b"data: " + PIECE)
        await more.wait()
        for _ in range(40):
            writer.write(PIECE)
            await writer.drain()
            sent += 1
        writer.close()

    async with inspecting(governed(on_violation), tmp_path) as world, web_origin(world, "allowed.test") as server:
        consent, budget = FileConsent(lambda: world.judge.policy), world.engine.parts.budget
        registry = registry_of({"allowed.test": "anthropic"}, ["allowed.test"], ())
        world.engine.parts.governor = SearchGovernor(world.judge, registry, consent, Sinks(), 1 << 20)
        server.answer = answer
        budget.left = 1 << 20
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(ASK.replace(b"allowed.test", f"allowed.test:{server.port}".encode()))
            await until(lambda: budget.left <= (1 << 20) - len(PIECE))
            more.set()
            reply = await client.rest()
            assert budget.left >= 0
        await until(lambda: budget.left == 1 << 20)
        if on_violation is OnViolation.CUT:
            assert b"ZZZZ" not in reply
            assert Reason.WEB_SEARCH_UNINSPECTABLE in {event.reason for event in world.events}
        else:
            assert reply.count(b"Z") == 41 * len(PIECE)


@on_loop
async def test_a_kilobyte_that_unfolds_to_much_more_holds_nobody_else_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks behind it is answered before it."""
    loop, judge, judging, go = threading.get_ident(), Governance.judge, threading.Event(), threading.Event()

    def held(subject: Governance, request: SearchRequest) -> Governed:
        if threading.get_ident() != loop:
            judging.set()
            assert go.wait(PATIENCE)
        return judge(subject, request)

    monkeypatch.setattr(Governance, "judge", held)
    bomb = gzip.compress(b'{"messages":[],"a":[' + b"{}," * 240_000 + b"{}]}", 9)
    assert len(bomb) < 10_240
    async with (
        inspecting(governed(OnViolation.FLAG), tmp_path, hook_timeout=60.0) as world,
        web_origin(world, "allowed.test") as server,
    ):
        consent, budget = FileConsent(lambda: world.judge.policy), world.engine.parts.budget
        registry = registry_of({"allowed.test": "anthropic"}, ["allowed.test"], ())
        world.engine.parts.governor = SearchGovernor(world.judge, registry, consent, Sinks(), 10 << 20)
        before, host = budget.left, f"allowed.test:{server.port}"
        fields = ("Content-Type: application/json", "Content-Encoding: gzip", "Connection: close")
        async with (
            world.tunnel("allowed.test", server.port) as client,
            world.tunnel("allowed.test", server.port) as other,
        ):
            slow = asyncio.ensure_future(client.ask(post(bomb, host, *fields, path="/v1/messages")))
            await until(judging.is_set)
            assert budget.left < before
            assert status(await other.ask(get("/", host))) == 200
            assert not slow.done()
            go.set()
            assert status(await slow) == 200


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_what_is_held_is_known_and_forgotten_when_reading_is_given_up(kind: str) -> None:
    desk = Judged()
    out = desk.ask("api.anthropic.com", "/v1/messages", SEARCH)
    subject = desk.governance.observe(out, 200, {"content-type": kind})
    assert subject is not None
    subject.feed(b'data: {"a": "' + b"x" * 1000 if kind == "text/event-stream" else b'{"a": "' + b"x" * 1000)
    assert 1000 <= subject.held <= 3000
    assert subject.give_up() == b""
    assert subject.held == 0
    assert subject.feed(b"y" * 1000) == b"y" * 1000
    assert subject.held == 0
    subject.finish()
    assert subject.seen.incomplete


@pytest.mark.parametrize("settings", [{"on_violation": OnViolation.CUT}, {}])
def test_an_event_without_end_is_not_collected_for_ever(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_PIECE", 1 << 16)
    monkeypatch.setattr(observation, "MAX_PIECE", 1 << 16)
    desk = Judged()
    host, path, body = "api.anthropic.com", "/v1/messages", SEARCH
    if not settings:  # MCP's results are filtered as they stream
        call = {"name": "find", "arguments": {"query": "q"}}
        host, path, body = (
            "mcp.example.net",
            "/mcp",
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
        )
    out = desk.ask(host, path, body, settings=settings)
    subject = desk.governance.observe(out, 200, {"content-type": "text/event-stream"})
    assert subject is not None
    assert settings or subject.turn.filtered
    for _ in range(64):
        subject.feed(b"data: " + b"x" * 4096)
    assert subject.was_cut
    assert subject.held <= 1 << 17

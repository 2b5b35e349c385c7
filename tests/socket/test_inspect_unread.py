"""Answers that must be read and cannot be: refused where that can still be told, else cut, and on record either way."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from harness.gates import decision_id, status
from harness.inspection import Seen, World, get, inspecting, post, replying, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from outward.core.model import Lane, OnViolation, OptIn, Stage, Verdict, WebSearch
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.proxy.governance import SearchGovernor
from outward.proxy.search_settings import FileConsent
from outward.search.registry import registry_of

SEARCH = {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "messages": [], "stream": True}
STREAM = post(json.dumps(SEARCH).encode(), "allowed.test", "Content-Type: application/json", path="/v1/messages")
RESULTS = get("/res/v1/web/search?q=a")
BOMB = gzip.compress(b" " * (64 << 20))
ODD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: x-odd\r\nContent-Length: 3\r\n\r\nodd"


class Sinks:
    """Takes what a search leaves behind."""

    unaudited = False

    def audit(self, _event: object) -> None: ...

    def receipt(self, _receipt: object) -> None: ...


def governed(vendor: str) -> Policy:
    search = WebSearch(enabled=True, opt_in=OptIn.ASSUMED, on_violation=OnViolation.CUT)
    return policy(
        group(rule("allowed.test"), rule("docs.example.com"), web_search=search), vendor_of={"allowed.test": vendor}.get
    )


def governor(world: World, vendor: str) -> SearchGovernor:
    consent = FileConsent(lambda: world.judge.policy)
    return SearchGovernor(
        world.judge, registry_of({"allowed.test": vendor}, ["allowed.test"], ()), consent, Sinks(), 1 << 20
    )


def sized(body: bytes, *fields: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return head + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


@on_loop
async def test_an_encoded_answer_that_nobody_asked_for_is_refused_before_its_head_goes_out(tmp_path: Path) -> None:
    """It would have to be inflated to be read, and it may be a bomb."""
    async with inspecting(governed("brave"), tmp_path) as world:
        world.engine.parts.governor = governor(world, "brave")
        async with web_origin(world, "allowed.test") as server:
            server.answer = replying(sized(BOMB, b"Content-Encoding: gzip"))
            async with world.tunnel("allowed.test", server.port) as client:
                reply = await client.ask(RESULTS.replace(b"Host: allowed.test", b"Host: allowed.test:%d" % server.port))
        assert status(reply) == 403
        await until(lambda: world.events)
        (event,) = world.events
        assert (event.id, event.verdict, event.reason, event.stage) == (
            decision_id(reply), Verdict.DENY, Reason.WEB_SEARCH_UNINSPECTABLE, Stage.RESPONSE,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "reason", "told"),
    [(b"no JSON", Reason.WEB_SEARCH_UNINSPECTABLE, 403), (b" " * (40 << 20), Reason.TOO_LARGE, 502)],
    ids=["malformed", "too large"],
)
@on_loop
async def test_a_whole_answer_that_cannot_be_read_is_refused_before_its_head_goes_out(
    body: bytes, reason: Reason, told: int, tmp_path: Path
) -> None:
    """It was held back, so the client gets a denial and no broken answer; one event, whose id it has."""
    async with inspecting(governed("brave"), tmp_path) as world:
        world.engine.parts.governor = governor(world, "brave")
        async with web_origin(world, "allowed.test") as server:
            server.answer = replying(sized(body))
            async with world.tunnel("allowed.test", server.port) as client:
                reply = await client.ask(RESULTS.replace(b"Host: allowed.test", b"Host: allowed.test:%d" % server.port))
        assert status(reply) == told
        assert f'"code": "{reason}"'.encode() in reply
        await until(lambda: world.events)
        (event,) = world.events
        assert (event.id, event.verdict, event.reason, event.stage) == (
            decision_id(reply), Verdict.DENY, reason, Stage.RESPONSE,
        )  # fmt: skip


@on_loop
async def test_a_stream_that_is_cut_is_on_record_with_its_reason(tmp_path: Path) -> None:
    """The exchange's own event says that it was allowed and begun; another, that its answer was not carried to its end."""

    async def answer(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ODD)
        await writer.drain()

    async with inspecting(governed("anthropic"), tmp_path) as world:
        world.engine.parts.governor = governor(world, "anthropic")
        async with web_origin(world, "allowed.test") as server:
            server.answer = answer
            async with world.tunnel("allowed.test", server.port) as client:
                host = b"Host: allowed.test:%d" % server.port
                await client.send(STREAM.replace(b"Host: allowed.test", host))
                got = await client.rest()
        await until(lambda: len(world.events) == 2)
        cut, own = world.events
        reason = Reason.WEB_SEARCH_UNINSPECTABLE
        assert (cut.verdict, cut.reason, cut.stage) == (Verdict.DENY, reason, Stage.RESPONSE)
        assert (own.verdict, own.status) == (Verdict.ALLOW, 200)
        assert cut.id != own.id
        assert b"odd" not in got.replace(b"x-odd", b"")
        assert len(got) < 4096
        counted = world.judge.metrics.requests
        assert counted[("dev", Verdict.DENY, reason, Stage.RESPONSE, Lane.INSPECT)] == 1

"""The ops port: health, readiness, metrics, and limits that hold against a client that means no good."""

import asyncio
import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from harness.loops import on_loop, until
from harness.waiting import PATIENCE
from outward.ops import server
from outward.ops.health import Health
from outward.ops.metrics import Metrics
from outward.ops.server import OpsServer
from outward.ops.web import OpsRequest, Problem, Response


async def answer(ops: OpsServer, raw: bytes) -> bytes:
    """Send bytes and return everything that comes back until the server closes."""
    reader, writer = await asyncio.open_connection(*ops.address)
    writer.write(raw)
    data = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    return data


def get(path: str, *fields: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


LARGE = get("/large")


async def app(request: OpsRequest) -> Response:
    async def events() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"data: %d\n\n" % number

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"data\n\n"
            await asyncio.sleep(0.01)

    if request.path == "/large":
        return Response(200, bytes(64 << 20), "text/plain")
    if request.path == "/endless":
        return Response(200, endless(), "text/event-stream")
    if request.path == "/stream":
        return Response(200, events(), "text/event-stream")
    if request.path == "/echo":
        return Response(200, request.body, "text/plain")
    if request.path == "/refused":
        raise Problem(403, "not for you")
    raise RuntimeError("a bug")


def serving(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test with those of `ops`, `checks` and `metrics` that it names; its other arguments are pytest's."""
    wanted = inspect.signature(test)
    own = wanted.parameters.keys() & {"ops", "checks", "metrics"}

    @on_loop
    @functools.wraps(test)
    async def run(**given: Any) -> None:
        metrics, checks = Metrics(), dict[str, str | None]()
        health = Health(metrics, {name: (lambda name=name: checks.get(name)) for name in ("policy", "recorder")}, app)
        ops = OpsServer(health, metrics.internal_error)
        await ops.start("127.0.0.1", 0)
        parts = {"ops": ops, "checks": checks, "metrics": metrics}
        try:
            await test(**{name: parts[name] for name in own}, **given)
        finally:
            await ops.close()

    run.__signature__ = wanted.replace(parameters=[each for name, each in wanted.parameters.items() if name not in own])
    return run


@serving
async def test_health_readiness_and_metrics_need_no_token(ops: OpsServer) -> None:
    assert (await answer(ops, get("/healthz"))).startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"ready": true' in await answer(ops, get("/readyz"))
    assert b"outward_build_info" in await answer(ops, get("/metrics"))


@serving
async def test_readiness_says_which_check_failed(ops: OpsServer, checks: dict) -> None:
    checks["recorder"] = "records are being lost"
    reply = await answer(ops, get("/readyz"))
    assert reply.startswith(b"HTTP/1.1 503 ")
    detail = json.loads(reply.partition(b"\r\n\r\n")[2])
    assert detail["checks"] == {"policy": "ok", "recorder": "records are being lost"}


@serving
async def test_a_bug_in_a_page_is_a_500_and_counted(ops: OpsServer, metrics: Metrics) -> None:
    reply = await answer(ops, get("/bug"))
    assert reply.startswith(b"HTTP/1.1 500 ")
    assert b"RuntimeError" not in reply
    assert 'outward_internal_errors_total{where="ops"} 1.0' in metrics.render()[0].decode()
    assert (await answer(ops, get("/healthz"))).startswith(b"HTTP/1.1 200 ")


@serving
async def test_problems_are_answered_as_such(ops: OpsServer) -> None:
    reply = await answer(ops, get("/refused"))
    assert reply.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"application/problem+json" in reply


@serving
async def test_streams_come_in_chunks(ops: OpsServer) -> None:
    reply = await answer(ops, get("/stream"))
    assert reply.endswith(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")


@serving
async def test_requests_follow_each_other_on_one_connection(ops: OpsServer) -> None:
    body = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    reply = await answer(ops, body + body + get("/healthz"))
    assert reply.count(b"HTTP/1.1 200 OK") == 3
    assert reply.count(b"abc") == 2


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\nHost: x\n\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"DELETE /metrics HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
    ],
)
@serving
async def test_what_is_malformed_or_too_large_is_refused(ops: OpsServer, raw: bytes, status: int) -> None:
    assert (await answer(ops, raw)).startswith(b"HTTP/1.1 %d " % status)


@serving
async def test_a_client_that_sends_nothing_is_let_go(ops: OpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READ_TIMEOUT", 0.05)
    assert await answer(ops, b"GET /hea") == b""


@serving
async def test_connections_are_bounded_and_strangers_keep_no_probe_out(
    ops: OpsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is silent, sends slowly or does not read makes room, the longest waiting first."""
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    for begun in (b"", b"GET /healthz HTTP/1.1\r\nHo", b"POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\n1", LARGE):
        held = []
        for _ in range(8):
            held.append(await asyncio.open_connection(*ops.address))
            held[-1][1].write(begun)
        assert b"200 OK" in await answer(ops, get("/healthz"))
        assert len(ops._tasks) <= 3
        assert len(await asyncio.wait_for(held[0][0].read(), PATIENCE)) < 64 << 20
        for _, writer in held:
            writer.transport.abort()
        await until(lambda: not ops._tasks)


@serving
async def test_however_many_scrape_one_thread_is_busy(ops: OpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads are those that large requests to model vendors are judged in."""
    busy, most, render = [0], [0], Metrics.render

    def counted(self: Metrics, accept: str = "") -> tuple[bytes, str]:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        try:
            return render(self, accept)
        finally:
            busy[0] -= 1

    monkeypatch.setattr(Metrics, "render", counted)
    answers = await asyncio.gather(*(answer(ops, get("/metrics")) for _ in range(20)))
    assert all(b"outward_build_info" in each for each in answers)
    assert most[0] == 1


@serving
async def test_streams_that_are_under_way_make_no_room(ops: OpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were asked for with a token; one connection more is cut instead."""
    monkeypatch.setattr(server, "CONNECTIONS", 1)
    reader, writer = await asyncio.open_connection(*ops.address)
    writer.write(get("/endless"))
    await asyncio.wait_for(reader.readuntil(b"data\n\n"), PATIENCE)
    assert await answer(ops, b"") == b""
    writer.transport.abort()
    await until(lambda: not ops._tasks)


@serving
async def test_an_answer_that_nobody_reads_is_dropped(ops: OpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WRITE_TIMEOUT", 0.1)
    reader, writer = await asyncio.open_connection(*ops.address)
    writer.write(LARGE)
    await until(lambda: ops._tasks)
    await until(lambda: not ops._tasks)
    assert len(await asyncio.wait_for(reader.read(), PATIENCE)) < 64 << 20
    writer.close()


@on_loop
async def test_closing_ends_open_streams() -> None:
    ended = []

    async def endless(_request: OpsRequest) -> Response:
        async def events() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"data\n\n"
                    await asyncio.sleep(0.01)
            finally:
                ended.append(True)

        return Response(200, events(), "text/event-stream")

    ops = OpsServer(endless, lambda _where: None)
    await ops.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*ops.address)
    writer.write(get("/"))
    await reader.readuntil(b"data")
    await ops.close()
    assert ended == [True]
    writer.close()

"""Connections to destinations are kept for the next request: of the same client, for a while, and as long as they hold."""

import asyncio
import hashlib
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from harness.gates import LIMITS, connect, status
from harness.inspection import (
    HELLO,
    Handler,
    Seen,
    WebOrigin,
    World,
    get,
    inspecting,
    keep,
    one,
    post,
    response,
    web_origin,
)
from harness.loops import on_loop, until
from harness.pki import Ca, write
from harness.policies import LOOPBACK, group, policy, rule
from harness.raw import raw
from harness.waiting import PATIENCE
from outward.core.model import ClientEntry, Credential, LaneChoice, Place, Verdict
from outward.core.reasons import Reason
from outward.proxy.inspection import pool

RULES = group(rule("allowed.test"), rule("other.test"), lane=LaneChoice.INSPECT)
INSPECT = policy(RULES)
SHARED = replace(LIMITS, shared_tls=True)
BASIC = {"one": "Proxy-Authorization: Basic Om9uZQ==", "two": "Proxy-Authorization: Basic OnR3bw=="}
TOKENS = policy(
    RULES,
    clients=tuple(
        ClientEntry(
            Credential.TOKEN, Place("policy.yaml", 9), group="dev", token_sha256=hashlib.sha256(each.encode()).hexdigest()
        )
        for each in BASIC
    ),
)  # fmt: skip


async def fetch(
    world: World, server: WebOrigin, *fields: str, request: bytes = b"", host: str = "allowed.test"
) -> bytes:
    """Ask once, over a connection of the client's own, which the client then leaves; the destination's is free."""
    async with world.tunnel(host, server.port, *fields) as client:
        await client.send(request or keep("/", f"{host}:{server.port}"))
        reply = await response(client)
    await until(lambda: not world.engine._sessions)
    return reply


@on_loop
async def test_the_next_connection_of_a_client_finds_it(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        for _ in range(3):
            assert status(await fetch(world, server)) == 200
        assert (server.accepts, len(server.seen), len(world.engine.pool)) == (1, 3, 1)
        assert [(each.verdict, each.address, each.status) for each in world.events] == [
            (Verdict.ALLOW, "127.0.0.1", 200)
        ] * 3


@on_loop
async def test_so_does_a_plain_request(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test", tls=False) as server:
        for _ in range(3):
            async with raw(world.address) as client:
                authority = f"allowed.test:{server.port}"
                one_head = f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
                assert status(await client.ask(one_head.encode())) == 200
        assert server.accepts == 1


@on_loop
async def test_another_client_and_another_host_do_not(tmp_path: Path) -> None:
    async with (
        inspecting(TOKENS, tmp_path, SHARED) as world,
        web_origin(world, "allowed.test", "other.test") as server,
    ):
        for who, host, accepts in (
            ("one", "allowed.test", 1),
            ("two", "allowed.test", 2),
            ("one", "other.test", 3),
            ("one", "allowed.test", 3),
            ("two", "allowed.test", 3),
        ):
            assert status(await fetch(world, server, BASIC[who], host=host)) == 200
            assert server.accepts == accepts


@on_loop
async def test_neither_does_a_client_at_another_address_without_a_name(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test", tls=False) as server:
        authority = f"allowed.test:{server.port}"
        head = f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode()
        for source, accepts in (("127.0.0.1", 1), ("127.0.0.2", 2), ("127.0.0.1", 2)):
            reader, writer = await asyncio.open_connection(*world.address, local_addr=(source, 0))
            writer.write(head)
            assert status(await reader.read()) == 200
            writer.close()
            assert server.accepts == accepts


@on_loop
async def test_one_in_tls_and_one_in_the_clear_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """The destination speaks plain HTTP: inside TLS nothing must reach it."""
    limits = replace(SHARED, handshake_timeout=1.0)
    async with inspecting(INSPECT, tmp_path, limits) as world, web_origin(world, "allowed.test", tls=False) as server:
        authority = f"allowed.test:{server.port}"
        async with raw(world.address) as client:
            await client.send(connect("allowed.test", server.port))
            await client.head()
            await client.send(keep("/", authority))
            assert status(await response(client)) == 200
        async with world.tunnel("allowed.test", server.port) as client:
            assert status(await client.ask(get("/", authority))) in (502, 504)
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("Authorization: NTLM TlRMTVNTUAAB", ""),
        ("Authorization: negotiate YII", ""),
        ("X-A: b", "WWW-Authenticate: Basic, Negotiate\r\n"),
        ("X-A: b", "WWW-Authenticate: NTLM TlRMTVNTUAAC\r\n"),
    ],
)
@on_loop
async def test_one_that_somebody_logged_in_on_serves_nobody_else(asked: str, answered: str, tmp_path: Path) -> None:
    """It goes on for the connection that the login came through, and ends with it."""

    async def answer(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 401 No\r\n{answered}Content-Length: 0\r\n\r\n".encode())

    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        server.answer = answer
        async with world.tunnel("allowed.test", server.port) as client:
            for _ in range(3):
                await client.send(keep("/", f"allowed.test:{server.port}", asked))
                assert status(await response(client)) == 401
            assert server.accepts == 1
        await until(lambda: not world.engine._sessions)
        assert len(world.engine.pool) == 0
        assert status(await fetch(world, server)) == 401
        assert server.accepts == 2


@on_loop
async def test_it_is_not_kept_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE", 0.05)
    async with (
        inspecting(INSPECT, tmp_path, SHARED) as world,
        web_origin(world, "allowed.test") as server,
        world.tunnel("allowed.test", server.port) as client,
    ):
        for accepts in (1, 2):
            await client.send(keep("/", f"allowed.test:{server.port}"))
            assert status(await response(client)) == 200
            await until(lambda: not len(world.engine.pool))
            assert server.accepts == accepts


def ending(over: asyncio.Event, says: bytes) -> Handler:
    """A destination that answers, and that says something and closes once it is over."""

    async def answer(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        await over.wait()
        writer.write(says)
        writer.close()

    return answer


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
@on_loop
async def test_one_that_the_destination_ends_is_not_used(says: bytes, tmp_path: Path) -> None:
    over = asyncio.Event()
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        server.answer = ending(over, says)
        assert status(await fetch(world, server)) == 200
        assert len(world.engine.pool) == 1
        over.set()
        await until(lambda: not len(world.engine.pool))
        assert status(await fetch(world, server, request=post(b"x", f"allowed.test:{server.port}"))) == 200
        assert server.accepts == 2


async def dying(world: World, server: WebOrigin, request: bytes, *lives: int, says: bytes = b"") -> bytes:
    """Ask once, and again over the kept connection, where the destination closes as soon as it has read the request.

    `lives` are how many requests each connection answers, in the order of accepting; the last one stands for the rest.
    """
    answered: dict[object, int] = {}

    async def answer(_seen: Seen, _reader: object, writer: asyncio.StreamWriter) -> None:
        mine = lives[min(server.accepts, len(lives)) - 1]
        answered[writer] = answered.get(writer, 0) + 1
        if answered[writer] > mine:
            writer.write(says)
            await writer.drain()
            writer.close()
        else:
            writer.write(HELLO)

    server.answer = answer
    assert status(await fetch(world, server)) == 200
    async with world.tunnel("allowed.test", server.port) as client:
        return await client.ask(request)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@on_loop
async def test_an_idempotent_request_that_dies_with_it_is_sent_again(method: str, tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        request = get("/", f"allowed.test:{server.port}").replace(b"GET", method.encode(), 1)
        assert status(await dying(world, server, request, 1)) == 200
        assert (server.accepts, len(server.seen), len(world.events)) == (2, 3, 2)


@pytest.mark.parametrize(
    ("request_line", "fields", "says"),
    [
        ("POST / HTTP/1.1", "Content-Length: 0\r\n", b""),
        ("PATCH / HTTP/1.1", "", b""),
        ("PUT / HTTP/1.1", "Content-Length: 1\r\n", b""),
        ("GET / HTTP/1.1", "", b"H"),
        ("GET / HTTP/1.1", "", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
@on_loop
async def test_nothing_else_is_ever_sent_twice(request_line: str, fields: str, says: bytes, tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        host = f"Host: allowed.test:{server.port}\r\nConnection: close\r\n"
        body = b"x" if "Length: 1" in fields else b""
        reply = await dying(world, server, f"{request_line}\r\n{host}{fields}\r\n".encode() + body, 1, says=says)
        assert status(reply) == 502
        assert (server.accepts, len(server.seen)) == (1, 2)
        one(world, Reason.UPSTREAM_FAILED, reply)


@on_loop
async def test_it_is_sent_again_only_once_and_only_if_it_was_kept(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        reply = await dying(world, server, get("/", f"allowed.test:{server.port}"), 1, 0)
        assert status(reply) == 502
        assert (server.accepts, len(server.seen)) == (2, 3)
        one(world, Reason.UPSTREAM_FAILED, reply)


@on_loop
async def test_one_whose_response_was_not_read_to_its_end_is_not_kept(tmp_path: Path) -> None:
    async def answer(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await reader.read()
        ended.set()

    ended = asyncio.Event()
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        server.answer = answer
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            await client.head()
        await asyncio.wait_for(ended.wait(), PATIENCE)
        await until(lambda: not world.engine._sessions)
        assert len(world.engine.pool) == 0


@on_loop
async def test_a_reload_of_the_roots_judges_the_certificate_again(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        assert status(await fetch(world, server)) == 200
        await world.engine.trust(write(tmp_path / "new.pem", Ca("new roots").pem))
        async with world.tunnel("allowed.test", server.port) as client:
            assert status(await client.ask(get("/", f"allowed.test:{server.port}"))) == 502
        assert len(server.seen) == 1


@on_loop
async def test_its_address_is_judged_again_by_the_policy_in_force(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            assert status(await response(client)) == 200
            world.judge.policy = policy(replace(RULES, deny=group(deny=(rule(str(LOOPBACK)),)).deny))
            reply = await client.ask(get("/", f"allowed.test:{server.port}"))
        assert status(reply) == 403
        one(world, Reason.DENIED_BY_RULE, reply)
        assert len(server.seen) == 1


@on_loop
async def test_they_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_OF_ONE", 2)
    monkeypatch.setattr(pool, "_OF_ALL", 3)
    async with (
        inspecting(INSPECT, tmp_path, SHARED) as world,
        web_origin(world, "allowed.test", "other.test") as server,
    ):
        for host, left in (("allowed.test", 2), ("other.test", 3)):
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(world.tunnel(host, server.port)) for _ in range(4)]
                answering = asyncio.Event()

                async def answer(
                    _seen: Seen, _reader: object, writer: asyncio.StreamWriter, after: asyncio.Event = answering
                ) -> None:
                    await after.wait()
                    writer.write(HELLO)

                server.answer = answer
                before = len(server.seen)
                for client in clients:
                    await client.send(keep("/", f"{host}:{server.port}"))
                await until(lambda before=before: len(server.seen) == before + 4)
                answering.set()
                for client in clients:
                    assert status(await response(client)) == 200
            assert len(world.engine.pool) == left


@on_loop
async def test_none_is_left_after_a_drain(tmp_path: Path) -> None:
    async with inspecting(INSPECT, tmp_path, SHARED) as world, web_origin(world, "allowed.test") as server:
        assert status(await fetch(world, server)) == 200
        world.engine.drain()
        assert len(world.engine.pool) == 0
        assert status(await fetch(world, server, request=get("/", f"allowed.test:{server.port}"))) in (0, 200)
        assert len(world.engine.pool) == 0


@on_loop
async def test_unless_told_each_tunnel_verifies_its_destination_by_itself(tmp_path: Path) -> None:
    """A request on the same tunnel finds the connection; the next tunnel makes a handshake of its own."""
    async with inspecting(INSPECT, tmp_path) as world, web_origin(world, "allowed.test") as server:
        for _ in range(2):
            async with world.tunnel("allowed.test", server.port) as client:
                for _ in range(2):
                    await client.send(keep("/", f"allowed.test:{server.port}"))
                    assert status(await response(client)) == 200
            await until(lambda: not world.engine._sessions)
        assert (server.accepts, len(server.seen), len(world.engine.pool)) == (2, 4, 0)


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
@on_loop
async def test_a_tunnels_own_is_not_used_once_the_destination_has_ended_it(says: bytes, tmp_path: Path) -> None:
    """A request that may not be sent twice goes over a new one, and what was said unasked answers nothing."""
    over = asyncio.Event()
    async with (
        inspecting(INSPECT, tmp_path) as world,
        web_origin(world, "allowed.test") as server,
        world.tunnel("allowed.test", server.port) as client,
    ):
        server.answer = ending(over, says)
        await client.send(keep("/", f"allowed.test:{server.port}"))
        assert status(await response(client)) == 200
        assert len(world.engine.pool) == 1
        over.set()
        await until(lambda: not len(world.engine.pool))
        await client.send(post(b"x", f"allowed.test:{server.port}"))
        assert status(await response(client)) == 200
        assert server.accepts == 2


@on_loop
async def test_a_tunnels_own_is_not_held_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits for its next question holds no destination."""
    monkeypatch.setattr(pool, "IDLE", 0.05)
    async with (
        inspecting(INSPECT, tmp_path) as world,
        web_origin(world, "allowed.test") as server,
        world.tunnel("allowed.test", server.port) as client,
    ):
        await client.send(keep("/", f"allowed.test:{server.port}"))
        assert status(await response(client)) == 200
        await until(lambda: not len(world.engine.pool))

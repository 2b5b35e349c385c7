"""The inspect lane carries what is allowed: requests, bodies, streams, kept-alive connections, WebSocket."""

import asyncio
import base64
import hashlib
from pathlib import Path

import pytest

from harness.gates import status
from harness.inspection import WebOrigin, get, inspecting, keep, post, replying, response, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.model import Lane, LaneChoice, Stage, Verdict
from outward.core.policy import Policy
from outward.proxy.inspection.tls import TlsEndpoint


def allowing(*hosts: str) -> Policy:
    return policy(group(*(rule(host) for host in hosts), lane=LaneChoice.INSPECT))


@on_loop
async def test_a_request_inside_tls_arrives_and_is_one_event(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(get("/a?b=c", f"allowed.test:{server.port}"))
        assert reply.endswith(b"hello")
        assert server.seen[0].line == "GET /a?b=c HTTP/1.1"
        (event,) = world.events
        assert (event.verdict, event.lane, event.stage) == (Verdict.ALLOW, Lane.INSPECT, Stage.REQUEST)
        assert (event.method, event.scheme, event.host, event.path) == ("GET", "https", "allowed.test", "/a")
        assert (event.status, event.bytes_down, event.address, event.sni) == (200, 5, "127.0.0.1", "allowed.test")


@on_loop
async def test_a_plain_request_is_carried_in_origin_form(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world:
        async with web_origin(world, "allowed.test", tls=False) as server, raw(world.address) as client:
            authority = f"allowed.test:{server.port}"
            reply = await client.ask(
                f"GET http://{authority}/x?y HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode()
            )
        assert reply.endswith(b"hello")
        assert server.seen[0].line == "GET /x?y HTTP/1.1"
        assert server.seen[0].all("host") == [authority]
        assert [event.scheme for event in world.events] == ["http"]


@pytest.mark.parametrize("spelled", ["Allowed.TEST", "allowed.test."])
@on_loop
async def test_the_destination_gets_the_one_spelling_of_its_name(tmp_path: Path, spelled: str) -> None:
    """The name that was judged is the one that is sent on, whatever the client wrote."""
    async with inspecting(allowing("allowed.test"), tmp_path) as world:
        async with web_origin(world, "allowed.test", tls=False) as server, raw(world.address) as client:
            authority = f"{spelled}:{server.port}"
            reply = await client.ask(
                f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode()
            )
        assert reply.endswith(b"hello")
        assert server.seen[0].all("host") == [f"allowed.test:{server.port}"]


@on_loop
async def test_requests_on_one_connection_use_one_upstream_connection(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            for _ in range(5):
                await client.send(keep("/", f"allowed.test:{server.port}"))
                assert status(await response(client)) == 200
        assert (server.accepts, len(server.seen)) == (1, 5)
        await until(lambda: len(world.events) == 5)


@on_loop
async def test_bodies_pass_in_both_framings_and_are_counted(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        authority = f"allowed.test:{server.port}"
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(post(b"x" * 300_000, authority))
            assert status(await response(client)) == 200
            head = f"POST / HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            await client.send(head + b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: y\r\n\r\n", 7)
            assert status(await response(client)) == 200
        assert [len(each.body) for each in server.seen] == [300_000, 6]
        assert server.seen[1].all("x-trailer") == []
        dropped = {labels[0]: number.value for labels, number in world.judge.metrics.families["trailers"].items()}
        assert dropped.get("up") == 1, "what is not passed on is counted"
        assert [event.bytes_up for event in world.events] == [300_000, 6]


@on_loop
async def test_each_event_of_a_stream_arrives_before_the_next_is_sent(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def stream(_seen: object, _reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            writer.write(b"9\r\ndata: %d\n\n\r\n" % number)
            await go_on.wait()
            go_on.clear()
        writer.write(b"0\r\n\r\n")

    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = stream
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            await client.head()
            for number in range(3):
                assert await client.exactly(14) == b"9\r\ndata: %d\n\n\r\n" % number
                go_on.set()
            assert await client.exactly(5) == b"0\r\n\r\n"


@on_loop
async def test_a_response_that_ends_with_the_connection_is_chunked_so_that_a_cut_shows(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = replying(b"HTTP/1.0 200 OK\r\n\r\nold", close=True)
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            reply = await response(client)
        assert b"Transfer-Encoding: chunked" in reply
        assert reply.endswith(b"3\r\nold\r\n0\r\n\r\n")


@on_loop
async def test_interim_responses_are_not_taken_for_the_final_one(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
        server.answer = replying(interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            assert (await response(client)).endswith(b"\r\n\r\nok")


@on_loop
async def test_an_http_10_client_gets_a_body_that_ends_with_the_connection(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world:
        async with web_origin(world, "allowed.test", tls=False) as server, raw(world.address) as client:
            server.answer = replying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnew\r\n0\r\n\r\n")
            reply = await client.ask(f"GET http://allowed.test:{server.port}/ HTTP/1.0\r\n\r\n".encode())
        assert b"chunked" not in reply
        assert reply.endswith(b"\r\n\r\nnew")


@on_loop
async def test_expect_is_answered_after_the_verdict(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        authority = f"allowed.test:{server.port}"
        async with world.tunnel("allowed.test", server.port) as client:
            head = f"POST / HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            await client.send(head.encode())
            assert (await client.head()).startswith(b"HTTP/1.1 100 ")
            await client.send(b"ok")
            assert status(await response(client)) == 200
        assert server.seen[0].body == b"ok"
        assert server.seen[0].all("expect") == []


async def _accept(seen: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    key = seen.all("sec-websocket-key")[0]  # type: ignore[attr-defined]
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
    accept = base64.b64encode(digest).decode()
    fields = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}"
    writer.write(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n".encode())
    while data := await reader.read(65536):
        writer.write(data[::-1])
        await writer.drain()
    writer.close()


def upgrade(server: WebOrigin) -> bytes:
    fields = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    return keep("/ws", f"allowed.test:{server.port}", *fields)


@on_loop
async def test_a_websocket_is_carried_both_ways_and_is_one_event_at_its_end(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = _accept
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(upgrade(server))
            assert status(await client.head()) == 101
            await client.send(b"abc")
            assert await client.exactly(3) == b"cba"
            assert world.events == []
        await until(lambda: world.events)
        (event,) = world.events
        assert (event.status, event.bytes_up, event.bytes_down) == (101, 3, 3)


@on_loop
@pytest.mark.parametrize("size", [3, 300_000])
async def test_what_a_client_says_before_the_switch_goes_on_after_it(size: int, tmp_path: Path) -> None:
    """Some begin before they are answered; the connection must not stand still, however much they say."""
    answering = asyncio.Event()

    async def later(seen: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering.wait()
        await _accept(seen, reader, writer)

    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        server.answer = later
        async with world.tunnel("allowed.test", server.port) as client:
            client.writer.write(upgrade(server) + b"a" * size)
            await until(lambda: server.seen)
            answering.set()
            assert status(await client.head()) == 101
            assert await client.exactly(size) == b"a" * size


@on_loop
async def test_a_kept_alive_connection_is_judged_by_the_policy_in_force(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        async with world.tunnel("allowed.test", server.port) as client:
            await client.send(keep("/", f"allowed.test:{server.port}"))
            assert status(await response(client)) == 200
            world.judge.policy = allowing("other.test")
            reply = await client.ask(keep("/", f"allowed.test:{server.port}"))
        assert status(reply) == 403
        assert len(server.seen) == 1
        assert [event.reason for event in world.events] == ["rule", "no_rule"]


@on_loop
async def test_a_client_that_has_said_all_still_gets_its_response(tmp_path: Path) -> None:
    async with inspecting(allowing("allowed.test"), tmp_path) as world:
        async with web_origin(world, "allowed.test", tls=False) as server, raw(world.address) as client:
            authority = f"allowed.test:{server.port}"
            client.writer.write(f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            client.writer.write_eof()
            assert (await client.rest()).endswith(b"hello")
        await until(lambda: world.events)
        assert [event.status for event in world.events] == [200]


CROWD = b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n"


@on_loop
async def test_a_crowd_of_tiny_chunks_is_read_in_turns_and_arrives_whole(tmp_path: Path) -> None:
    """Both ways, also where the destination closes behind it at once."""
    async with inspecting(allowing("allowed.test"), tmp_path) as world, web_origin(world, "allowed.test") as server:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CROWD
        server.answer = replying(answer, close=True)
        authority = f"allowed.test:{server.port}"
        head = f"POST / HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        async with world.tunnel("allowed.test", server.port) as client:
            reply = await client.ask(head.encode() + CROWD)
        assert server.seen[0].body == b"x" * 40_000
        assert reply.endswith(b"0\r\n\r\n")
        (event,) = world.events
        assert (event.verdict, event.bytes_up, event.bytes_down) == (Verdict.ALLOW, 40_000, 40_000)


@pytest.mark.parametrize("told", [True, False])
@on_loop
async def test_a_body_that_ends_with_tls_is_whole_only_if_its_end_is_told_there(tmp_path: Path, *, told: bool) -> None:
    """Whoever is between could cut the connection; the client gets no last chunk then."""
    async with inspecting(allowing("allowed.test"), tmp_path) as world:
        context = world.server_tls("allowed.test")

        async def cutting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tls, request = TlsEndpoint(context), b""
            while not request.endswith(b"\r\n\r\n"):
                request += tls.receive(await reader.read(2**14))
                writer.write(tls.pending())
            writer.write(tls.send(b"HTTP/1.1 200 OK\r\n\r\nhalf") + (tls.close() if told else b""))
            writer.close()

        server = await asyncio.start_server(cutting, "127.0.0.1", 0)
        world.dns.add("allowed.test", "A", "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        async with world.tunnel("allowed.test", port) as client:
            reply = await client.ask(get("/", f"allowed.test:{port}"))
        server.close()
        assert reply.endswith(b"\r\n0\r\n\r\n") is told
        await until(lambda: world.events)
        assert bool(world.events[0].detail) is not told

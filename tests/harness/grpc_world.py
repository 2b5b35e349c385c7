"""An inspecting proxy and a gRPC server behind it, on a loop of their own, for tests that speak real gRPC.

with grpc_world(policy, folder) as found:
    with found.channel() as channel:
        assert channel.unary_unary("/test.Echo/Unary")(b"hello") == b"hello"
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import trustme

from harness.inspection import World, inspecting
from harness.loops import run_loop
from harness.waiting import PATIENCE, wait_for
from outward.core.policy import Policy

NAME = "allowed.test"


class Echo:
    """A gRPC service; tests look at what it saw.

    Attributes:
        metadata: of the calls, in order.
        waiting: set once a call has come that waits for `go`.
        cancelled: set once such a call was given up.
        left: seconds until the deadline of the last call.
    """

    def __init__(self) -> None:
        self.metadata: list[dict[str, Any]] = []
        self.waiting, self.cancelled = threading.Event(), threading.Event()
        self.left: float | None = None
        self.go = threading.Event()
        self.sent = 0

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata.append(dict(context.invocation_metadata()))
        self.left = context.time_remaining()
        context.set_trailing_metadata((("x-count", str(len(request))), ("outward-decision", "forged")))
        return request

    def server_stream(self, request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        for at in range(int(request)):
            yield b"%d" % at

    def client_stream(self, requests: Iterator[bytes], _context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(len(each) for each in requests)

    def bidi(self, requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests

    def fail(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ü")

    def wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.waiting.set()
        self.go.wait(PATIENCE)
        return request

    def flood(self, request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        piece = bytes(64 * 1024)
        for _ in range(int(request)):
            self.sent += len(piece)
            yield piece

    def handler(self) -> Any:
        return grpc.method_handlers_generic_handler(
            "test.Echo",
            {
                "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
                "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
                "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
                "Flood": grpc.unary_stream_rpc_method_handler(self.flood),
            },
        )


@dataclass
class GrpcWorld:
    """A proxy with a gRPC server behind it.

    Attributes:
        world: the proxy; it belongs to the loop's thread (see `on`).
        port: of the server.
    """

    world: World
    loop: asyncio.AbstractEventLoop
    echo: Echo
    port: int
    server: Any = field(repr=False, default=None)

    def on[T](self, act: Callable[[], T]) -> T:
        """Do something in the proxy's thread."""

        async def body() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(body(), self.loop).result(PATIENCE)

    def settle(self) -> None:
        """Wait for the end of what earlier tests began, and forget what was recorded of it."""
        wait_for(lambda: self.on(lambda: not (self.world.engine._sessions or self.world.engine.streams.taken)))
        self.on(self.world.events.clear)

    def sessions(self) -> list[Any]:
        """The clients' connections of HTTP/2, as seen in the proxy's thread."""
        return [each for each in self.world.engine._sessions if hasattr(each.serving, "streams")]

    def upstreams(self) -> list[Any]:
        """The connections to destinations, as seen in the proxy's thread."""
        return [upstream for each in self.world.engine._sessions for upstream in getattr(each.destinations, "_all", ())]

    @contextlib.contextmanager
    def channel(self, *options: tuple[str, Any], name: str = NAME, port: int | None = None) -> Iterator[grpc.Channel]:
        """A channel to the server, through the proxy."""
        address, at = self.world.address
        trusted = grpc.ssl_channel_credentials(Path(self.world.authority.pem).read_bytes())
        proxy = ("grpc.http_proxy", f"http://{address}:{at}")
        own = ("grpc.use_local_subchannel_pool", 1)  # channels with the same options would share connections
        with grpc.secure_channel(
            f"{name}:{port or self.port}", trusted, options=[proxy, own, ("grpc.enable_retries", 0), *options]
        ) as channel:
            yield channel


@contextlib.contextmanager
def grpc_world(policy: Policy, state: Path, **facts: Any) -> Iterator[GrpcWorld]:
    """Run a proxy on a loop in a thread, and a gRPC server beside it."""
    started: list[GrpcWorld] = []
    ready, done = threading.Event(), threading.Event()
    failure: list[BaseException] = []

    async def body() -> None:
        async with _running(policy, state, **facts) as found:
            started.append(found)
            ready.set()
            await asyncio.to_thread(done.wait)

    def run() -> None:
        try:
            run_loop(body())
        except BaseException as error:
            failure.append(error)
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        if failure:
            raise failure[0]
        yield started[0]
    finally:
        done.set()
        thread.join()


@contextlib.asynccontextmanager
async def _running(policy: Policy, state: Path, **facts: Any) -> AsyncIterator[GrpcWorld]:
    async with inspecting(policy, state, **facts) as world:
        echo = Echo()
        server, port = served(world.pki, echo)
        world.dns.add(NAME, "A", "127.0.0.1")
        try:
            yield GrpcWorld(world, asyncio.get_running_loop(), echo, port, server)
        finally:
            echo.go.set()
            await asyncio.to_thread(server.stop(None).wait)


def served(pki: trustme.CA, echo: Echo, port: int = 0) -> tuple[Any, int]:
    """Start a gRPC server."""
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((echo.handler(),))
    cert = pki.issue_cert(NAME)
    chain = b"".join(each.bytes() for each in cert.cert_chain_pems)
    found = server.add_secure_port(
        f"127.0.0.1:{port}", grpc.ssl_server_credentials([(cert.private_key_pem.bytes(), chain)])
    )
    server.start()
    return server, found

"""The inspect lane on loopback: a real gate with the real engine, TLS on both legs, and origins that tell what they saw.

async with inspecting(policy(group(rule("allowed.test"), lane=LaneChoice.INSPECT)), tmp_path) as world:
    async with origin(world.server_tls("allowed.test")) as server:
        async with world.tunnel("allowed.test", server.address[1]) as client:
            reply = await client.ask(get("/"))
"""

import asyncio
import contextlib
import gzip
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509

from harness.dns_stub import DnsStub, dns_stub
from harness.gates import LIMITS, Recorder, connect, decision_id, status
from harness.raw import Raw, raw
from harness.waiting import PATIENCE
from outward.config.settings import Limits
from outward.core.addresses import Own
from outward.core.model import Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.dns.resolver import Resolver
from outward.ops.metrics import Metrics
from outward.proxy.ca import Authority
from outward.proxy.dial import Dialer
from outward.proxy.dialect import VendorDenial
from outward.proxy.engine import Engine
from outward.proxy.inspection.governor import Governor, Pass, Tap
from outward.proxy.judge import Judge
from outward.proxy.listener import ProxyListener
from outward.records.events.values import Event


@dataclass
class World:
    """A running gate with its engine, and their witnesses."""

    gate: ProxyListener
    judge: Judge
    engine: Engine
    recorder: Recorder
    dns: DnsStub
    pki: trustme.CA
    authority: Authority

    @property
    def address(self) -> tuple[str, int]:
        return self.gate.address

    @property
    def events(self) -> list[Event]:
        return self.recorder.events

    def errors(self) -> dict[str, float]:
        """Internal errors by place."""
        return {labels[0]: number.value for labels, number in self.judge.metrics.families["errors"].items()}

    def server_tls(self, *names: str) -> ssl.SSLContext:
        """A server's context with a certificate that the proxy trusts."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        self.pki.issue_cert(*names).configure_cert(context)
        return context

    def client_tls(self, alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
        """A client's context that trusts the proxy."""
        context = ssl.create_default_context(cafile=str(self.authority.pem))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    @contextlib.asynccontextmanager
    async def tunnel(
        self, host: str, port: int, *fields: str, sni: str | None = None, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Raw]:
        """A client inside TLS inside a CONNECT."""
        async with raw(self.address) as client:
            await client.send(connect(host, port, *fields))
            assert b" 200 " in await client.head()
            await client.tls(tls or self.client_tls(), host if sni is None else sni)
            yield client


@contextlib.asynccontextmanager
async def inspecting(
    policy: Policy,
    state: Path,
    limits: Limits = LIMITS,
    *,
    crls: Sequence[x509.CertificateRevocationList] = (),
    roots: bytes | None = None,
    governor: Governor | None = None,
    hook_timeout: float = PATIENCE,
) -> AsyncIterator[World]:
    """Run a gate and the real engine under a policy; origins' names are to be added to `world.dns`."""
    recorder, metrics = Recorder(), Metrics()
    judge = Judge(policy, recorder, metrics, Own(), patience=0.0)
    metrics.use_policy(policy)
    pki = trustme.CA()
    trusted = state / "roots.pem"
    trusted.write_bytes(pki.cert_pem.bytes() if roots is None else roots)
    authority = Authority(state / "ca")
    async with dns_stub() as dns:
        dialer = Dialer(Resolver((dns.address,), {}, limits.resolve_timeout), judge, limits, None)
        engine = Engine(judge, dialer, authority, limits, trusted, crls, governor=governor, hook_timeout=hook_timeout)
        await engine.load()
        gate = ProxyListener(judge, dialer, engine, limits)
        await gate.start("127.0.0.1", 0)
        judge.own = replace(judge.own, listeners=frozenset({(ip_address(gate.address[0]), gate.address[1])}))
        try:
            yield World(gate, judge, engine, recorder, dns, pki, authority)
        finally:
            engine.close()
            gate.close()


class PassingGovernor:
    """A governor that reads every body and lets everything through, with a tap where one is given."""

    def __init__(self, tap: Tap | None = None) -> None:
        self.tap = tap

    def dialect(self, *_about: object) -> VendorDenial:
        return VendorDenial()

    def request_needs_body(self, _vendor: str, _head: object) -> bool:
        return True

    def on_request(self, _exchange: object, _body: bytes) -> Pass:
        return Pass()

    def response_tap(self, _exchange: object, _response: object) -> Tap | None:
        return self.tap

    def on_close(self, _exchange: object) -> None:
        return


Handler = Callable[["Seen", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


@dataclass
class Seen:
    """One request as an origin read it."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each.lower() == name]


class WebOrigin:
    """A web server that keeps what it was asked; `answer` replaces its reply.

    Attributes:
        seen: requests, in order.
        accepts: connections accepted so far.
        strays: bytes that were no request.
        handshakes: server names asked for.
    """

    def __init__(self) -> None:
        self.address = ("", 0)
        self.seen: list[Seen] = []
        self.accepts = 0
        self.answer: Handler | None = None
        self.reads_body = True

    @property
    def port(self) -> int:
        return self.address[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepts += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
                pairs = [tuple(each.split(": ", 1)) for each in head[1:]]
                seen = Seen(head[0], pairs)  # type: ignore[arg-type]
                self.seen.append(seen)
                if self.reads_body:
                    seen.body = await _body(seen, reader)
                if self.answer is not None:
                    await self.answer(seen, reader, writer)
                else:
                    writer.write(HELLO)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


async def _body(seen: Seen, reader: asyncio.StreamReader) -> bytes:
    if lengths := seen.all("content-length"):
        return await reader.readexactly(int(lengths[0]))
    if not seen.all("transfer-encoding"):
        return b""
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def replying(data: bytes = HELLO, *, after: asyncio.Event | None = None, close: bool = False) -> Handler:
    """Answer with exactly these bytes, once something has happened where that is said."""

    async def answer(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if after is not None:
            await after.wait()
        writer.write(data)
        if close:
            await writer.drain()
            writer.close()

    return answer


@contextlib.asynccontextmanager
async def web_origin(world: World, *names: str, tls: ssl.SSLContext | bool = True) -> AsyncIterator[WebOrigin]:
    """Run a web server that the names resolve to."""
    subject = WebOrigin()
    context = world.server_tls(*names) if tls is True else tls or None
    server = await asyncio.start_server(subject.serve, "127.0.0.1", 0, ssl=context, limit=2**20)
    subject.address = server.sockets[0].getsockname()[:2]
    for name in names:
        world.dns.add(name, "A", "127.0.0.1")
    try:
        yield subject
    finally:
        server.close()


def get(path: str = "/", host: str = "allowed.test", *fields: str) -> bytes:
    """Return a GET in origin form that closes afterwards."""
    return _lines(f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *fields)


def keep(path: str = "/", host: str = "allowed.test", *fields: str) -> bytes:
    """Return a GET in origin form that leaves the connection open."""
    return _lines(f"GET {path} HTTP/1.1", f"Host: {host}", *fields)


def post(body: bytes, host: str = "allowed.test", *fields: str, path: str = "/") -> bytes:
    """Return a POST with a body."""
    head = _lines(f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *fields)
    return head + body


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


async def response(client: Raw, seconds: float = PATIENCE) -> bytes:
    """Read one response with a Content-Length, or a chunked one."""
    head = await client.head(seconds)
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    if length:
        return head + await client.exactly(int(length[1]), seconds)
    if b"chunked" not in head.lower():
        return head
    async with asyncio.timeout(seconds):
        return head + await client.reader.readuntil(b"0\r\n\r\n")


def squeezed(data: bytes) -> bytes:
    return gzip.compress(data)


def one(world: World, reason: Reason, reply: bytes = b"") -> None:
    """Exactly one denial was recorded, for this reason, and it is the one that the client was told of."""
    denials = [event for event in world.events if event.verdict is Verdict.DENY]
    assert [event.reason for event in denials] == [reason]
    if reply:
        assert decision_id(reply) == denials[0].id
        assert denials[0].status == status(reply)

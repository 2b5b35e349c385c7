"""A dialer without a gate, and a destination on every loopback address that remembers who came."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from outward.config.settings import Limits
from outward.core.addresses import Address, Own
from outward.core.model import Decision
from outward.core.names import Host, canonical_host
from outward.core.policy import Policy
from outward.dns.resolver import Resolver
from outward.ops.metrics import Metrics
from outward.proxy.dial import Dialer, DialError
from outward.proxy.judge import Judge
from outward.records.events.values import Event

LOOPBACK = ("127.0.0.0/8", "::1/128")


class NoRecorder:
    def settle(self, event: Event) -> None:
        pass

    def withdraw(self, _event: Event) -> bool:
        return True

    def record(self, event: Event) -> None:
        raise AssertionError(f"dialling records nothing by itself: {event}")


def dialer(hosts=None, *, servers=(), internal=LOOPBACK, own=None, parent=None, connect_timeout=5.0) -> Dialer:
    pinned = {name: [ip_address(each) for each in addresses] for name, addresses in (hosts or {}).items()}
    policy = Policy(internal=tuple(ip_network(each) for each in internal))
    judge = Judge(policy, NoRecorder(), Metrics(), own or Own())
    # Without servers of a test's own, any query would go to a closed port of loopback.
    resolver = Resolver(servers or (("127.0.0.1", 1),), pinned, 2.0)
    return Dialer(resolver, judge, replace(Limits(), connect_timeout=connect_timeout), parent)


class Origin:
    """Accepts connections on one port of every loopback address, and remembers them and their first bytes."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.heard: list[bytes] = []
        self.answer = b""
        self.closes = False
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(writer.get_extra_info("sockname")[0])
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            if not self.closes:
                self.heard.append(await reader.read())
        writer.close()


@contextlib.asynccontextmanager
async def origin(host: str = "0.0.0.0") -> AsyncIterator[Origin]:
    subject = Origin()
    server = await asyncio.start_server(subject.serve, host, 0)
    subject.port = server.sockets[0].getsockname()[1]
    try:
        yield subject
    finally:
        server.close()


async def open_streams(
    subject: Dialer, name: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Address | None]:
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    transport, protocol, address = await subject.connect(
        canonical_host(name), port, lambda: asyncio.StreamReaderProtocol(reader), Decision()
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop), address


async def refused(subject: Dialer, host: Host, port: int) -> DialError:
    with pytest.raises(DialError) as caught:
        await subject.connect(host, port, asyncio.Protocol, Decision())
    return caught.value

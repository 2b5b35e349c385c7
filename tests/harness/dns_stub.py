"""A name server on loopback that answers from a table, and misbehaves where a test asks it to.

Written with dnspython, so that the proxy's own codec is tested against somebody else's.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class DnsStub(asyncio.DatagramProtocol):
    """The server.

    Attributes:
        address: where it listens, UDP and TCP.
        queries: (name without the final dot, type, transport) of everything that was asked.
        rcodes: response codes by name.
        silent: names that get no answer over UDP; a number counts down to the first answer.
        silent_kinds: (name, type) pairs that get no answer over UDP.
        truncated: names that are answered over TCP only.
        mangle: turns one datagram into those that are sent instead.
        mangle_stream: turns one framed TCP answer into the bytes that are sent instead.
        before_answer: called with each question before its answer is looked up.
    """

    def __init__(self) -> None:
        self.address = ("", 0)
        self.queries: list[tuple[str, str, str]] = []
        self.rcodes: dict[str, dns.rcode.Rcode] = {}
        self.silent: dict[str, float] = {}
        self.silent_kinds: set[tuple[str, str]] = set()
        self.truncated: set[str] = set()
        self.mangle: Callable[[bytes], list[bytes]] = lambda wire: [wire]
        self.mangle_stream: Callable[[bytes], bytes] = lambda framed: framed
        self.before_answer: Callable[[str, str], None] = lambda _name, _kind: None
        self._records: list[dns.rrset.RRset] = []
        self._transport: asyncio.DatagramTransport | None = None

    def add(self, name: str, kind: str, *values: str, ttl: int = 300) -> None:
        """Set the records of a name and type."""
        self._records = [each for each in self._records if (each.name.to_text(), each.rdtype) != _key(name, kind)]
        self._records.append(dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *values))

    def asked(self, name: str) -> list[tuple[str, str]]:
        """Return type and transport of the queries for a name."""
        return [(kind, transport) for asked, kind, transport in self.queries if asked == name]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name, kind = self._note(query, "udp")
        if (name, kind) in self.silent_kinds:
            return
        if self.silent.get(name, 0) > 0:
            self.silent[name] -= 1
            return
        response = self._answer(query)
        if name in self.truncated:
            response = dns.message.make_response(query, recursion_available=True)
            response.flags |= dns.flags.TC
        for wire in self.mangle(response.to_wire(max_size=65535)):
            self._transport.sendto(wire, addr)

    async def serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            query = dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2))))
            self._note(query, "tcp")
            wire = self._answer(query).to_wire(max_size=65535)
            writer.write(self.mangle_stream(len(wire).to_bytes(2) + wire))
            await writer.drain()
        writer.close()

    def _note(self, query: dns.message.Message, transport: str) -> tuple[str, str]:
        question = query.question[0]
        assert question.name.is_absolute()
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.queries.append((name, kind, transport))
        self.before_answer(name, kind)
        return name, kind

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        response.set_rcode(self.rcodes.get(name, dns.rcode.NOERROR))
        owner = question.name
        for _ in range(20):
            response.answer += [each for each in self._records if (each.name, each.rdtype) == (owner, question.rdtype)]
            aliases = [each for each in self._records if (each.name, each.rdtype) == (owner, dns.rdatatype.CNAME)]
            response.answer += aliases
            if not aliases:
                break
            owner = aliases[0][0].target
        return response


def _key(name: str, kind: str) -> tuple[str, dns.rdatatype.RdataType]:
    return f"{name}.", dns.rdatatype.from_text(kind)


@contextlib.asynccontextmanager
async def dns_stub(host: str = "127.0.0.1") -> AsyncIterator[DnsStub]:
    """Run a stub on a port that is free for both UDP and TCP."""
    loop = asyncio.get_running_loop()
    stub = DnsStub()
    while True:
        server = await asyncio.start_server(stub.serve_stream, host, 0)
        stub.address = server.sockets[0].getsockname()[:2]
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(stub.address)
            except OSError:  # somebody has it for UDP
                server.close()
                continue
            transport, _ = await loop.create_datagram_endpoint(lambda: stub, sock=sock.dup())
            break
    try:
        yield stub
    finally:
        transport.close()
        server.close()

"""The internet of the network tests: `canary.py ADDRESS…` answers on every address, and on the first one as name server.

A program of its own, so that it can run in a network namespace. TCP says where it was reached; UDP echoes; on port 53
every question of type A is answered with the first address, any other with nothing.
"""

import asyncio
import socket
import sys

PORTS = (22, 53, 80, 443, 10250)


def answer(query: bytes, address: str) -> bytes:
    """Answer a DNS question (RFC 1035 4)."""
    end = query.index(0, 12) + 5
    is_a = query[end - 4 : end - 2] == b"\x00\x01"
    head = query[:2] + b"\x81\x80\x00\x01" + (b"\x00\x01" if is_a else b"\x00\x00") + bytes(4)
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + socket.inet_aton(address)
    return head + query[12:end] + (record if is_a else b"")


class Datagrams(asyncio.DatagramProtocol):
    """Echoes, or answers questions."""

    def __init__(self, port: int, address: str) -> None:
        self._port, self._address = port, address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answer(data, self._address) if self._port == 53 and len(data) < 512 else data
        self._transport.sendto(reply, addr)  # type: ignore[attr-defined]


async def serve(addresses: list[str]) -> None:
    """Listen everywhere, say so, and stay."""
    loop = asyncio.get_running_loop()

    async def tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(("reached " + writer.get_extra_info("sockname")[0]).encode())
        writer.close()

    for address in addresses:
        for port in PORTS:
            await asyncio.start_server(tcp, address, port)
            await loop.create_datagram_endpoint(
                lambda port=port: Datagrams(port, addresses[0]), local_addr=(address, port)
            )
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))

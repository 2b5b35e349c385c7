"""A minimal HTTP/1.1 client for the demo's chat: through the proxy with TLS inside, or straight to the ops port.

One request per connection, bodies read as they come. It trusts what it is given and nothing else.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

type Address = tuple[str, int]

_TIMEOUT = 30.0  # seconds for a head


@dataclass(slots=True)
class DemoResponse:
    """The head of a response, and where its body comes from."""

    status: int
    fields: Mapping[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, then hang up."""
        try:
            if self.fields.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    yield await self.reader.readexactly(size)
                    await self.reader.readline()
            else:
                yield await self.reader.readexactly(int(self.fields.get("content-length", "0")))
        finally:
            self.writer.close()

    async def json(self) -> Any:
        """Return the body as JSON; None if it is empty."""
        body = b"".join([piece async for piece in self.pieces()])
        return json.loads(body) if body else None


@dataclass(frozen=True, slots=True)
class ThroughProxy:
    """How a conversation's requests reach the internet.

    Attributes:
        proxy: address of the proxy.
        user: Basic username, which names the conversation.
        token: the chat backend's credential.
        tls: trusts the proxy's CA.
    """

    proxy: Address
    user: str
    token: str
    tls: ssl.SSLContext

    async def post(self, host: str, port: int, path: str, body: Mapping[str, Any] | None) -> DemoResponse:
        """Send JSON to a host; without a body it is a GET. A refused CONNECT is the answer."""
        reader, writer = await asyncio.open_connection(*self.proxy)
        secret = base64.b64encode(f"{self.user}:{self.token}".encode()).decode()
        fields = {"Host": f"{host}:{port}", "Proxy-Authorization": f"Basic {secret}"}
        answer = await _exchange((reader, writer), "CONNECT", f"{host}:{port}", fields)
        if answer.status != 200:
            return answer
        await writer.start_tls(self.tls, server_hostname=host)
        inner = {"Host": host if port == 443 else f"{host}:{port}"}
        return await _exchange((reader, writer), "GET" if body is None else "POST", path, inner, body)


async def call(
    address: Address, token: str, method: str, path: str, body: Mapping[str, Any] | None = None
) -> DemoResponse:
    """Send one request to the admin API."""
    reader, writer = await asyncio.open_connection(*address)
    fields = {"Host": "{}:{}".format(*address), "Authorization": f"Bearer {token}", "Accept": "application/json"}
    return await _exchange((reader, writer), method, path, fields, body)


async def _exchange(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    method: str,
    target: str,
    fields: Mapping[str, str],
    body: Mapping[str, Any] | None = None,
) -> DemoResponse:
    reader, writer = connection
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + data)
    async with asyncio.timeout(_TIMEOUT):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *rest = head.strip().split("\r\n")
    pairs = (line.partition(":") for line in rest)
    found = {name.lower(): value.strip() for name, _, value in pairs}
    return DemoResponse(int(status.split()[1]), found, reader, writer)

"""`mitmdump -s addon.py` judges by the same policy: what is allowed passes, what is not is told, recorded once and not sent."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Thread
from typing import Any

import pytest
import trustme

from harness.gates import connect, decision_id, status
from harness.inspection import response
from harness.loops import on_loop
from harness.origins import client_context, origin, server_context
from harness.raw import raw
from harness.waiting import wait_for

ADDON = Path(__file__).parents[2] / "addons" / "outward" / "addon.py"
CONFIG = """
version: 1
upstream:
  internal: [127.0.0.0/8]
  dns: {hosts: {localhost: [127.0.0.1], llm.test: [127.0.0.1], search.test: [127.0.0.1]}}
groups:
  dev:
    allow: [{host: localhost, ports: [%(port)d]}, "llm.test:%(port)d", "search.test:%(port)d"]
    web_search: {enabled: true, opt_in: assumed, unfilterable: verify}
vendors: {llm.test: openai, search.test: brave}
clients:
  - {group: dev, anyone: true}
"""
HEAD = "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nProxy-Authorization: Basic Og==\r\n\r\n"


class Mitmdump:
    """A running mitmdump with the addon."""

    def __init__(self, process: "Popen[bytes]", port: int) -> None:
        self.port = port
        self.events: list[dict[str, Any]] = []
        self._stdout = process.stdout
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stdout or ():
            if line.startswith(b"{"):
                self.events.append(json.loads(line))


@contextmanager
def mitmdump(folder: Path, port: int, trusted: trustme.CA) -> Iterator[Mitmdump]:
    (folder / "outward.yaml").write_text(CONFIG % {"port": port})
    (folder / "roots.pem").write_bytes(trusted.cert_pem.bytes())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mitmdump")), "-q", "-s", str(ADDON), "-p", str(free)]
    options = (
        f"confdir={folder / 'mitm'}",
        f"ssl_verify_upstream_trusted_ca={folder / 'roots.pem'}",
        "listen_host=127.0.0.1",
    )
    command += [part for each in options for part in ("--set", each)]
    with Popen(command, stdout=PIPE, env={**os.environ, "OUTWARD_CONFIG": str(folder / "outward.yaml")}) as process:
        try:
            wait_for(lambda: _listens(free), 50)
            yield Mitmdump(process, free)
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


HANDSHAKE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
SEARCHES = (
    ("POST", "llm.test", "/v1/responses", "Content-Length: 2\r\n", b"{}"),
    ("GET", "llm.test", "/v1/responses/resp_1", "", b""),
    ("GET", "llm.test", "/v1/realtime", HANDSHAKE, b""),
    ("GET", "search.test", "/res/v1/web/search?q=x", "", b""),
    ("GET", "llm.test", "/v1/models", "", b""),
)


async def search(address: tuple[str, int], port: int, method: str, host: str, path: str, more: str, body: bytes) -> int:
    """Send a request to a governed host, in the open, and return the status of the answer."""
    async with raw(address) as client:
        head = f"{method} http://{host}:{port}{path} HTTP/1.1\r\nHost: {host}:{port}\r\n{more}\r\n"
        await client.send(head.encode() + body)
        return status(await client.head(20))


@pytest.mark.slow
@on_loop
async def test_mitmdump_with_the_addon(tmp_path: Path) -> None:
    pki = trustme.CA()
    async with origin(server_context(pki, "localhost")) as server:
        server.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nProxy-Status: x\r\n\r\nok"
        port = server.address[1]
        with mitmdump(tmp_path, port, pki) as proxy:
            await asyncio.to_thread(wait_for, (tmp_path / "mitm" / "mitmproxy-ca-cert.pem").exists, 20)
            address = ("127.0.0.1", proxy.port)
            async with raw(address) as client:
                refused = await client.ask(connect("evil.test"))
            assert status(refused) == 403
            async with raw(address) as client:
                plain = await client.ask(HEAD.format(target="http://evil.test/x", host="evil.test").encode())
            assert status(plain) == 403
            async with raw(address) as client:
                await client.send(connect("localhost", port))
                await client.head(20)
                context = client_context(pki)
                context.load_verify_locations(str(tmp_path / "mitm" / "mitmproxy-ca-cert.pem"))
                await client.tls(context, "localhost")
                await client.send(HEAD.format(target="/y", host=f"localhost:{port}").encode())
                allowed = await response(client, 20)
            assert allowed.endswith(b"ok")
            assert b"Proxy-Status" not in allowed
            assert b"Proxy-Authorization" not in server.bytes
            await asyncio.to_thread(wait_for, lambda: len(proxy.events) == 3, 10)
            assert [each["verdict"] for each in proxy.events] == ["deny", "deny", "allow"]
            assert [each["id"] for each in proxy.events[:2]] == [decision_id(refused), decision_id(plain)]
            answers = [await search(address, port, *asked) for asked in SEARCHES]
            assert answers == [403, 403, 403, 403, 502]  # the last was let through, to an origin that speaks TLS
            await asyncio.to_thread(wait_for, lambda: len(proxy.events) == 8, 10)
            assert {each["reason"] for each in proxy.events[3:7]} == {"web_search_uninspectable"}

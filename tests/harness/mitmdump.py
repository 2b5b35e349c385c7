"""A real `mitmdump -s addon.py` as a process, with origins behind it that its policy knows."""

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import trustme

from harness.inspection import WebOrigin
from harness.loops import until
from harness.ports import free_port
from harness.process import environment, outward
from harness.waiting import PATIENCE, wait_for

ADDON = Path(__file__).parents[2] / "addons" / "outward" / "addon.py"
ADMIN = "an-administrators-secret"


class Mitmdump:
    """A running mitmdump with the addon.

    Attributes:
        config: the policy's file.
        pki: authority of the origins.
        address, ops: where the proxy and the ops port listen.
        events: what was written to standard output.
        process: its own.
    """

    def __init__(
        self, folder: Path, pki: trustme.CA, process: "subprocess.Popen[bytes]", ports: tuple[int, int]
    ) -> None:
        self.config, self.pki = folder / "outward.yaml", pki
        self.address, self.ops = (("127.0.0.1", port) for port in ports)
        self.events: list[dict[str, Any]] = []
        self._folder, self._stdout, self.process = folder, process.stdout, process
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stdout or ():
            if line.startswith(b"{"):
                self.events.append(json.loads(line))

    @property
    def tls(self) -> ssl.SSLContext:
        """What a client trusts that goes through it."""
        context = ssl.create_default_context(cafile=str(self._folder / "mitm" / "mitmproxy-ca-cert.pem"))
        self.pki.configure_trust(context)
        return context

    def http(self, token: str = "", name: str = "chat-1") -> Any:
        """An HTTP client behind it, with credentials."""
        proxy = httpx2.Proxy("http://{}:{}".format(*self.address), auth=(name, token))
        return httpx2.AsyncClient(proxy=proxy, verify=self.tls, timeout=PATIENCE)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
        """Ask the ops port, as an administrator."""
        request = urllib.request.Request(
            "http://{}:{}{}".format(*self.ops, path), method=method, headers={"Authorization": f"Bearer {ADMIN}"}
        )
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    async def asked(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Ask the ops port off the loop, and return what it says as JSON."""
        status, text = await asyncio.to_thread(self.ask, path, method, body)
        return json.loads(text) if status < 300 and text else (status, text)

    async def verb(self, *arguments: str) -> Any:
        """Run a verb of the command line on its records, and return its JSON."""
        done = await asyncio.to_thread(outward, *arguments, "--json", "--config", self.config)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    async def event(self, **facts: Any) -> dict[str, Any]:
        """Return the first event with such facts, once there is one."""

        def found() -> list[dict[str, Any]]:
            return [each for each in list(self.events) if facts.items() <= each.items()]

        await until(found)
        return found()[0]


def command(folder: Path, port: int) -> list[str]:
    """Return the command line, with mitmproxy's own files in a folder."""
    options = ("--set", f"confdir={folder / 'mitm'}", "--set", "listen_host=127.0.0.1")
    return [str(Path(sys.executable).with_name("mitmdump")), "-q", "-s", str(ADDON), "-p", str(port), *options]


@contextlib.asynccontextmanager
async def mitmdump(folder: Path, policy: str, pki: trustme.CA) -> AsyncIterator[Mitmdump]:
    """Run it with a policy: what stands in the file beside the server's and the trust's settings."""
    ports = free_port(), free_port()
    (folder / "roots.pem").write_bytes(pki.cert_pem.bytes())
    (folder / "outward.yaml").write_text(
        f"version: 1\nserver: {{ops: '127.0.0.1:{ports[1]}', state: {folder}/state}}\n{policy}"
    )
    env = environment() | {"OUTWARD_CONFIG": str(folder / "outward.yaml"), "OUTWARD_ADMIN_TOKEN": ADMIN}
    process = subprocess.Popen(command(folder, ports[0]), stdout=subprocess.PIPE, env=env)  # noqa: ASYNC220 - it is there at once
    try:
        running = Mitmdump(folder, pki, process, ports)
        await asyncio.to_thread(wait_for, lambda: process.poll() is not None or running.ask("/readyz")[0] == 200)
        assert process.poll() is None, "mitmdump has ended"
        yield running
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE)


@contextlib.asynccontextmanager
async def web(pki: trustme.CA, *names: str) -> AsyncIterator[WebOrigin]:
    """Run a web server with a certificate for the names, or one that speaks no TLS where there are none."""
    subject, context = WebOrigin(), None
    if names:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki.issue_cert(*names).configure_cert(context)
    server = await asyncio.start_server(subject.serve, "127.0.0.1", 0, ssl=context, limit=2**20)
    subject.address = server.sockets[0].getsockname()[:2]
    try:
        yield subject
    finally:
        server.close()

"""Lends a pod its own name: a small proxy on the loopback that adds the pod's token to what goes to the gateway.

    python identity.py                  beside the agent, as a container of its own that alone has the token
    python identity.py COMMAND [ARG…]   as an entrypoint: the same while COMMAND runs, which gets the proxy variables

The kubelet replaces a projected token before it ends, and variables of a running program cannot change. So the token is
read anew for each connection. Where it cannot be read, nothing goes on. A user name in the client's own proxy URL names
its conversation, and is kept. Requests in the clear are one to a connection, so that each one carries the token.

Variables: IDENTITY_GATEWAY (`http://host:port`, or `https://` with the roots in SSL_CERT_FILE), IDENTITY_TOKEN (file),
IDENTITY_LISTEN (default 127.0.0.1:3128).
"""

import asyncio
import base64
import binascii
import contextlib
import os
import signal
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

TOKEN = "/var/run/secrets/outward/token"  # noqa: S105 - a path
LISTEN = "127.0.0.1:3128"
MOST_HEAD, MOST_TOKEN = 65_536, 16_384  # bytes
PATIENCE = 10.0  # seconds for a head, and for the gateway to be there
_OWN = ("proxy-authorization", "proxy-connection", "connection")
_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FAILED = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"identity: the gateway, or this pod's token, is not there; the log of this container says which\n"
)


def with_token(head: bytes, token: str) -> bytes:
    """Return a request's head with the token as its only proxy credentials."""
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    named = [(field.partition(b":")[0].strip().lower().decode("latin-1"), field) for field in fields]
    user = next((_user(field.partition(b":")[2]) for name, field in named if name == _OWN[0]), "")
    credentials = base64.b64encode(f"{user}:{token}".encode()).decode("ascii")
    kept = [field for name, field in named if name not in _OWN]
    more = [f"Proxy-Authorization: Basic {credentials}".encode()]
    if not line.startswith(b"CONNECT "):  # a WebSocket is one to a connection already
        upgrades = any(name == "connection" and b"upgrade" in field.lower() for name, field in named)
        more.append(b"Connection: Upgrade" if upgrades else b"Connection: close")
    return b"\r\n".join((line, *kept, *more)) + b"\r\n\r\n"


def _user(value: bytes) -> str:
    """Return the user name of Basic credentials (RFC 7617); nothing where there is none."""
    scheme, _, encoded = value.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


class Relay:
    """The small proxy."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Read where the gateway and the token are.

        Raises:
            SystemExit: a variable is missing or wrong.
        """
        gateway = urlsplit(variables.get("IDENTITY_GATEWAY", ""))
        if gateway.scheme not in ("http", "https") or not gateway.hostname:
            sys.exit("identity: IDENTITY_GATEWAY is the URL of the gateway, such as http://10.0.0.7:8080")
        self._gateway = gateway.hostname, gateway.port or 8080
        self._tls = ssl.create_default_context() if gateway.scheme == "https" else None
        self._token = Path(variables.get("IDENTITY_TOKEN", TOKEN))
        host, _, port = variables.get("IDENTITY_LISTEN", LISTEN).rpartition(":")
        self._listen = host.strip("[]"), int(port)

    async def start(self) -> asyncio.Server:
        """Listen."""
        return await asyncio.start_server(self._serve, *self._listen, limit=MOST_HEAD)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                head = with_token(head, self._read_token())
                up_reader, up_writer = await asyncio.open_connection(*self._gateway, ssl=self._tls)
        except (OSError, ValueError, asyncio.LimitOverrunError, asyncio.IncompleteReadError) as error:
            print(f"identity: {type(error).__name__}: {error}"[:200], file=sys.stderr, flush=True)
            writer.write(_FAILED)
            writer.close()
            return
        up_writer.write(head)
        up = asyncio.create_task(_copy(reader, up_writer))
        await _copy(up_reader, writer)
        up.cancel()
        for end in (up_writer, writer):
            end.close()

    def _read_token(self) -> str:
        """Return the token as it is now.

        Raises:
            OSError: there is none.
            ValueError: it is none.
        """
        token = self._token.read_bytes()[: MOST_TOKEN + 1].decode("ascii").strip()
        if not token or len(token) > MOST_TOKEN or any(char <= " " for char in token):
            raise ValueError("the token's file holds none")
        return token


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction to its end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def run(command: list[str], variables: Mapping[str, str]) -> int:
    """Relay for as long as a command runs, and return its status; without one, until TERM."""
    server = await Relay(variables).start()
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    if not command:
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        server.close()
        return 0
    host, port = server.sockets[0].getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    child: asyncio.subprocess.Process | None = None
    early: list[signal.Signals] = []

    def take(number: signal.Signals) -> None:
        if child is None:  # it is being started: what comes now is passed on below
            early.append(number)
        else:
            _pass_on(child, number)

    for number in _PASSED_ON:
        loop.add_signal_handler(number, take, number)
    child = await asyncio.create_subprocess_exec(*command, env={**variables, **dict.fromkeys(_VARIABLES, url)})
    for number in early:
        _pass_on(child, number)
    status = await child.wait()
    return 128 - status if status < 0 else status


def _pass_on(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1:], os.environ)))

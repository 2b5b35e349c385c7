"""Outward as a process of its own, as users run it: a configuration file, a command line, signals, ports."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from harness import watched
from harness.waiting import PATIENCE, wait_for

OUTWARD = Path(sys.executable).with_name("outward")


def environment() -> dict[str, str]:
    """The environment without what would point the command at somebody else's configuration or proxy."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OUTWARD_") and not name.lower().endswith("_proxy")
    }


def processes_of(*command: str) -> list[int]:
    """Return the processes of this machine with a command line."""
    wanted, found = "\0".join(command).encode() + b"\0", []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                if (entry / "cmdline").read_bytes() == wanted:
                    found.append(int(entry.name))
    return found


def outward(*arguments: object, patience: float = PATIENCE, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, with more variables in its environment, and return what it said."""
    return subprocess.run(
        [OUTWARD, *map(str, arguments)],
        env={**environment(), **more},
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )


class Served:
    """A running `outward serve`.

    Attributes:
        config: its configuration file.
        proxy, ops: addresses that it listens on.
        seconds: from the start of the process to the first `200` of `/readyz`.
    """

    def __init__(self, config: Path, context: ssl.SSLContext | None = None, **more: str) -> None:
        """Start it; `context` is for TLS to the ops port, `more` are variables of its environment."""
        self.config, self._context = config, context
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [*watched.command(OUTWARD), "serve", "--config", config, "--log-format", "json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment() | watched.path() | more,
        )
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        streams = (("out", self.process.stdout), ("err", self.process.stderr))
        self._readers = [threading.Thread(target=self._read, args=each, daemon=True) for each in streams]
        for reader in self._readers:
            reader.start()
        self.ops = self._port("ops port")
        self.proxy = self._port("proxy listens")
        wait_for(lambda: self.get("/readyz")[0] == 200)
        self.seconds = time.monotonic() - self._began

    def _read(self, name: str, stream: Any) -> None:
        for line in stream:
            self._lines[name].append(line.decode())

    def _port(self, what: str) -> tuple[str, int]:
        pattern = re.compile(rf"{what}.* on (\S+) port (\d+)")

        def find() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log
            return pattern.search(self.log)

        found = wait_for(find)
        return found[1], int(found[2])

    @property
    def log(self) -> str:
        """What it has logged."""
        return "".join(self._lines["err"])

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that it has written."""
        return [json.loads(line) for line in list(self._lines["out"])]

    def get(self, path: str, token: str | None = None) -> tuple[int, str]:
        """Ask the ops port."""
        if self._context is None:
            connection = http.client.HTTPConnection(*self.ops, timeout=PATIENCE)
        else:
            connection = http.client.HTTPSConnection(*self.ops, timeout=PATIENCE, context=self._context)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def readiness(self) -> dict[str, Any]:
        """Return the readiness detail."""
        return json.loads(self.get("/readyz")[1])

    def metric(self, name: str) -> float | None:
        """Return the value of a metric without labels."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else None

    def metric_sum(self, name: str, label: str) -> float:
        """Return the sum of what a metric counts under a label."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{") and label in line)

    def connect(self, host: str, port: int = 443) -> tuple[socket.socket, str]:
        """Send a CONNECT and return the socket and the head of the answer."""
        sock = socket.create_connection(self.proxy, timeout=PATIENCE)
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and (data := sock.recv(1)):
            head += data
        return sock, head.decode()

    def answer(self, host: str, port: int = 443) -> str:
        """Return the status line of a CONNECT, and hang up."""
        sock, head = self.connect(host, port)
        sock.close()
        return head.partition("\r\n")[0]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the end, and for all that it has said until then, and return the exit status."""
        status = self.process.wait(patience)
        for reader in self._readers:
            reader.join(patience)
        return status

    def end(self) -> None:
        """End it at once, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)


class Echo:
    """An origin on loopback that sends back what it gets; runs in threads, so that tests can be plain functions.

    Attributes:
        reply: what it says instead to whatever it gets, or None.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.accepts = 0
        self.reply: bytes | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self.accepts += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data if self.reply is None else self.reply)
            except OSError:
                pass

    def close(self) -> None:
        """Stop accepting."""
        self._socket.close()

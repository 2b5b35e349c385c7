"""Proxies that share a database: starting them, and refused requests that must all be found in it afterwards."""

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.process import Served
from harness.waiting import PATIENCE
from outward.records.database import open_database

TOKEN = "owt_test-fleet-0123"
_DECISION = re.compile(rb"outward-decision: ([0-9a-f]{32})", re.IGNORECASE)

POLICY = """
version: 1
server: {{listen: "127.0.0.1:0", ops: "127.0.0.1:0", state: "{state}"}}
records: {{url: "{url}"}}
groups:
  acme: {{allow: [docs.example.com], web_search: {{enabled: false}}}}
clients:
  - {{group: acme, anyone: true}}
"""


@contextmanager
def fleet(folder: Path, url: str, size: int) -> Iterator[list[Served]]:
    """Run proxies with one database and a state directory each."""
    running: list[Served] = []
    try:
        for number in range(size):
            own = folder / f"proxy-{number}"
            own.mkdir(parents=True)
            (own / "outward.yaml").write_text(POLICY.format(state=own / "state", url=url))
            running.append(Served(own / "outward.yaml", OUTWARD_ADMIN_TOKEN=TOKEN))
        yield running
    finally:
        for each in running:
            each.end()


def call(served: Served, method: str, path: str, body: dict[str, Any] | None = None) -> int:
    """Ask a proxy's admin API for a change and return the status."""
    connection = http.client.HTTPConnection(*served.ops, timeout=PATIENCE)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        return connection.getresponse().status
    finally:
        connection.close()


class Load:
    """Clients that are refused all the time, at a steady rate.

    Attributes:
        decisions: the ids that they were given, in order.
    """

    def __init__(self, proxy: tuple[str, int], rate: float) -> None:
        self.decisions: list[str] = []
        self._proxy, self._pause = proxy, 1 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += self._pause
            with suppress(TimeoutError):
                self.decisions.append(refused(self._proxy, f"h{len(self.decisions) % 50}.example.org"))

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stop.set()
        self._thread.join(PATIENCE)


def refused(proxy: tuple[str, int], host: str) -> str:
    """Ask for a host that no rule allows and return the decision's id."""
    with socket.create_connection(proxy, timeout=PATIENCE) as sock:
        sock.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and (data := sock.recv(4096)):
            head += data
    found = _DECISION.search(head)
    assert found, head
    return found[1].decode()


def written(url: str, folder: Path) -> set[str]:
    """Return the ids of the events in a database."""
    database = open_database(url, folder)
    try:
        return {row[0] for row in database.execute("SELECT id FROM events")}
    finally:
        database.close()


def seconds_until(condition: Callable[[], object], patience: float = PATIENCE) -> float:
    """Return how long it takes until a condition is true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience, "the condition did not come true in time"
        time.sleep(0.002)
    return time.monotonic() - began

"""A receiver of audit events on loopback: it takes, refuses, hangs, and goes away and comes back."""

import http.server
import json
import ssl
from collections import deque
from typing import Any

from harness.receiver import Receiver


class Sink(Receiver):
    """An HTTP server whose next answers a test chooses; without a choice it answers 200.

    Attributes:
        taken: bodies of events that were answered with 200, in their order, repetitions included.
        requests: headers of every request, and how many events it held.
        refused: statuses by ids of events; a request that holds one of them gets its status.
        answers: status and headers of the next answers; a status of 0 hangs until `release`, and drops the connection.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.taken: list[dict[str, Any]] = []
        self.requests: list[tuple[dict[str, str], int]] = []
        self.refused: dict[str, int] = {}
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        super().__init__(tls)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/audit?source=outward"

    @property
    def ids(self) -> list[str]:
        """The ids of the events that were taken, each once, by their first time."""
        return list(dict.fromkeys(event["id"] for event in self.taken))

    def answer_to(self, request: http.server.BaseHTTPRequestHandler) -> None:
        lines = request.rfile.read(int(request.headers["Content-Length"])).splitlines()
        self.requests.append(({key.lower(): value for key, value in request.headers.items()}, len(lines)))
        status, headers = self.answers.popleft() if self.answers else (200, {})
        status = next(
            (self.refused[i] for i in (json.loads(line).get("id") for line in lines) if i in self.refused), status
        )
        if status == 0:
            self.release.wait(30)
            return
        if status == 200:
            self.taken += [json.loads(line) for line in lines]
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()

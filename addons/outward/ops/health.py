"""Health, readiness and metrics: the part of the ops port that needs no token and shows nobody's traffic."""

import asyncio
import json
from collections.abc import Callable, Mapping

from outward.ops.metrics import Metrics
from outward.ops.server import App
from outward.ops.web import Problem, Request, Response

type Check = Callable[[], str | None]
"""Returns None where all is well, else what is wrong, for people."""


class Health:
    """Answers `/healthz`, `/readyz` and `/metrics`; everything else goes to what is mounted behind it."""

    def __init__(
        self,
        metrics: Metrics,
        checks: Mapping[str, Check],
        mounted: App | None = None,
        notes: Mapping[str, Check] | None = None,
    ) -> None:
        """Prepare.

        Args:
            metrics: what `/metrics` shows.
            checks: by name; the proxy is ready when every one returns None.
            mounted: the administrator's side, or None.
            notes: by name; shown with the checks, but the proxy is ready whatever they say.
        """
        self._metrics = metrics
        self._checks = checks
        self._mounted = mounted
        self._notes = notes or {}
        self._scraping = asyncio.Lock()

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        answer = {"/healthz": self._healthy, "/readyz": self._ready, "/metrics": self._scrape}.get(request.path)
        if answer is None:
            if self._mounted is None:
                raise Problem(404, "there is nothing here")
            return await self._mounted(request)
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "this method has no meaning here", {"Allow": "GET, HEAD"})
        return await answer(request)

    async def _healthy(self, _request: Request) -> Response:
        return Response(200, b'{"status": "ok"}\n')

    async def _ready(self, _request: Request) -> Response:
        """Answer 200 or 503, with each check: `ok` or what is wrong."""
        details = {name: _run(check) or "ok" for name, check in self._checks.items()}
        ready = all(detail == "ok" for detail in details.values())
        details |= {name: _run(note) or "ok" for name, note in self._notes.items()}
        body = json.dumps({"ready": ready, "checks": details}) + "\n"
        return Response(200 if ready else 503, body.encode())

    async def _scrape(self, request: Request) -> Response:
        """Render in a thread: the first scrape imports, and none should hold up traffic.

        One at a time: whoever may scrape needs no token, and must not take all threads from those who judge searches.
        """
        accept = request.header("accept") or ""
        async with self._scraping:
            body, content_type = await asyncio.to_thread(self._metrics.render, accept)
        return Response(200, body, content_type)


def _run(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a check that cannot answer has failed
        return f"the check failed: {type(error).__name__}"

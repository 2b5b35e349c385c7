"""Health, readiness and metrics: the part of the ops port that needs no token and shows nobody's traffic."""

import json
from collections.abc import Callable, Mapping

from outward.ops.metrics import Metrics
from outward.ops.origins import Origins, not_for_this_host
from outward.ops.server import App
from outward.ops.web import OpsRequest, Problem, Response
from outward.threads import Threads

type Check = Callable[[], str | None]
"""Returns None if all is well, else what is wrong, for people."""


MOST = 64  # requests that what is mounted works on
SCRAPES = 32  # that wait for their turn


class Health:
    """Answers `/healthz`, `/readyz` and `/metrics`; everything else goes to what is mounted behind it.

    What is mounted gets a part of the places only: a probe always finds one.
    """

    def __init__(
        self,
        metrics: Metrics,
        checks: Mapping[str, Check],
        mounted: App | None = None,
        notes: Mapping[str, Check] | None = None,
        origins: Callable[[], Origins] = Origins,
    ) -> None:
        """Prepare.

        Args:
            metrics: what `/metrics` shows.
            checks: by name; the proxy is ready when every one returns None.
            mounted: the administrator's side, or None.
            notes: by name; shown with the checks, but the proxy is ready whatever they say.
            origins: returns the addresses whose names metrics and details may be asked by.
        """
        self._metrics = metrics
        self._checks = checks
        self._mounted = mounted
        self._notes = notes or {}
        self._origins = origins
        self._threads = Threads("scrape", 1)  # whoever may scrape needs no token, and gets no more than this one
        self._busy = self._scrapes = 0

    async def __call__(self, request: OpsRequest) -> Response:
        """Answer one request."""
        answer = {"/healthz": self._healthy, "/readyz": self._ready, "/metrics": self._scrape}.get(request.path)
        if answer is None:
            return await self._pass_on(request)
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "this method has no meaning here", {"Allow": "GET, HEAD"})
        return await answer(request)

    async def _pass_on(self, request: OpsRequest) -> Response:
        if self._mounted is None:
            raise Problem(404, "there is nothing here")
        if self._busy >= MOST:
            raise Problem(503, "too many requests are being answered", {"Retry-After": "1"})
        self._busy += 1
        try:
            return await self._mounted(request)
        finally:
            self._busy -= 1

    async def _healthy(self, _request: OpsRequest) -> Response:
        return Response(200, b'{"status": "ok"}\n')

    async def _ready(self, request: OpsRequest) -> Response:
        """Answer 200 or 503, with each check: `ok` or what is wrong, unless another site's page may be asking."""
        details = {name: _run(check) or "ok" for name, check in self._checks.items()}
        ready = all(detail == "ok" for detail in details.values())
        details |= {name: _run(note) or "ok" for name, note in self._notes.items()}
        told = {"checks": details} if self._is_known(request) else {}
        return Response(200 if ready else 503, f"{json.dumps({'ready': ready, **told})}\n".encode())

    def _is_known(self, request: OpsRequest) -> bool:
        return self._origins().knows(request.header("host") or "")

    async def _scrape(self, request: OpsRequest) -> Response:
        """Render in a thread: the first scrape imports, and none should hold up traffic."""
        if not self._is_known(request):
            raise not_for_this_host()  # it names groups
        if self._scrapes >= SCRAPES:
            raise Problem(503, "too many scrapes wait already", {"Retry-After": "1"})
        self._scrapes += 1
        try:
            body, content_type = await self._threads.run(self._metrics.render, request.header("accept") or "")
        finally:
            self._scrapes -= 1
        return Response(200, body, content_type)


def _run(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a check that cannot answer has failed
        return f"the check failed: {type(error).__name__}"

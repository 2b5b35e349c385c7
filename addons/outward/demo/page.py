"""The demo's page: static files, the conversation's toggle, turns as a stream of JSON lines, and what the logs hold.

For one person on this machine: it answers loopback names alone, and refuses what another site's page sends.
"""

import json
import mimetypes
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from outward.core.names import MalformedHostError, parse_authority
from outward.demo.chat import Chat
from outward.demo.small_web import QUESTION
from outward.demo.stage import GROUP, DemoStage
from outward.demo.story import BLOCKED_HOST
from outward.demo.vendors import HOSTS
from outward.ops.web import OpsRequest, Problem, Response, as_json

_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_ROWS = 6


class DemoPage:
    """Answers the browser.

    Args:
        stage: the demo's world.
    """

    def __init__(self, stage: DemoStage) -> None:
        self._stage = stage
        self._number = 41
        self._chat = self._new()

    def _new(self) -> Chat:
        self._number += 1
        return Chat(self._stage, f"chat-{self._number}")

    async def __call__(self, request: OpsRequest) -> Response:
        """Answer one request."""
        _screen(request)
        match request.method, request.path:
            case "GET", "/api/state":
                return as_json(await self._state(request.query().get("vendor", "anthropic")))
            case "POST", "/api/opt-in":
                await self._chat.opt_in(active=request.json().get("active") is True)
                return as_json({"opted_in": self._chat.opted_in})
            case "POST", "/api/new":
                self._chat = self._new()
                return as_json({"conversation": self._chat.name})
            case "POST", "/api/ask":
                return Response(200, self._lines(self._chat, request.json()), "application/jsonl")
            case "GET", path:
                return _static(path)
        raise Problem(405, "this method has no meaning here")

    async def _state(self, vendor: str) -> dict[str, Any]:
        """Return what stands beside the chat."""
        if vendor not in HOSTS:
            raise Problem(400, "there is no such vendor")
        chat = self._chat
        return {
            "conversation": chat.name,
            "group": GROUP,
            "opted_in": chat.opted_in,
            "blocked_host": BLOCKED_HOST,
            "sent": chat.sent(vendor),
            "blocked": (await chat.blocked())[:_ROWS],
            "audit": (await chat.audit())[:_ROWS],
            "policy": self._stage.policy,
        }

    async def _lines(self, chat: Chat, wanted: dict[str, Any]) -> AsyncIterator[bytes]:
        """Yield a turn's events as JSON lines."""
        vendor = wanted.get("vendor")
        if wanted.get("scene") == "blocked_host":
            yield _line(await chat.fetch(BLOCKED_HOST))
        elif vendor in HOSTS:
            question = str(wanted.get("question") or QUESTION)
            async for event in chat.ask(vendor, question, careless=wanted.get("scene") == "careless"):
                yield _line(event)


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _screen(request: OpsRequest) -> None:
    """Refuse foreign names (DNS rebinding) and foreign pages."""
    host = request.header("host") or ""
    try:
        name = parse_authority(host, 80)[0]
    except MalformedHostError as error:
        raise Problem(400, "the Host field cannot be read") from error
    if not (name.name == "localhost" or (name.address is not None and name.address.is_loopback)):
        raise Problem(421, "this page is for this machine")
    if request.header("origin") not in (None, f"http://{host}"):
        raise Problem(403, "this request comes from another page")


def _static(path: str) -> Response:
    name = path.removeprefix("/") or "index.html"
    folder = resources.files("outward.demo").joinpath("static")
    if name not in {entry.name for entry in folder.iterdir()}:
        raise Problem(404, "there is nothing here")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(200, folder.joinpath(name).read_bytes(), f"{kind}; charset=utf-8", dict(_SECURITY))

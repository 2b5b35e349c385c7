"""The entry for `mitmdump -s`, for people who run mitmproxy already: the same service, asked from mitmproxy's hooks.

    OUTWARD_CONFIG=outward.yaml mitmdump -s …/outward/addon.py

Policy, decisions, governance of hosted search, records, metrics, ops port and reload are those of `outward serve`; here
are only mitmproxy's public hooks, each of which denies where it fails. What this mode cannot promise stands in
docs/guides/mitmproxy-addon.md.
"""

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

from mitmproxy import ctx, http, tls
from mitmproxy.connection import Client
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from outward.config.discovery import choose
from outward.config.load import load as load_file  # a module-level `load` would be a hook
from outward.config.loaded import Loaded
from outward.config.render import render_text
from outward.core.model import Decision, Stage
from outward.core.reasons import Reason
from outward.mitmdump.connections import MitmConnection
from outward.mitmdump.messages import request_bytes
from outward.mitmdump.turns import MitmExchange
from outward.proxy.downstream import peer_address
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.judge import refuse
from outward.proxy.question import event_of
from outward.proxy.trust import TrustError, upstream_roots
from outward.search.registry import adapters, governed, vendor_of
from outward.service import Options, Service, StartError

_log = logging.getLogger(__name__)
_TURN = "outward"  # key in a flow's metadata
_HOOK_TIMEOUT = 30.0  # seconds; each wait within a hook has its own, shorter one
_SAFE: dict[str, Any] = {
    "connection_strategy": "lazy",
    "rawtcp": False,
    "http2": False,
    "http3": False,
    "validate_inbound_headers": True,
    "ssl_insecure": False,
    "onboarding": False,
    "stream_large_bodies": None,
    "ignore_hosts": [],
    "allow_hosts": [],
    "tcp_hosts": [],
}


def closed[**P](hook: Callable[P, Coroutine[None, None, None]]) -> Callable[P, Coroutine[None, None, None]]:
    """Make a hook of a flow deny where it fails: mitmproxy would log the exception and go on."""

    @functools.wraps(hook)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            async with asyncio.timeout(_HOOK_TIMEOUT):
                await hook(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - fail closed
            if not isinstance(error, StartError):  # at its start mitmproxy ends where an error is logged
                _log.exception("%s failed: the request is refused", hook.__name__)
            addon, flow = args
            if isinstance(addon, Outward) and isinstance(flow, http.HTTPFlow):
                addon.fail(flow, hook.__name__)

    return guarded


class Outward:
    """The addon.

    Attributes:
        service: judges, governs, records; None until it has started, and until then everything is denied.
    """

    def __init__(self) -> None:
        self.service: Service | None = None
        self._connections: dict[str, MitmConnection] = {}
        self._tasks: set[asyncio.Future[None]] = set()

    # Life ---------------------------------------------------------------------------------------------------------

    def running(self) -> Awaitable[None]:
        """Start the service; mitmproxy waits for it at its own start."""
        return self._spawn(self._start())

    def done(self) -> Awaitable[None] | None:
        """Record what is open, and stop the service; mitmproxy waits for it at its own end."""
        service, self.service = self.service, None
        if service is None:
            return None
        for connection in self._connections.values():
            connection.end()
        self._connections.clear()
        return self._spawn(service.stop())

    async def _start(self) -> None:
        named = os.environ.get("OUTWARD_CONFIG")
        path = choose(Path(named) if named else None, os.environ).base  # what a working tree brings does not count

        def load(before: Loaded | None = None, restless: Collection[str] = ()) -> Loaded:
            return load_file(
                path, vendor_of=vendor_of, adapters=adapters(), governed=governed(), before=before, restless=restless
            )

        try:
            if path is None:
                raise StartError("no configuration: name one in OUTWARD_CONFIG")  # noqa: TRY301 - told like the others
            loaded = load()
            if loaded.settings is None or loaded.policy is None:
                told = render_text(loaded.findings, loaded.sources)
                raise StartError(f"{told}\n{path} has errors")  # noqa: TRY301 - as above
            if loaded.settings.parent_proxy is not None:
                raise StartError("`upstream.proxy` is not carried here: mitmproxy dials by itself")  # noqa: TRY301
            service = Service(loaded, Options(load=load, stdout=sys.stdout.fileno(), carried=self._listeners))
            service.settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            roots = upstream_roots(service.settings.trust, service.settings.state)
            self._set(_SAFE | {"ssl_verify_upstream_trusted_ca": str(roots)})
            await service.start()
        except (StartError, TrustError, OSError) as error:
            print(f"outward: {error}: everything is denied", file=sys.stderr)  # noqa: T201 - `-q` hides the log
            _log.error("%s: everything is denied", error)  # mitmproxy ends for it, if it is starting
        else:
            self.service = service

    def client_connected(self, client: Client) -> None:
        """Take note of a client; only those that speak to an HTTP proxy are carried."""
        if client.proxy_mode.type_name != "regular":
            client.error = "Outward judges mitmproxy's regular mode only"
        elif self.service is not None:
            self._connections[client.id] = MitmConnection(self.service, peer_address(client.peername[0]))

    def client_disconnected(self, client: Client) -> None:
        """Record what a client leaves open."""
        connection = self._connections.pop(client.id, None)
        if connection is not None:
            connection.end()

    # Hooks --------------------------------------------------------------------------------------------------------

    @closed
    async def http_connect(self, flow: http.HTTPFlow) -> None:
        """Judge a CONNECT."""
        connection = self._of(flow)
        exchange = await connection.connect(request_bytes(flow.request, absolute=False))
        turn = flow.metadata[_TURN] = MitmExchange(connection, flow, exchange)
        if connection.tunnel is None:
            await turn.tell()
        else:
            flow.request.host = exchange.request.host.name

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Judge a ClientHello, and pass on unread what need not be seen."""
        connection = self._connections.get(data.context.client.id)
        if connection is not None and connection.hello(data.client_hello.raw_bytes(wrap_in_record=True)):
            data.ignore_connection = True

    @closed
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Judge a request."""
        connection = self._of(flow)
        raw = request_bytes(flow.request, absolute=connection.tunnel is None)
        turn = MitmExchange(connection, flow, connection.request(raw, sealed=flow.request.scheme == "https"))
        flow.metadata[_TURN] = turn
        if flow.error is not None:
            turn.exchange.refuse(Reason.MALFORMED_REQUEST, Stage.REQUEST)  # mitmproxy has refused it, in its own words
        await turn.begin()

    @closed
    async def request(self, flow: http.HTTPFlow) -> None:
        """Let governance judge a request whose body it reads."""
        turn = flow.metadata.get(_TURN)
        if turn is not None and turn.exchange.collected and not turn.exchange.refused:
            await turn.go_on(flow.request.raw_content or b"")

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Let mitmproxy dial what was judged, and nothing else."""
        connection, address = self._connections.get(data.client.id), data.server.address
        data.server.error = "Outward has not judged this address"  # unless the end is reached
        judged = connection.judged.get((address[0], address[1])) if connection and address else None
        if judged is None or address is None or connection is None:
            return
        data.server.address = (judged, address[1])
        if connection.tunnel is not None:
            data.server.sni = connection.tunnel.head.host.name  # what the destination's certificate must name
        data.server.error = None

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """Note why a relayed tunnel leads nowhere."""
        connection = self._connections.get(data.client.id)
        if connection is not None:
            connection.failed(f"the destination: {data.server.error}")

    @closed
    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Judge an answer's head."""
        turn = flow.metadata.get(_TURN)
        if turn is not None and flow.response is not None and not turn.exchange.closed:
            turn.answered(flow.response)

    @closed
    async def response(self, flow: http.HTTPFlow) -> None:
        """Judge an answer that was read as a whole, and record the request."""
        turn = flow.metadata.get(_TURN)
        if turn is not None and flow.response is not None:
            await turn.read(flow.response)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Count a message, and forget it: mitmproxy would keep them all."""
        turn, socket = flow.metadata.get(_TURN), flow.websocket
        if turn is not None and socket is not None:
            turn.exchange.up += sum(len(each.content) for each in socket.messages if each.from_client)
            turn.exchange.down += sum(len(each.content) for each in socket.messages if not each.from_client)
            socket.messages.clear()

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """Record a WebSocket."""
        turn = flow.metadata.get(_TURN)
        if turn is not None:
            turn.exchange.close()

    def error(self, flow: http.HTTPFlow) -> None:
        """Record a request that came to nothing."""
        turn = flow.metadata.get(_TURN)
        if turn is not None and flow.error is not None:
            turn.failed(flow.error.msg)

    def fail(self, flow: http.HTTPFlow, hook: str) -> None:
        """Refuse what a hook has failed on."""
        if self.service is None or flow.client_conn.id not in self._connections:
            told = "Outward has no policy, or does not know this connection: everything is denied\n"
            flow.response = http.Response.make(503, told, {"Connection": "close"})
            return
        self.service.metrics.internal_error("addon")
        if _TURN not in flow.metadata:
            event = refuse(event_of(None, None), Reason.INTERNAL_ERROR, Stage.REQUEST)
            exchange = Exchange(self.service.judge, b"", None, event, Decision())
            flow.metadata[_TURN] = MitmExchange(self._connections[flow.client_conn.id], flow, exchange)
        flow.metadata[_TURN].break_off(hook)

    # Parts --------------------------------------------------------------------------------------------------------

    def _set(self, options: dict[str, Any]) -> None:
        ctx.options.update(**options)  # type: ignore[no-untyped-call] # mitmproxy's options have no types

    def _listeners(self) -> list[tuple[str, int]]:
        server = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call] # nor has the addon manager
        return [(host, port) for host, port, *_ in server.listen_addrs()]

    def _spawn(self, what: Coroutine[None, None, None]) -> "asyncio.Future[None]":
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _of(self, flow: http.HTTPFlow) -> MitmConnection:
        """Return the connection that a flow belongs to.

        Raises:
            StartError: there was no policy when it was opened, or the flow is a replay, which came on none.
        """
        connection = self._connections.get(flow.client_conn.id)
        if connection is None:
            raise StartError("this connection cannot be judged")
        return connection


addons = [Outward()]

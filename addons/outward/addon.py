"""The entry for `mitmdump -s`, for people who run mitmproxy already: the same policy, asked from mitmproxy's own hooks.

    OUTWARD_CONFIG=outward.yaml mitmdump -s …/outward/addon.py

It judges every CONNECT and every request by the same reader and the same decision as `outward serve`, checks the server
name and the address, fails closed, and records on standard output. For development and for trying a policy. What this
mode cannot promise, because mitmproxy and not Outward owns the listener, the parser and the dial:

- The address judged is the address dialled: mitmproxy resolves again when it dials.
- Ambiguous heads never get that far: mitmproxy reads them first, and is more lenient than our reader.
- Denials before the whole upload: mitmproxy buffers a request body before it sends the response that was set.
- Bounds: it limits neither heads nor connections, and has no timeouts for heads and handshakes.
- Tunnels: everything is inspected, whatever `lane` says.
- Hosted search: it is not governed here but refused. Governed hosts get no request body, no WebSocket, and no search or
  retrieval by URL, whatever the group's toggle says; what is left, such as a list of models, passes.
- Reload, metrics, the admin API, and the store of records.
"""

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from mitmproxy import ctx, http, tls
from mitmproxy.connection import Client
from mitmproxy.net.http.http1 import assemble_request_head, read_response_head
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from outward.config.discovery import choose
from outward.config.load import load as load_file  # a module-level `load` would be a hook
from outward.config.settings import Settings
from outward.core.addresses import Address, Own
from outward.core.identity import Identity
from outward.core.model import Decision, Lane, Stage, WebSearch
from outward.core.names import MalformedHostError, canonical_host
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.ops.metrics import Metrics
from outward.parts import resolver_of
from outward.proxy.answer import close_event, line_for
from outward.proxy.denial import denial, denial_status
from outward.proxy.dial import Dialer, DialError
from outward.proxy.fields import HeadError, hop_fields, reply_fields
from outward.proxy.head import Head, Within, parse_head
from outward.proxy.interfaces import own_addresses
from outward.proxy.judge import Judge, refuse
from outward.proxy.question import ask, event_of
from outward.proxy.search_hosts import registry_for
from outward.records.events import Event, as_record, line
from outward.search.govern import Governance, Request
from outward.search.registry import adapters, vendor_of

_log = logging.getLogger(__name__)
_OPEN = "outward"  # key in a flow's metadata: its open event, and when it was asked
_SAFE: dict[str, bool | str] = {
    "connection_strategy": "lazy",
    "rawtcp": False,
    "http2": False,
    "http3": False,
    "validate_inbound_headers": True,
    "ssl_insecure": False,
}


class _Stdout:
    """Writes events as JSON lines; here every denial has one of its own."""

    def settle(self, event: Event) -> None:
        """Leave the event its id."""

    def withdraw(self, event: Event) -> bool:  # noqa: ARG002 - its id is free
        """Forget a challenge that was answered."""
        return True

    def record(self, event: Event) -> None:
        sys.stdout.buffer.write(line(as_record(event)))
        sys.stdout.buffer.flush()


def closed[**P](hook: Callable[P, None]) -> Callable[P, None]:
    """Make a hook of a flow deny where it raises: mitmproxy would log the exception and go on."""

    @functools.wraps(hook)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(*args, **kwargs)
        except Exception:  # noqa: BLE001 - fail closed
            addon, flow = args
            _log.exception("%s failed: the request is refused", hook.__name__)
            if isinstance(addon, Outward) and isinstance(flow, http.HTTPFlow):
                addon.fail(flow)

    return guarded


class Outward:
    """The addon.

    Attributes:
        judge: holds the policy, which is read once, at start; until then everything is denied.
    """

    def __init__(self) -> None:
        self.judge = Judge(Policy(), _Stdout(), Metrics(), Own())
        self._settings = Settings()
        self._decisions: dict[Client, Decision] = {}
        self._tunnels: dict[Client, tuple[Head, Identity]] = {}
        self._mismatched: set[Client] = set()

    # Life ---------------------------------------------------------------------------------------------------------

    def running(self) -> None:
        """Load the policy, and set every option on which the promises rest; without a policy nothing is let through."""
        named = os.environ.get("OUTWARD_CONFIG")
        path = choose(Path(named) if named else None, os.environ).base  # what a working tree brings does not count
        loaded = load_file(path, vendor_of=vendor_of, adapters=adapters())
        if path is None:
            _log.error("no configuration: name one in OUTWARD_CONFIG; everything is denied")
        elif loaded.settings is None or loaded.policy is None:
            _log.error("%s has errors, see `outward check`: everything is denied", path)
        self._settings = loaded.settings or Settings()
        self._set(_SAFE)
        if loaded.policy is not None:
            self.judge.policy = loaded.policy
        self.judge.own = Own(own_addresses(), self._listeners())

    def done(self) -> None:
        """Record what is held back."""
        self.judge.end()

    def client_disconnected(self, client: Client) -> None:
        """Forget a client."""
        self._tunnels.pop(client, None)
        self._decisions.pop(client, None)
        self._mismatched.discard(client)

    # Hooks --------------------------------------------------------------------------------------------------------

    @closed
    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Judge a CONNECT."""
        head = self._judged(flow, self._raw(flow), None)
        if head is not None:
            self._tunnels[flow.client_conn] = head, self._identity(flow, head)
            flow.metadata.pop(_OPEN)
        flow.request.headers.pop("proxy-authorization", None)

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Note a server name that is not the target of the CONNECT; its requests are refused."""
        tunnel, sni = self._tunnels.get(data.context.client), data.client_hello.sni
        try:
            literal = tunnel is not None and tunnel[0].host.address is not None
            same = (literal and sni is None) or (tunnel is not None and canonical_host(sni or "") == tunnel[0].host)
        except MalformedHostError:
            same = False
        if not same:
            self._mismatched.add(data.context.client)

    @closed
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Judge a request, and take off what stays on this hop."""
        tunnel = self._tunnels.get(flow.client_conn)
        within, raw = None, self._raw(flow)
        if tunnel is not None:
            within = Within(tunnel[0].host, tunnel[0].port, 443 if flow.client_conn.tls else 80)
        elif raw.split(b" ", 2)[1].startswith(b"/"):  # mitmproxy has made an absolute target one in origin form
            raw = raw.replace(b" ", f" http://{flow.request.host}:{flow.request.port}".encode("ascii"), 1)
        head = self._judged(flow, raw, within)
        for name in hop_fields(head.fields if head else (), upgrade=head is not None and head.websocket):
            flow.request.headers.pop(name, None)
        flow.request.headers.pop("proxy-authorization", None)
        flow.request.stream = flow.response is None

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Judge the addresses of what is about to be dialled."""
        try:
            host, port = data.server.address or ("", 0)
            decision = self._decisions[data.client]
            await self._dialer.addresses(canonical_host(f"[{host}]" if ":" in host else host), port, decision)
        except DialError as error:
            data.server.error = error.reason.value
        except Exception:  # noqa: BLE001 - fail closed
            _log.exception("server_connect failed: nothing is dialled")
            data.server.error = Reason.INTERNAL_ERROR.value

    @closed
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Stream, and take off what could pass for ours."""
        if flow.response is None or _OPEN not in flow.metadata:
            return
        flow.response.stream = True
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in flow.response.headers.fields]
        for name in reply_fields(fields, upgrade=flow.response.status_code == 101):
            flow.response.headers.pop(name, None)

    def response(self, flow: http.HTTPFlow) -> None:
        """Record a request that was answered."""
        self._close(flow, flow.response.status_code if flow.response else None)

    def error(self, flow: http.HTTPFlow) -> None:
        """Record a request that failed; mitmproxy tells the client in its own words."""
        if _OPEN in flow.metadata:
            event, _ = flow.metadata[_OPEN]
            refuse(event, _reason_of(flow), Stage.ADDRESS)
        self._close(flow, None)

    # mitmproxy's untyped parts ------------------------------------------------------------------------------------

    def _set(self, options: dict[str, bool | str]) -> None:
        ctx.options.update(**options)  # type: ignore[no-untyped-call] # an optmanager has no types

    def _listeners(self) -> frozenset[tuple[Address, int]]:
        server = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call] # nor has the addon manager
        return frozenset((ip_address(host), port) for host, port, *_ in server.listen_addrs())

    def _raw(self, flow: http.HTTPFlow) -> bytes:
        return bytes(assemble_request_head(flow.request))  # type: ignore[no-untyped-call] # nor has the assembler

    # Parts --------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _dialer(self) -> Dialer:
        return Dialer(resolver_of(self._settings), self.judge, self._settings.limits, None)

    def _identity(self, flow: http.HTTPFlow, head: Head | None) -> Identity:
        tunnel = self._tunnels.get(flow.client_conn)
        if tunnel is not None:
            return tunnel[1]
        peer = ip_address(flow.client_conn.peername[0].partition("%")[0])
        return self.judge.who(peer, head.authorization if head else None)

    def _judged(self, flow: http.HTTPFlow, raw: bytes, within: Within | None) -> Head | None:
        """Read and judge a head; return it where it is allowed, with its event left open."""
        scheme = None if raw.startswith(b"CONNECT ") else "https" if flow.client_conn.tls else "http"
        started = asyncio.get_running_loop().time()
        try:
            head = parse_head(raw, self._settings.limits, within)
        except HeadError as error:
            identity = self._identity(flow, error.head)
            event = refuse(event_of(error.head, identity, scheme), error.reason, Stage.REQUEST)
            event.status = error.status
            self._deny(flow, event, started, identity)
            return None
        identity = self._identity(flow, head)
        event, decision = ask(self.judge, head, identity, scheme)
        event.lane = Lane.INSPECT
        if decision.allowed and flow.client_conn in self._mismatched:
            refuse(event, Reason.SNI_MISMATCH, Stage.TLS)
        elif decision.allowed and decision.vendor is not None and self._may_search(head, event, decision.vendor):
            refuse(event, Reason.WEB_SEARCH_UNINSPECTABLE, Stage.SEARCH)
        if not event.verdict:
            self._deny(flow, event, started, identity)
            return None
        self._decisions[flow.client_conn] = decision
        flow.metadata[_OPEN] = event, started
        return head

    def _may_search(self, head: Head, event: Event, vendor: str) -> bool:
        """Tell whether a request to a governed host carries what is not read here, or searches without a body."""
        if head.length != 0:
            return True
        policy, off = self.judge.policy, WebSearch(enabled=False)
        group = policy.groups[event.group or ""]
        path, query, fields = head.path or "/", head.target.partition("?")[2], dict(head.fields)
        asked = Request(vendor, head.host.name, head.method, path, policy, group, off, False, query, fields)
        outcome = Governance(registry_for(self._settings), 0).judge(asked)
        return bool(outcome.deny or outcome.findings or outcome.watched)

    def fail(self, flow: http.HTTPFlow) -> None:
        """Refuse what a hook has failed on."""
        event, started = flow.metadata.pop(_OPEN, None) or (Event(), asyncio.get_running_loop().time())
        self._deny(flow, refuse(event, Reason.INTERNAL_ERROR, Stage.REQUEST), started, None)

    def _deny(self, flow: http.HTTPFlow, event: Event, started: float, identity: Identity | None) -> None:
        challenge = identity is not None and identity.challenge
        event.status = event.status or denial_status(event.reason, challenge=challenge)
        self.judge.settle(event)
        accept = flow.request.headers.get("accept")
        told = denial(
            event, line_for(event, self.judge.policy), accept, challenge=challenge, head=flow.request.method == "HEAD"
        )
        head, _, body = told.partition(b"\r\n\r\n")
        flow.response = read_response_head(head.split(b"\r\n"))
        flow.response.raw_content = body
        close_event(self.judge, event, started)

    def _close(self, flow: http.HTTPFlow, status: int | None) -> None:
        event, started = flow.metadata.pop(_OPEN, (None, 0.0))
        if event is not None:
            event.status = status
            close_event(self.judge, event, started)


def _reason_of(flow: http.HTTPFlow) -> Reason:
    """Return why a flow failed: the refusal of `server_connect`, or the destination."""
    for reason in (
        Reason.ADDRESS_NOT_PUBLIC,
        Reason.DENIED_BY_RULE,
        Reason.LOOP,
        Reason.RESOLVE_FAILED,
        Reason.TIMEOUT,
    ):
        if flow.server_conn.error and flow.server_conn.error.endswith(reason.value):
            return reason
    return Reason.UPSTREAM_FAILED


addons = [Outward()]

"""What opens listeners, and the contexts of TLS to them."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from outward.builders.errors import StartError, reason
from outward.config.settings import Settings, TlsSettings
from outward.ops.metrics import Metrics
from outward.proxy.listener import ProxyListener

if TYPE_CHECKING:
    from ssl import SSLContext


async def bind(what: str, start: Callable[[str, int], Awaitable[None]], at: tuple[str, int]) -> None:
    """Open a listener, or say which one cannot be opened, where, and why.

    Raises:
        StartError: it cannot be opened.
    """
    try:
        await start(*at)
    except OSError as error:
        key = {"proxy": "listen"}.get(what, what)
        where = f"the {what} port cannot be opened on {at[0]} port {at[1]}: {reason(error)}"
        named = f"; `server.{key}` names it" if at[1] else ""  # `run` takes a free port, which no key names
        raise StartError(f"{where}{named}") from error


def transparent_of(gate: ProxyListener) -> Callable[[str, int], Awaitable[None]]:
    """Return what opens the port of redirected connections.

    Raises:
        StartError: this system cannot tell where a redirected connection was going.
    """
    if sys.platform != "linux":
        raise StartError("`server.transparent` needs Linux: no other system tells where a connection was going")
    return gate.start_transparent


def doorway_of(settings: Settings, metrics: Metrics) -> "SSLContext | None":
    """Return the context of TLS to the proxy, where the settings want it, and show when its certificates end.

    Raises:
        StartError: its files cannot be used.
    """
    return _context("server", settings.tls, metrics)


def ops_tls_of(settings: Settings, metrics: Metrics) -> "SSLContext | None":
    """Return the context of TLS to the ops port, where the settings want it, and show when its certificate ends.

    Raises:
        StartError: its files cannot be used.
    """
    return _context("admin", settings.admin.tls, metrics)


def _context(section: str, tls: TlsSettings | None, metrics: Metrics) -> "SSLContext | None":
    if tls is None:
        return None
    from outward.proxy.listener_tls import ends, server_context  # noqa: PLC0415 - few speak TLS to their proxy

    shown = {
        "server": "server_certificate_expiry_timestamp_seconds",
        "admin": "ops_certificate_expiry_timestamp_seconds",
    }
    try:
        context = server_context(tls)
        metrics.set(shown[section], ends(tls.cert, chain=True))
        if tls.client_ca is not None:
            metrics.set("client_ca_expiry_timestamp_seconds", ends(tls.client_ca))
    except (OSError, ValueError) as error:
        raise StartError(f"`{section}.tls` cannot be used: {error}") from error
    return context

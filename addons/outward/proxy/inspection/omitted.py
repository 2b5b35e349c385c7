"""Parts of mitmproxy that are never loaded: what the inspect lane does not carry, or does by itself.

HTTP/2, HTTP/3, QUIC, DNS, and mitmproxy's own HTTP/1, WebSocket and ClientHello code are off. Leaving them out takes
them, and h2, hpack, aioquic and wsproto, out of the process: two thirds of the time that the engine takes to import, 25
of its 30 MiB, and every flaw in them. Whoever would use one gets an exception, and an exception ends the connection.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

OMITTED = (
    "mitmproxy.options",
    "mitmproxy.proxy.layers.dns",
    "mitmproxy.proxy.layers.http._http1",
    "mitmproxy.proxy.layers.http._http2",
    "mitmproxy.proxy.layers.http._http3",
    "mitmproxy.proxy.layers.quic",
    "mitmproxy.proxy.layers.websocket",
    "mitmproxy.tls",
    "mitmproxy.websocket",
    "wsproto",
    "wsproto.handshake",
)


class Omitted:
    """Stands for a class of an omitted module: nothing is one, and none can be made."""

    def __init__(self, *_args: object, **_facts: object) -> None:
        raise RuntimeError("this part of mitmproxy is not loaded")


class _Stub(ModuleType):
    """Stands for an omitted module, or package."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> type[Omitted]:
        if name.startswith("__"):
            raise AttributeError(name)
        return Omitted


@contextmanager
def omitting() -> Iterator[None]:
    """Have stubs in the place of the omitted modules while the engine is imported; loaded ones are left alone."""
    stubs = {name: _Stub(name) for name in OMITTED if name not in sys.modules}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]

"""The options that the engine's layers read, each at its safe value.

Stands in for mitmproxy's Options, whose values addons register and files may change: here nothing can.
"""

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from mitmproxy.options import Options


class _Safe:
    """What `Layer` and its descendants look up; anything else raises, and an exception ends the connection."""

    proxy_debug = False
    connection_strategy = "lazy"
    rawtcp = False
    http2 = False
    http3 = False
    websocket = False
    validate_inbound_headers = True
    ssl_insecure = False
    keep_host_header = True


OPTIONS = cast("Options", _Safe())

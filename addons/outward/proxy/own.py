"""The proxy's own name, `outward.internal`: what is asked of it, before anybody answers (see `desk`)."""

from outward.core.names import OWN_NAME
from outward.http1.head import CLEAR, Head

ROOT = f"http://{OWN_NAME}"
REQUESTS = f"{ROOT}/requests"
ADVICE = f"{ROOT}/ is answered by the proxy itself: ask it as a proxied request in plain HTTP, on port 80."
MOST = 16_384  # bytes of a body: a URL, and a reason in words


def is_ours(head: Head) -> bool:
    """Tell whether a request that a client sends to its proxy is for the proxy itself."""
    return head.host.name == OWN_NAME and head.port == CLEAR and head.path is not None and not head.websocket

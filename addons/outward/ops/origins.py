"""The addresses that the admin page is reached at: what a request's Host may be, and whether TLS lies before it.

No field says whether a request came over TLS. The listener knows, or the operator has listed the address with
`https://`, because something in front ends TLS.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from outward.config.values import web_origin
from outward.core.names import MalformedHostError, is_local_name, parse_authority
from outward.ops.web import OpsRequest, Problem


class Origins:
    """The listed addresses.

    Attributes:
        urls: as browsers write them, the first one the main one.
    """

    def __init__(self, urls: Iterable[str] = ()) -> None:
        self.urls = tuple(urls)
        self._names = frozenset(urlsplit(url).hostname for url in self.urls)

    def knows(self, authority: str) -> bool:
        """Tell whether a Host cannot be a name that an attacker's DNS answers for (DNS rebinding)."""
        try:
            host, _ = parse_authority(authority, 80)
        except MalformedHostError:
            return False
        return host.address is not None or is_local_name(host.name) or host.name in self._names

    def of(self, request: OpsRequest) -> str | None:
        """Return the listed address that a request was sent to, or None."""
        host = request.header("host") or ""
        if set(host) & set("/?#@\\"):  # what follows one is no part of the host, and what stands before it may be none
            return None
        for scheme in ("https",) if request.secure else ("https", "http"):
            try:
                origin = web_origin(f"{scheme}://{host}")
            except ValueError:
                return None
            if origin in self.urls:
                return origin
        return None

    def secure(self, request: OpsRequest) -> bool:
        """Tell whether a request came over TLS, all the way or to something in front that the operator has listed."""
        return request.secure or (self.of(request) or "").startswith("https:")

    def screen(self, request: OpsRequest) -> None:
        """Refuse an unknown name, and secrets in the clear from another machine unless the address is listed.

        Raises:
            Problem: 403 or 421.
        """
        if not (request.header("authorization") or self.knows(request.header("host") or "")):
            raise not_for_this_host()
        if not (request.secure or _is_near(request.peer) or self.of(request)):
            raise Problem(
                403,
                "over plain HTTP this is for this machine alone: set `admin.tls`, or list the address that you use in"
                " `admin.urls`",
            )


def not_for_this_host() -> Problem:
    """Return the answer to a Host that is not known."""
    return Problem(421, "ask by address, or list this name in `admin.urls`")


def _is_near(peer: str) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

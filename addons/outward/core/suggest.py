"""The line that would allow what was blocked. Pure; suggests, never judges whether one should."""

from ipaddress import ip_address

from outward.core.addresses import Own, judge_address
from outward.core.model import DEFAULT_PORTS
from outward.core.reasons import Reason


def suggestion(reason: Reason, host: str, port: int | None, method: str | None = None) -> str | None:
    """Return the entry of a group's `allow` list that would allow a blocked request; None where none would.

    Args:
        reason: why it was blocked.
        host: canonical host name, or an address without brackets.
        port: TCP port.
        method: HTTP method of the request, for `method_not_allowed`.
    """
    if _never_dialled(host):
        return None
    name = f"[{host}]" if ":" in host else host
    if reason in (Reason.NO_RULE, Reason.PORT_NOT_ALLOWED):
        target = name if port is None or port in DEFAULT_PORTS else f"{name}:{port}"
        return f'- "{target}"' if ":" in target else f"- {target}"
    if reason is Reason.METHOD_NOT_ALLOWED and method:
        return f'- {{host: "{name}", methods: [{method}]}}'
    if reason is Reason.NOT_TLS:
        return f'- {{host: "{name}", ports: [{port}], tls: false}}'
    return None


def _never_dialled(host: str) -> bool:
    """Tell whether a host is an address that a rule alone would not open."""
    if ":" not in host and not host[-1:].isdigit():
        return False  # a name; having `ip_address` refuse it is slow
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return judge_address(address, 0, (), Own()) is not None

"""What to do about a denial, and the line that would allow it. Pure; suggests, never judges whether one should."""

from ipaddress import ip_address

from outward.core.addresses import Own, judge_address
from outward.core.model import DEFAULT_PORTS
from outward.core.reasons import MEANINGS, Reason

_RULE_HELPS = (Reason.NO_RULE, Reason.PORT_NOT_ALLOWED)
_CLOSED = "This address is not public. If it is meant to be reached, it needs `upstream.internal` beside an allow line."


def cure(reason: Reason, host: str | None) -> str:
    """Return what to do about a denial: the reason's own cure, unless that is a rule and a rule alone would not help.

    Args:
        reason: why it was blocked.
        host: canonical host name, or an address without brackets.
    """
    if host and reason in _RULE_HELPS and _never_dialled(host):
        return _CLOSED
    return MEANINGS[reason].cure


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
    if reason in _RULE_HELPS:
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

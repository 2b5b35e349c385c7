"""Where a refused CONNECT is answered: at once, or inside TLS. Pure.

Most HTTP libraries take a refused CONNECT for a failed connection, and try again for seconds or a minute, whatever the
answer says. All of them take a 403 inside TLS for final.
"""

from outward.core.identity import Identity
from outward.core.model import Decision, DenyDelivery
from outward.http1.head import Head

_SECURE = frozenset((443, 8443))  # ports where a client that opens a tunnel speaks TLS, and speaks first
_ENDS = ("curl/", "git/", "wget/", "outward")
"""How those begin their User-Agent that name themselves in a CONNECT, end at its refusal and exit with an error."""


def answers_inside(head: Head, decision: Decision, identity: Identity) -> bool:
    """Tell whether a refused CONNECT gets its tunnel all the same, and every request in it the denial.

    Args:
        head: the CONNECT, or a request in the clear, which is answered as it stands.
        decision: about it.
        identity: the client's; nobody who is unknown is answered inside.
    """
    if head.path is not None or identity.refusal is not None:
        return False
    if decision.denial is not DenyDelivery.AUTO:
        return decision.denial is DenyDelivery.INSIDE
    ends = (head.get("user-agent") or "").lower().startswith(_ENDS) or head.get("via") is not None  # another proxy
    return head.port in _SECURE and not ends

"""Who the database is told that we are: credentials that change while connections stand.

Owns what takes a configured URL's place. Everything that connects goes by the URL that it was configured with, and asks
here at each connect; connections that stand are not touched.
"""

from urllib.parse import parse_qsl, urlsplit

_OWN = ("user", "password", "passfile")  # of libpq's keywords, which may stand in the query
_renewed: dict[str, str] = {}


def renew(configured: str, now: str) -> bool:
    """Let connections that are made from now on use another URL's credentials.

    Args:
        configured: the URL that the proxy was started with.
        now: what stands in its place.

    Returns:
        False, and nothing changes, if it names another database, or if there are no credentials to change.
    """
    if configured == now:
        _renewed.pop(configured, None)
        return True
    if not configured.startswith("postgres") or _place(configured) != _place(now):
        return False
    _renewed[configured] = now
    return True


def in_force(configured: str) -> str:
    """Return the URL to connect by."""
    return _renewed.get(configured, configured)


def _place(url: str) -> tuple[object, ...]:
    parts = urlsplit(url)
    more = sorted(pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in _OWN)
    return parts.scheme, parts.netloc.rpartition("@")[2], parts.path, tuple(more)

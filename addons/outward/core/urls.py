"""A URL, or a host with or without a port, as the question that a client would ask."""

from urllib.parse import urlsplit

from outward.core.model import Question
from outward.core.names import MalformedHostError, parse_authority

PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}  # RFC 9110 4.2, RFC 6455 3


def question_of(url: str, group: str, method: str | None = None) -> Question:
    """Return what a client of a group asks when it opens a URL.

    Args:
        url: `https://host/path`, or `host` or `host:port`, which ask for the connection alone.
        group: path of the client's group.
        method: HTTP method; None means GET if the URL has a path, else the connection alone.

    Raises:
        ValueError: with a sentence for the person who wrote the URL.

    Example:
        >>> question_of("https://example.com/a", "dev").method
        'GET'
    """
    parts = urlsplit(url if "://" in url else f"//{url}")
    if parts.scheme and parts.scheme not in PORTS:
        raise ValueError(f"`{parts.scheme}` is not a scheme of the web")
    try:
        host, port = parse_authority(parts.netloc.rpartition("@")[2], PORTS.get(parts.scheme, 443))
    except MalformedHostError as error:
        raise ValueError(f"`{url}`: {error}") from error
    path = parts.path or None
    if method is None and path is not None:
        method = "GET"
    clear = parts.scheme in ("http", "ws")
    method = method.upper() if method else None
    return Question(group, host, port, method, (path or "/") if method else None, clear=clear)

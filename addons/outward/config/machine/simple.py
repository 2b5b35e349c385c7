"""Reading one page of a simple index (PEP 503, PEP 691) for the hosts that its files come from."""

import base64
import json
import ssl
from html.parser import HTMLParser
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import Request, urlopen

_TIMEOUT = 3.0  # seconds, for each wait
_MAX_BYTES = 4 * 1024 * 1024
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_PROJECT = "pip"  # a project that an index of Python packages is certain to have


def linked_urls(index: str, certificates: str | None) -> list[str] | None:
    """Return the addresses that an index's page for pip's own project links to; None if it cannot be read.

    Args:
        index: URL of the index; user and password in it are sent as pip would send them.
        certificates: PEM file that pip is set up to trust instead of the system's.
    """
    parts = urlsplit(index)
    host = parts.netloc.rpartition("@")[2]
    url = urlunsplit((parts.scheme, host, f"{parts.path.rstrip('/')}/{_PROJECT}/", "", ""))
    request = Request(url, headers={"Accept": _ACCEPT})  # noqa: S310 - the caller passes http and https only
    if parts.username:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(secret).decode()}")
    try:
        context = ssl.create_default_context(cafile=certificates)
        with urlopen(request, timeout=_TIMEOUT, context=context) as reply:  # noqa: S310 - see above
            body = reply.read(_MAX_BYTES).decode("utf-8", "replace")
            final, kind = reply.geturl(), reply.headers.get_content_type()
    except (URLError, OSError, ValueError):
        return None
    links = _from_json(body) if kind.endswith("json") else _from_html(body)
    return [final, *{urljoin(final, link) for link in links}]


def _from_json(body: str) -> list[str]:
    try:
        page: Any = json.loads(body)
        return [str(file["url"]) for file in page["files"]]
    except (ValueError, KeyError, TypeError):
        return []


def _from_html(body: str) -> list[str]:
    links = _Links()
    links.feed(body)
    return links.found


class _Links(HTMLParser):
    """Collects the targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one tag."""
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]

"""The registry of governed hosts: which model vendor or search API a host name belongs to, and what its endpoints are.

The hosts stand in the tables; start-up reads no more of them. Never judges a request.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import unquote_to_bytes

from outward.search.surface import DENIALS, Endpoint, EndpointKind, FieldKind, Fields, Routes, Surface
from outward.search.tables import heads, overlaid, surface

# A gateway of one's own has no `/ai` before it.
_PASS_THROUGH = re.compile(r"(?:/ai)?/v1/proxy/([^/]+)", re.IGNORECASE)
_PASSED_TO = {"vertex-ai": "vertex"}  # where GitLab's name for a vendor is not ours
_ODD = re.compile(r"[^!-~]|[%\\?#]|/\.\.?(?=[/;]|$)")  # after decoding: what servers go on to read in different ways
_BODILESS = frozenset({"GET", "HEAD", "DELETE"})
_URL_IN_QUERY = re.compile(r"(?:https?|wss?|ftps?|s3|gs)(?::|%3a)(?:/|%2f|\\|%5c)", re.IGNORECASE)


@cache
def _hosts() -> tuple[dict[str, str], tuple[tuple[str, str], ...], tuple[tuple[re.Pattern[str], str], ...]]:
    """Return the tables' hosts: exact ones, suffixes, patterns."""
    exact: dict[str, str] = {}
    suffixes: list[tuple[str, str]] = []
    patterns: list[tuple[re.Pattern[str], str]] = []
    for name, head in heads().items():
        for host in head.get("hosts") or ():
            if host.startswith("*."):
                suffixes.append((host[1:], name))
            elif "{" in host:
                patterns.append((re.compile(re.escape(host).replace(r"\{\}", r"[a-z0-9-]+")), name))
            else:
                exact[host] = name
    return exact, tuple(suffixes), tuple(patterns)


@lru_cache(maxsize=4096)  # each refusal asks, and clients ask for the same hosts again and again
def vendor_of(host: str) -> str | None:
    """Return the governed vendor that a canonical host name belongs to, or None."""
    exact, suffixes, patterns = _hosts()
    found = exact.get(host)
    if found is not None:
        return found
    for suffix, vendor in suffixes:
        if host.endswith(suffix):
            return vendor
    for pattern, vendor in patterns:
        if pattern.fullmatch(host):
            return vendor
    return None


def adapters() -> frozenset[str]:
    """Return the names that a configuration's `vendors` may give."""
    return frozenset(heads())


def governed() -> tuple[str, ...]:
    """Return a name of each kind of governed host, for the warning about wildcards that reach one from beside it."""
    exact, suffixes, patterns = _hosts()
    return (*exact, *(f"name{suffix}" for suffix, _ in suffixes), *_sample(patterns))


def _sample(patterns: Iterable[tuple[re.Pattern[str], str]]) -> Iterable[str]:
    return (re.sub(r"\[a-z0-9-\]\+", "name", pattern.pattern).replace("\\", "") for pattern, _ in patterns)


def plain_path(raw: str) -> str | None:
    """Return a path as servers route it, escapes decoded and slashes merged; None if they would differ about it.

    Args:
        raw: as in the request, without query.
    """
    path = re.sub("/+", "/", unquote_to_bytes(raw).decode("latin-1"))
    return None if _ODD.search(path) else path


@dataclass(frozen=True, slots=True)
class Valve:
    """What a configuration lets through at one host although no table names it.

    Attributes:
        routes: endpoints, whose bodies are judged all the same.
        tools: tool types that count as the client's own.
        fields: keys under which an address is nothing to be fetched.
        report: whether the unknown passes, and is reported.
    """

    routes: Routes | None = None
    tools: frozenset[str] = frozenset()
    fields: Fields | None = None
    report: bool = False


CLOSED = Valve()


def valve_of(endpoints: Iterable[str], tools: Iterable[str], fields: Iterable[str], *, report: bool) -> Valve:
    """Build a valve from the settings' values."""
    lines = {line: Endpoint(EndpointKind.GOVERNED, "", "unlisted") for line in endpoints}
    keys = dict.fromkeys(fields, (FieldKind.TEXT, ""))
    return Valve(Routes(lines) if lines else None, frozenset(tools), Fields.of(keys) if keys else None, report)


@dataclass(frozen=True, slots=True)
class Registry:
    """The governed hosts of one configuration: the known ones and those that it adds.

    Attributes:
        vendors: names of tables by added host.
        trusted: added hosts whose domain filter is trusted; known hosts always are.
        mcp: formats of search tools by tool name, by MCP host.
        valves: what is let through, by host.
        surfaces: the vendors' surfaces by name, where they are others than the shipped ones.
    """

    vendors: Mapping[str, str] = field(default_factory=dict)
    trusted: frozenset[str] = frozenset()
    mcp: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    valves: Mapping[str, Valve] = field(default_factory=dict)
    surfaces: Mapping[str, Surface] = field(default_factory=dict)

    def vendor_of(self, host: str) -> str | None:
        """Return the governed vendor of a host name; what the configuration says comes first."""
        if host in self.mcp:
            return "mcp"
        return self.vendors.get(host) or vendor_of(host)

    def trusts(self, host: str) -> bool:
        """Tell whether a host is trusted to apply the domain filter of its format; Bedrock has no search with one."""
        known = vendor_of(host)
        return host in self.trusted or (known not in (None, "bedrock") and self.vendors.get(host, known) == known)

    def mcp_tools(self, host: str) -> Mapping[str, str]:
        """Return the formats of a server's search tools by tool name."""
        return self.mcp.get(host) or {}

    def valve(self, host: str) -> Valve:
        """Return what is let through at a host although no table names it."""
        return self.valves.get(host, CLOSED)

    def surface(self, name: str) -> Surface:
        """Return a surface, with what is laid over it."""
        return self.surfaces.get(name) or surface(name)

    def place(self, vendor: str, path: str) -> tuple[Surface, str] | None:
        """Return the surface that a request belongs to, and the path as it sees it; None if that is no vendor's.

        Args:
            vendor: as `vendor_of` named it.
            path: the plain path.
        """
        if vendor == "gitlab":
            match = _PASS_THROUGH.match(path)
            if match is None:
                return None
            named = _PASSED_TO.get(match[1].lower(), match[1].lower())
            if named not in heads() or named in ("gitlab", "mcp"):
                return self.surface("gitlab"), path
            vendor, path = named, path[match.end() :] or "/"
        found = self.surface(vendor)
        while (mounted := found.mounted(path)) is not None:
            found, path = self.surface(mounted[0]), mounted[1]
        return found, path

    def endpoint(self, found: Surface, host: str, method: str, path: str) -> Endpoint | None:
        """Return what an endpoint is; None if nobody knows. The valve opens what no line denies."""
        loose = vendor_of(host) is None
        listed = found.anywhere(method, path) if loose else found.endpoint(method, path)
        routes = self.valve(host).routes
        if listed is not None or routes is None:
            return listed
        opened = routes.find(method, path)
        return None if opened is None else opened._replace(surface=found.name, path=path)


def by_default(found: Surface, method: str, query: str, *, bodied: bool) -> Endpoint | None:
    """Return what an unlisted endpoint is: a plain read or delete is nothing to judge."""
    if found.closed or bodied or method not in _BODILESS or _URL_IN_QUERY.search(query):
        return None
    return Endpoint(EndpointKind.USUAL, found.name)


def why(endpoint: Endpoint) -> tuple[object, str]:
    """Return the reason of a denied endpoint and the sentence for it."""
    return DENIALS[endpoint.why]


def registry_of(
    vendors: Mapping[str, str],
    trusted: Iterable[str],
    mcp: Iterable[tuple[str, Mapping[str, str]]],
    valves: Mapping[str, Valve] | None = None,
    tables: Iterable[Path] = (),
) -> Registry:
    """Build a registry from the settings' values, and read the tables that they lay over the shipped ones.

    Raises:
        TableError: when one of these cannot be read.
    """
    mcp_hosts = {host: dict(tools) for host, tools in mcp}
    folders = tuple(tables)
    surfaces = overlaid(folders) if folders else {}
    return Registry(dict(vendors), frozenset(trusted), mcp_hosts, dict(valves or {}), surfaces)

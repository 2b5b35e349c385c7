"""The registry of governed hosts: which model vendor or search API a host name belongs to.

Names only, so that the policy can be compiled at start-up without loading an adapter. Never judges a request.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

_EXACT: dict[str, str] = {
    "api.anthropic.com": "anthropic",
    "claude.googleapis.com": "anthropic",
    "api.openai.com": "openai",
    "eu.api.openai.com": "openai",
    "us.api.openai.com": "openai",
    "generativelanguage.googleapis.com": "gemini",
    "aiplatform.googleapis.com": "vertex",
    "api.x.ai": "xai",
    "api.perplexity.ai": "perplexity",
    "api.mistral.ai": "mistral",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.groq.com": "groq",
    "openrouter.ai": "openrouter",
    "api.parallel.ai": "parallel",
    "api.fireworks.ai": "fireworks",
    "cloud.gitlab.com": "gitlab",
    "api.tavily.com": "tavily",
    "api.exa.ai": "exa",
    "api.search.brave.com": "brave",
    "google.serper.dev": "serper",
    "scrape.serper.dev": "serper",
    "kagi.com": "kagi",
    "mcp.tavily.com": "mcp",
    "mcp.exa.ai": "mcp",
}
_SUFFIXES: dict[str, str] = {
    ".openai.azure.com": "openai",
    ".cognitiveservices.azure.com": "foundry",
    ".services.ai.azure.com": "foundry",
}
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), vendor)
    for pattern, vendor in (
        (r"[a-z0-9-]+-aiplatform\.googleapis\.com", "vertex"),
        (r"aiplatform\.[a-z0-9-]+\.rep\.googleapis\.com", "vertex"),
        (r"[a-z0-9-]+\.api\.x\.ai", "xai"),
        (r"generativelanguage\.mtls\.googleapis\.com", "gemini"),
        (r"([a-z0-9-]+-)?aiplatform\.mtls\.googleapis\.com", "vertex"),
        (r"bedrock(-agent)?(-runtime)?(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)", "bedrock"),
        (r"bedrock-mantle\.[a-z0-9-]+\.api\.aws", "bedrock"),
        (r"aws-external-anthropic\.[a-z0-9-]+\.api\.aws", "anthropic"),
    )
)
# Names that a configuration's `vendors` may give.
ADAPTERS = frozenset((*_EXACT.values(), *_SUFFIXES.values(), *(vendor for _, vendor in _PATTERNS)))
# A name of each kind, for the warning about wildcards wide enough to reach one from beside it.
GOVERNED = (
    *_EXACT,
    *(f"name{suffix}" for suffix in _SUFFIXES),
    "bedrock-runtime.us-east-1.amazonaws.com",
    "bedrock-runtime.us-east-1.api.aws",
)
_MCP_TOOLS: dict[str, dict[str, str]] = {
    "mcp.tavily.com": dict.fromkeys(
        ("tavily_search", "tavily_extract", "tavily_crawl", "tavily_map", "tavily_research"), "tavily"
    ),
    "mcp.exa.ai": dict.fromkeys(
        ("web_search_exa", "web_search_advanced_exa", "web_fetch_exa", "crawling_exa", "get_code_context_exa"), "exa"
    ),
}
# A gateway of one's own has no `/ai` before it.
_PASS_THROUGH = re.compile(r"(?:/ai)?/v1/proxy/([^/]+)", re.IGNORECASE)
_ODD = re.compile(r"[^!-~]|[%\\?#]|/\.\.?(?=[/;]|$)")  # after decoding: what servers go on to read in different ways
_VENDOR_PATHS: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {
    "vertex": (
        (re.compile(r"/publishers/anthropic/"), "anthropic"),
        (re.compile(r"/publishers/mistralai/"), "mistral"),
    ),
    "foundry": (
        (re.compile(r"^/anthropic/"), "anthropic"),
        (re.compile(r"^/(openai|models)/"), "openai"),
    ),
    "bedrock": ((re.compile(r"^/(openai/)?v1/(responses|chat/completions)"), "openai"),),
}
_DEFAULT = {"vertex": "gemini", "foundry": "openai"}
_PASSED_TO = {"vertex-ai": "vertex"}  # where GitLab's name for a vendor is not ours


@dataclass(frozen=True, slots=True)
class Adapted:
    """Which adapter reads a request, and at which path the vendor itself would see it."""

    adapter: str
    path: str


def vendor_of(host: str) -> str | None:
    """Return the governed vendor that a canonical host name belongs to, or None."""
    found = _EXACT.get(host)
    if found is not None:
        return found
    for suffix, vendor in _SUFFIXES.items():
        if host.endswith(suffix):
            return vendor
    for pattern, vendor in _PATTERNS:
        if pattern.fullmatch(host):
            return vendor
    return None


def plain_path(raw: str) -> str | None:
    """Return a path as servers route it, escapes decoded and slashes merged; None where they would differ about it.

    Args:
        raw: as in the request, without query.
    """
    path = re.sub("/+", "/", unquote_to_bytes(raw).decode("latin-1"))
    return None if _ODD.search(path) else path


def adapter_for(vendor: str, path: str) -> Adapted | None:
    """Return the adapter for a request to a governed host; None where the path belongs to no vendor.

    Args:
        vendor: as `vendor_of` named it.
        path: the plain path.
    """
    if vendor == "gitlab":
        match = _PASS_THROUGH.match(path)
        if match is None:
            return None
        named = _PASSED_TO.get(match[1].lower(), match[1].lower())
        if named not in ADAPTERS or named in ("gitlab", "mcp"):
            return Adapted("gitlab", path)
        vendor, path = named, path[match.end() :] or "/"
    for pattern, adapter in _VENDOR_PATHS.get(vendor, ()):
        if pattern.search(path):
            return Adapted(adapter, path)
    return Adapted(_DEFAULT.get(vendor, vendor), path)


@dataclass(frozen=True, slots=True)
class Registry:
    """The governed hosts of one configuration: the known ones and those that it adds.

    Attributes:
        vendors: adapter names by added host.
        trusted: added hosts whose domain filter is trusted; known hosts always are.
        mcp: formats of search tools by tool name, by MCP host.
    """

    vendors: Mapping[str, str] = field(default_factory=dict)
    trusted: frozenset[str] = frozenset()
    mcp: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def vendor_of(self, host: str) -> str | None:
        """Return the governed vendor of a host name; what the configuration says comes first."""
        if host in self.mcp:
            return "mcp"
        return self.vendors.get(host) or vendor_of(host)

    def trusts(self, host: str) -> bool:
        """Tell whether a host is trusted to apply the domain filter of its format; Bedrock has no search with one."""
        return host in self.trusted or (host not in self.vendors and vendor_of(host) not in (None, "bedrock"))

    def mcp_tools(self, host: str) -> Mapping[str, str]:
        """Return the formats of a server's search tools by tool name."""
        return self.mcp.get(host) or _MCP_TOOLS.get(host, {})


def registry_of(
    vendors: Mapping[str, str], trusted: Iterable[str], mcp: Iterable[tuple[str, Mapping[str, str]]]
) -> Registry:
    """Build a registry from the settings' values."""
    return Registry(dict(vendors), frozenset(trusted), {host: dict(tools) for host, tools in mcp})

"""One module per vendor, each with an `ADAPTER`; loaded when the first request to that vendor comes."""

from functools import cache
from importlib import import_module

from outward.search.adapter import Adapter

# Adapters by name. A vendor that is added gets a table of its surface, a module here and a table of cases.
NAMES = (
    "anthropic",
    "openai",
    "gemini",
    "bedrock",
    "xai",
    "perplexity",
    "mistral",
    "cohere",
    "groq",
    "openrouter",
    "parallel",
    "fireworks",
    "tavily",
    "exa",
    "brave",
    "serper",
    "kagi",
    "mcp",
    "gitlab",
    "compatible",
    "firecrawl",
)


@cache
def load(name: str) -> Adapter:
    """Return the adapter of a vendor.

    Raises:
        LookupError: when there is none of that name.
    """
    if name not in NAMES:
        raise LookupError(name)
    adapter: Adapter = import_module(f"{__name__}.{name}").ADAPTER
    return adapter

"""Client libraries that take seconds to import: each process collects all tests, and runs few of these."""

import importlib
from typing import Any


class Late:
    """A module that is imported when its first attribute is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest looks for its marks at whatever a file holds
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)


anthropic = Late("anthropic")
genai, types = Late("google.genai"), Late("google.genai.types")
mcp, mcp_http = Late("mcp"), Late("mcp.client.streamable_http")
openai = Late("openai")

"""Fireworks: the Responses format with the client's own tools and MCP servers; no search of its own."""

import re
from typing import ClassVar

from outward.search.vendors.openai import OpenAI


class Fireworks(OpenAI):
    """The adapter."""

    name = "fireworks"
    original: ClassVar[bool] = False
    searches: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    harmless: ClassVar[frozenset[str]] = frozenset({"function", "custom"})
    languages: ClassVar = {}


ADAPTER = Fireworks()

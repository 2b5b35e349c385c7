"""Fireworks: OpenAI's formats with the client's own tools and MCP servers; no search of its own."""

from typing import ClassVar

from outward.search.vendors.openai import OpenAI


class Fireworks(OpenAI):
    """The adapter."""

    name = "fireworks"
    original: ClassVar[bool] = False
    languages: ClassVar = {}


ADAPTER = Fireworks()

"""The OpenAI-compatible paths of vendors that have formats of their own: the client's functions, and little else."""

from typing import ClassVar

from outward.search.adapter import Json
from outward.search.request import GovernedRequest
from outward.search.vendors.openai import OpenAI


class Compatible(OpenAI):
    """The adapter."""

    name = "compatible"
    original: ClassVar[bool] = False
    languages: ClassVar = {}

    def search_tool(self, turn: GovernedRequest, tool: Json, kind: str) -> Json | None:
        """Return a search tool where it can be judged by what it finds: no filter there is documented."""
        return tool if turn.unfilterable(kind) else None


ADAPTER = Compatible()

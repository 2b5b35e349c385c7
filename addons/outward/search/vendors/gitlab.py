"""GitLab's pass-through to a vendor that is not known here: nothing passes that may hold tools."""

from outward.search.adapter import Plain, unknown_endpoint
from outward.search.turn import Turn


class GitLab(Plain):
    """The adapter."""

    name = "gitlab"

    def govern(self, turn: Turn) -> None:
        """Judge a request of any endpoint."""
        unknown_endpoint(turn)


ADAPTER = GitLab()

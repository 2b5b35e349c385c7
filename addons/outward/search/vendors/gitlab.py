"""GitLab's pass-through to a vendor that is not known here: its table names no endpoint, so nothing passes."""

from outward.search.adapter import Plain


class GitLab(Plain):
    """The adapter."""

    name = "gitlab"


ADAPTER = GitLab()

"""What administrators and developers allow at run time: the toggles of groups and the opt-ins of conversations."""

from collections.abc import Callable
from typing import Protocol

from outward.core.model import WebSearch
from outward.core.policy import Policy


class Consent(Protocol):
    """What administrators and developers allow at run time."""

    def web_search(self, group: str) -> WebSearch:
        """Return a group's search settings in force."""

    def opted_in(self, group: str, conversation: str | None, credential: str) -> bool:
        """Tell whether a conversation has opted in."""


class FileConsent:
    """Consent where nothing can be set at run time: what the file says, and nobody has opted in.

    Args:
        policy: returns the policy in force.
    """

    def __init__(self, policy: Callable[[], Policy]) -> None:
        self._policy = policy

    def web_search(self, group: str) -> WebSearch:
        """Return the file's settings."""
        known = self._policy().groups.get(group)
        return WebSearch() if known is None else known.web_search

    def opted_in(self, group: str, conversation: str | None, credential: str) -> bool:
        """Return False."""
        del group, conversation, credential
        return False

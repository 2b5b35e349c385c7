"""The web-search toggle as it is in force: what was set at run time over what the file says. Pure.

The nearest explicit value wins, a run-time value counting as written at its group; a lock in the file beats every value
at or below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from outward.core.model import WebSearch
from outward.core.policy import Group, Policy


@dataclass(frozen=True, slots=True)
class Toggle:
    """A value set at run time.

    Attributes:
        enabled: the value.
        actor: who set it: the name of a token, or a user of the command line.
        time: Unix time in seconds when it was set.
    """

    enabled: bool
    actor: str = ""
    time: float = 0.0


def effective(policy: Policy, path: str, toggles: Mapping[str, Toggle]) -> WebSearch:
    """Return the web-search settings in force for a group; a group that does not exist has none.

    Example:
        >>> effective(policy(), "dev", {"dev": Toggle(enabled=True)}).enabled
        True
    """
    group = policy.groups.get(path)
    if group is None:
        return WebSearch()
    settings = group.web_search
    for node in group.chain:
        if is_settable(node) and node.path in toggles:
            return replace(settings, enabled=toggles[node.path].enabled, decided_by=node.path)
        if node.path == settings.decided_by:
            break
    return settings


def is_settable(group: Group) -> bool:
    """Tell whether the file leaves a group's toggle open: neither it nor an ancestor is locked.

    Example:
        >>> is_settable(Group("dev", web_search=WebSearch(locked_by="dev")))
        False
    """
    return group.web_search.locked_by is None

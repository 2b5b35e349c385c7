"""What this machine's package managers are set up to use."""

from collections.abc import Callable, Mapping

from outward.config.sets import Hosts


def discoveries(env: Mapping[str, str]) -> Mapping[str, Callable[[], Hosts]]:
    """Return the discovery of each package manager, by the name of its set."""
    return {}

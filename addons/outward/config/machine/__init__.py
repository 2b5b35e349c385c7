"""`@pip`, `@npm`, `@apt`: the hosts that this machine's package managers are set up to use.

Asked of the tools and their configuration files at load, so that a company's mirror works without being spelled out and
no registry's host is written down anywhere in the project. Every question has a timeout, and an answer that counts as
long as what decided it stays the same; a tool that is missing or cannot be asked yields an empty set and a warning,
never an error and never a guess.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from outward.config.machine.apt import apt_hosts
from outward.config.machine.memory import Memory
from outward.config.machine.npm import npm_hosts
from outward.config.machine.pip import pip_hosts
from outward.config.sets import Hosts

Machine = Mapping[str, Callable[[], Hosts]]


def discoveries(env: Mapping[str, str], root: Path = Path("/")) -> Machine:
    """Return the discovery of each package manager, by the name of its set.

    Args:
        env: the environment that the tools run with.
        root: where system-wide configuration lies.
    """
    memory = Memory.of(env)
    return {
        "pip": partial(pip_hosts, env, memory),
        "npm": partial(npm_hosts, env, memory),
        "apt": partial(apt_hosts, root),
    }

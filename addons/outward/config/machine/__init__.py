"""`@pip`, `@npm`, `@apt`: the hosts that this machine's package managers are set up to use.

Read at load from their configuration files and the environment. So a company's mirror works without a word about it,
and the project names no registry's host. A manager's default registry is read from its own program text. No tool is
run, and nothing counts that lies in the working tree: what is there may be somebody else's. What is missing yields an
empty set and a warning, never an error and never a guess.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from outward.config.discovery import Tree, working_tree
from outward.config.machine.apt import apt_hosts
from outward.config.machine.authorities import authorities
from outward.config.machine.npm import npm_hosts
from outward.config.machine.pip import pip_hosts
from outward.config.machine.surroundings import Surroundings
from outward.config.sets import Hosts

Machine = Mapping[str, Callable[[], Hosts]]


def trusted_files(env: Mapping[str, str], root: Path = Path("/"), tree: Tree | None = None) -> tuple[Path, ...]:
    """Return the files of roots that the user's tools are set up to trust; arguments as for `discoveries`."""
    return authorities(Surroundings(env, root, tree or working_tree()))


def discoveries(env: Mapping[str, str], root: Path = Path("/"), tree: Tree | None = None) -> Machine:
    """Return the discovery of each package manager, by the name of its set.

    Args:
        env: the user's environment.
        root: where system-wide configuration lies.
        tree: the working tree; None means that of the working folder.
    """
    around = Surroundings(env, root, tree or working_tree())
    return {
        "pip": partial(pip_hosts, around),
        "npm": partial(npm_hosts, around),
        "apt": partial(apt_hosts, root),
    }

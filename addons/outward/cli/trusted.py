"""What the caller's tools trusted before they are led through the proxy: it must not be lost, here nor beyond."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from outward.cli.environment import TRUSTED_BEFORE
from outward.config.discovery import working_tree
from outward.config.machine import trusted_files
from outward.config.roots import problem_in_roots
from outward.files import MIB, read_regular

_MOST = 16 * MIB


def trusted_before(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files of roots that variables and the user's own configuration of tools name."""
    named = (Path(env[name]) for name in TRUSTED_BEFORE if env.get(name))
    return tuple(dict.fromkeys((*named, *trusted_files(env))))


def usable(files: Iterable[Path], env: Mapping[str, str]) -> Iterator[str]:
    """Yield those files that a proxy can trust beside the system's roots, which `SSL_CERT_FILE` is one of.

    What lies in the working tree may be somebody else's. One that tools could not use either keeps none from starting.
    """
    tree = working_tree()
    for path in files:
        if tree.holds(path) or str(path) == env.get("SSL_CERT_FILE"):
            continue
        try:
            data = read_regular(path, _MOST)
        except OSError:
            continue
        if problem_in_roots(data) is None:
            yield str(path.absolute())

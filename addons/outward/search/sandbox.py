"""The network of a machine at the vendor: the group's own allowlist, in whatever dialect the request says it."""

from collections.abc import Iterable

from outward.search.narrowing import parse_entry
from outward.search.scope import Scope


def reachable(scope: Scope, asked: Iterable[object] | None, *, wildcards: bool) -> list[str]:
    """Return what a machine may reach: what is asked for and the group may connect to, sorted.

    Args:
        scope: of the group.
        asked: hosts, `*.h` for all below h, and `*` for everything; None asks for everything.
        wildcards: whether the vendor's list can say `*.h`.
    """
    entries = ["*"] if asked is None else list(asked)
    found = {name for entry in entries for name in (scope.machines if entry == "*" else _one(scope, entry))}
    return sorted(name for name in found if wildcards or not name.startswith("*."))


def _one(scope: Scope, entry: object) -> tuple[str, ...]:
    """Return an entry that the group may reach, in its canonical form; nothing for any other."""
    wild = isinstance(entry, str) and entry.startswith("*.")
    try:
        host, path = parse_entry(entry[2:] if wild and isinstance(entry, str) else entry)
    except (TypeError, ValueError):
        return ()
    if path:
        return ()
    if wild:
        return (f"*.{host}",) if scope.below(host) else ()
    return (host,) if scope.reach(f"https://{host}/").permitted else ()

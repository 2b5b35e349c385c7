"""What a group makes at a vendor: machines with a network, and conversations that may search.

A machine gets the group's own allowlist, in whatever dialect the request says it. What a group made through the proxy
is known by its id on later turns, with what it was given.
"""

from collections.abc import Iterable, Mapping, Sequence

from outward.core.reasons import Reason
from outward.search.evidence import SearchEvidence
from outward.search.machines import Machine
from outward.search.narrowing import parse_entry
from outward.search.request import GovernedRequest
from outward.search.scope import Scope
from outward.search.tools import Action, SearchTool, UngovernableError

_THREAD = "thread "  # before the id of a conversation that the vendor keeps: no machine's begins so


def limited(turn: GovernedRequest, what: str, asked: Sequence[object] | None, *, wildcards: bool) -> list[str]:
    """Return the network of a machine at the vendor, and note what was sent; an empty one is no network.

    Args:
        turn: the request.
        what: the vendor's name of the machine.
        asked: the hosts that the request names; None asks for all that the group may reach.
        wildcards: whether the vendor's list can say `*.h`.
    """
    names = reachable(turn.scope, asked, wildcards=wildcards)
    wanted = None if asked is None else tuple(str(entry)[:255] for entry in asked)
    action = Action.ALLOWED if wanted is not None and set(names) == set(wanted) else Action.NARROWED
    turn.sandboxes.append(SearchTool(what, action, requested=wanted, effective=tuple(names)))
    return names


def existing(turn: GovernedRequest, what: str, ident: object) -> None:
    """Let a machine pass that this group made through the proxy, with a network that it may still have.

    Args:
        turn: the request.
        what: the vendor's name of the machine.
        ident: its id, as the request says it.

    Raises:
        RefusedError: for any other; its network cannot be seen.
    """
    network = _known(turn, what, ident, "the network of")
    if reachable(turn.scope, network, wildcards=True) != sorted(network):
        turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, f"this {what} may reach more than its group may by now", what)
    turn.sandboxes.append(SearchTool(what, Action.ALLOWED, effective=network))


def thread(turn: GovernedRequest, ident: object) -> tuple[str, ...]:
    """Return the sources that a conversation which the vendor keeps may search; none where it does not search.

    Raises:
        RefusedError: for one that this group did not begin through the proxy.
    """
    return _known(turn, "thread", f"{_THREAD}{ident}" if isinstance(ident, str) else None, "what is in")


def made(turn: GovernedRequest, seen: SearchEvidence) -> Mapping[str, tuple[str, ...]]:
    """Return what an answer shows that its request made at the vendor: by its id, what it may reach or search."""
    network = tuple(sorted({name for each in turn.sandboxes for name in each.effective or ()}))
    found = dict.fromkeys(seen.machines if turn.sandboxes else (), network)
    if turn.holds and (turn.effective or not turn.searching):
        found |= dict.fromkeys((_THREAD + ident for ident in seen.threads), turn.effective or ())
    return found


def _known(turn: GovernedRequest, what: str, ident: object, unseen: str) -> tuple[str, ...]:
    machine = Machine(turn.owner, turn.call.host, ident if isinstance(ident, str) else "")
    network = turn.machines.network(machine)
    if network is None:
        detail = f"{unseen} an existing {what} cannot be seen, unless this group made it through the proxy"
        raise UngovernableError(Reason.WEB_SEARCH_UNINSPECTABLE, detail, what, machine=machine)
    return network


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
    return (host,) if scope.opens(host) else ()

"""Ports of this machine's localhost that a jailed command reaches: the rules that allow them, and nothing else."""

from collections.abc import Iterable, Iterator

from outward.core.addresses import Network
from outward.core.entries import exactly, single
from outward.core.model import Place, Rule
from outward.core.names import Host, canonical_host

_HOSTS: tuple[Host, ...] = tuple(map(canonical_host, ("localhost", "127.0.0.1", "[::1]")))
_ADDRESSES: tuple[Network, ...] = tuple(single(host.address) for host in _HOSTS if host.address is not None)


def localhost_rules(port: int, place: Place) -> Iterator[Rule]:
    """Yield the rules for a port, one for each name that programs give this machine; they tunnel whatever is spoken.

    Args:
        port: TCP port.
        place: where somebody opened it.
    """
    for host in _HOSTS:
        yield Rule(exactly(host), place, frozenset({port}), tls=False, addresses=_ADDRESSES)


def localhost_ports(rules: Iterable[Rule]) -> dict[int, Place]:
    """Return the ports that such rules open, with the place of each."""
    return {port: rule.place for rule in rules for port in rule.ports or ()}

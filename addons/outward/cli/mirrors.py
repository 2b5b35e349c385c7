"""The addresses of this machine's own package indexes, where they are not public.

A company's mirror has a private address, which a policy must open before it is dialled. Without a configuration nobody
could do so; what is opened here is single addresses of hosts that the machine's own set-up names. The judge still
refuses metadata services, loopback and the proxy itself, whatever a name resolves to.
"""

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from outward.core.addresses import Address, Network, is_loopback
from outward.core.model import Decision
from outward.core.names import Host, MalformedHostError, canonical_host
from outward.core.reasons import Reason
from outward.dns.resolver import ResolveError, Resolver
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge

PATIENCE = 2.0  # seconds for all names together; a mirror that takes longer is not opened


async def internal_mirrors(
    dialer: Dialer, judge: Judge, discovered: Mapping[str, Iterable[str]]
) -> tuple[Network, ...]:
    """Resolve the hosts of the machine's package managers and return their non-public addresses as networks.

    Names that a parent proxy resolves are not asked for.
    """
    hosts = {host for entries in discovered.values() for entry in entries if (host := _host(entry))}
    names = sorted(host.name for host in hosts if dialer.parent_of(host, 443) is None)
    asked = [asyncio.ensure_future(_resolve(dialer.resolver, name)) for name in names]
    if not asked:
        return ()
    done, late = await asyncio.wait(asked, timeout=PATIENCE)
    for task in late:
        task.cancel()
    found = {address for task in done for address in task.result()}
    closed = (
        address
        for address in found
        if not is_loopback(address) and judge.address(address, 443, Decision())[0] is Reason.ADDRESS_NOT_PUBLIC
    )
    return tuple(ip_network(address) for address in closed)


def _host(entry: str) -> Host | None:
    """Return the host of an entry; None for an address, a wildcard, or what is no host."""
    host, _, port = entry.rpartition(":")
    try:
        found = canonical_host(host if host and port.isdecimal() else entry)
    except MalformedHostError:
        return None
    return None if found.address is not None else found


async def _resolve(resolver: Resolver, name: str) -> tuple[Address, ...]:
    try:
        return await resolver.resolve(name)
    except ResolveError:
        return ()

"""Special-purpose addresses: which addresses the proxy may dial.

Owns the table of ranges and the judgement of one parsed address. Python's `is_global` is not used: it is wrong for
mapped, translated and multicast forms and differs between versions. Never resolves, never dials.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (2025-10), RFC 4291, 6052, 8215, 3056, 4380, 9602, and
the metadata services as their clouds document them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

_SPECIAL: dict[str, str] = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "IETF protocol assignments",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "AMT",
    "192.88.99.0/24": "6to4 relay anycast",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarking",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/96": "IPv4-compatible, unspecified and loopback",
    "::ffff:0:0:0/96": "IPv4-translated",
    "64:ff9b:1::/48": "NAT64 local use",
    "100::/64": "discard-only",
    "100:0:0:1::/64": "dummy prefix",
    "2001::/23": "IETF protocol assignments, Teredo, ORCHID",
    "2002::/16": "6to4",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
    "5f00::/16": "segment routing",
    "fc00::/7": "unique local",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
# The documentation ranges 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 and 2001:db8::/32 are not in the table:
# nothing private lives there, and gateways that answer for every name use them.

_METADATA: dict[str, str] = {
    "169.254.169.254": "cloud metadata",
    "169.254.169.253": "AWS resolver",
    "169.254.169.252": "GKE metadata proxy",
    "169.254.169.123": "AWS time",
    "169.254.170.2": "AWS ECS credentials",
    "169.254.170.23": "AWS EKS Pod Identity",
    "169.254.42.42": "Scaleway metadata",
    "169.254.0.23": "Tencent Cloud metadata",
    "169.254.20.10": "Kubernetes node-local DNS",
    "168.63.129.16": "Azure WireServer",
    "192.0.0.192": "Oracle Cloud Classic metadata",
    "100.100.100.200": "Alibaba Cloud metadata",
    "100.96.0.96": "Volcengine metadata",
    "fd00:ec2::254": "AWS metadata",
    "fd00:ec2::253": "AWS resolver",
    "fd00:ec2::123": "AWS time",
    "fd00:ec2::23": "AWS EKS Pod Identity",
    "fd20:ce::254": "GCP metadata",
    "fd00:c1::a9fe:a9fe": "OCI metadata",
    "fd00:42::42": "Scaleway metadata",
}

SPECIAL: tuple[tuple[Network, str], ...] = tuple((ip_network(text), what) for text, what in _SPECIAL.items())
METADATA: dict[Address, str] = {ip_address(text): what for text, what in _METADATA.items()}

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214 6.1: the interface identifier's upper half


@dataclass(frozen=True, slots=True)
class Own:
    """What the proxy itself answers on.

    Attributes:
        addresses: every address of this machine's interfaces, loopback aside.
        listeners: (address, port) of the proxy's own listeners; an unspecified address stands for all, one of loopback
            for all of loopback.
    """

    addresses: frozenset[Address] = frozenset()
    listeners: frozenset[tuple[Address, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an address may not be dialled."""

    what: str
    loop: bool = field(default=False)


def judge_address(address: Address, port: int, internal: Collection[Network], own: Own) -> Refusal | None:
    """Judge the address that is about to be dialled; None means that it may be.

    Args:
        address: the parsed address; embedded IPv4 addresses are judged too.
        port: TCP port, for the proxy's own listeners.
        internal: networks that the operator opened. Metadata services and own addresses stay closed; loopback is
            opened only by an entry that lies within loopback.
        own: the proxy's own addresses and listeners.

    Example:
        >>> judge_address(ip_address("10.0.0.1"), 443, (), Own())
        Refusal(what='private', loop=False)
    """
    if getattr(address, "scope_id", None):
        return Refusal("an address with a zone")
    within = tuple(embedded(address))
    for each in (address, *within):
        if each in METADATA:
            return Refusal(METADATA[each])
        if _is_own(each, port, own):
            return Refusal("the proxy's own address", loop=True)
    judged = within[0] if within and _transparent(address) else address
    what = _special(judged)
    return None if what is None or _opened(judged, internal) else Refusal(what)


def _transparent(address: Address) -> bool:
    """Tell whether an IPv6 address is only another way to reach the IPv4 address within (RFC 4291 2.5.5.2, 6052)."""
    return isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address in _NAT64)


def embedded(address: Address) -> Iterable[IPv4Address]:
    """Yield the IPv4 addresses that an IPv6 address carries.

    Example:
        >>> list(embedded(ip_address("64:ff9b::7f00:1")))
        [IPv4Address('127.0.0.1')]
    """
    if isinstance(address, IPv4Address):
        return
    value = int(address)
    if address.ipv4_mapped is not None or address in _NAT64 or value >> 32 in (0, 0xFFFF0000):
        yield IPv4Address(value & 0xFFFFFFFF)
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif (value >> 32) & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(value & 0xFFFFFFFF)


def _special(address: Address) -> str | None:
    for network, what in SPECIAL:
        if address.version == network.version and address in network:
            return what
    if isinstance(address, IPv6Address):
        if address not in _GLOBAL_UNICAST:
            return "unallocated"
        for inner in embedded(address):
            within = _special(inner)
            if within is not None:
                return f"{within}, embedded in IPv6"
    return None


def _opened(address: Address, internal: Iterable[Network]) -> bool:
    for network in internal:
        if address.version == network.version and address in network:
            within_loopback = any(
                network.version == loop.version and network.subnet_of(loop)  # type: ignore[arg-type] # the versions are equal
                for loop in LOOPBACK
            )
            if within_loopback or not is_loopback(address):
                return True
    return False


def is_loopback(address: Address) -> bool:
    """Tell whether an address is loopback, or what Linux dials as loopback (0.0.0.0, ::).

    Example:
        >>> is_loopback(ip_address("127.0.0.9"))
        True
    """
    return address.is_unspecified or any(
        address.version == network.version and address in network for network in LOOPBACK
    )


def _is_own(address: Address, port: int, own: Own) -> bool:
    if address in own.addresses:
        return True
    if (address, port) in own.listeners:
        return True
    return is_loopback(address) and any(
        port == listening and (is_loopback(at) or address.is_unspecified) for at, listening in own.listeners
    )  # all of loopback is one machine's, whichever of its addresses a listener has taken

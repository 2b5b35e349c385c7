"""Rules as entries of a list: for one host, one address, one path; and written in YAML."""

import json
from ipaddress import ip_network

from outward.core.addresses import Address, Network
from outward.core.model import DEFAULT_PORTS, Pattern, PatternKind, Rule
from outward.core.names import Host
from outward.core.paths import PathGlob


def exactly(host: Host) -> Pattern:
    """Return the pattern that is one host and no other.

    Example:
        >>> str(exactly(Host("a.example")))
        'a.example'
    """
    if host.address is None:
        return Pattern(PatternKind.EXACT, host.name)
    return Pattern(PatternKind.NETWORK, host.name, single(host.address))


def single(address: Address) -> Network:
    """Return the network that is one address.

    Example:
        >>> single(ip_address("10.0.0.1"))
        IPv4Network('10.0.0.1/32')
    """
    return ip_network(address)


def one_path(path: str | None) -> tuple[PathGlob, ...] | None:
    """Return a glob that is one path and no other; None if a rule cannot name it.

    Example:
        >>> one_path("/v1/items"), one_path("/v1/*")
        ((PathGlob(text='/v1/items'),), None)
    """
    if path is None or "*" in path:
        return None
    try:
        return (PathGlob(path),)
    except ValueError:
        return None


def written(rule: Rule) -> str:
    """Return a rule as an entry in YAML, which a list in brackets can hold too.

    Example:
        >>> written(rule("a.example")), written(rule("a.example", methods={"GET"}))
        ('a.example', '{host: "a.example", ports: [80, 443], methods: [GET]}')
    """
    value = str(rule.pattern)
    name = f"[{value}]" if ":" in value else value
    ports = sorted(rule.ports or ())
    bare = not rule.needs_sight and rule.tls and not (rule.addresses or rule.until)
    if bare and (rule.ports == DEFAULT_PORTS or len(ports) == 1):
        target = name if rule.ports == DEFAULT_PORTS else f"{name}:{ports[0]}"
        return f'"{target}"' if ":" in target or "*" in target else target
    parts = [f'host: "{name}"', f"ports: {ports}"]
    if rule.methods is not None:
        parts.append(f"methods: [{', '.join(sorted(rule.methods))}]")
    if rule.paths is not None:
        parts.append(f"paths: [{', '.join(json.dumps(glob.text) for glob in rule.paths)}]")
    if rule.encoded_slash:
        parts.append("encoded_slash: true")
    if not rule.tls:
        parts.append("tls: false")
    if rule.addresses:
        parts.append(f"addresses: [{', '.join(json.dumps(str(each)) for each in rule.addresses)}]")
    if rule.until is not None:
        parts.append(f"until: {rule.until}")
    if rule.inject is not None:
        parts.append(f"inject: {rule.inject.written}")
    return f"{{{', '.join(parts)}}}"

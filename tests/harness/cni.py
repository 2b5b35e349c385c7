"""What a network plug-in makes of NetworkPolicies, for pods of a test's own: the manifests, as nftables rules of a node.

Knows what the manifests here use: label selectors for pods and namespaces, address blocks with exceptions, ports.
"""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any


@dataclass(frozen=True)
class Pod:
    """A pod as a policy sees it: `device` is the node's end of its cable."""

    device: str
    addresses: tuple[str, ...]
    labels: dict[str, str]
    namespace: str


def rules(policies: list[dict[str, Any]], pods: list[Pod], namespace: str) -> str:
    """Return the ruleset of a node that holds the pods to the policies of a namespace."""
    egress, ingress = [], []
    for pod in pods:
        bound = [
            each["spec"]
            for each in policies
            if pod.namespace == namespace and _selects(each["spec"]["podSelector"], pod)
        ]
        if any("Egress" in spec["policyTypes"] for spec in bound):
            allowed = [entry for spec in bound for entry in spec.get("egress", [])]
            egress += _held(f'iifname "{pod.device}"', "daddr", _statements(allowed, "to", pods, namespace))
        if any("Ingress" in spec["policyTypes"] for spec in bound):
            allowed = [entry for spec in bound for entry in spec.get("ingress", [])]
            ingress += _held(f'oifname "{pod.device}"', "saddr", _statements(allowed, "from", pods, namespace))
    chains = "".join(
        f"  chain {hook} {{\n    type filter hook {hook} priority raw + 200;\n"
        "    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept\n"
        "    ct state established,related accept\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"
        for hook, lines in (("prerouting", egress), ("postrouting", ingress))
    )
    return f"table inet cni {{\n{chains}}}\n"


def _selects(selector: dict[str, Any], pod: Pod) -> bool:
    return selector.get("matchLabels", {}).items() <= pod.labels.items()


def _held(at: str, direction: str, statements: list[tuple[str, str]]) -> list[str]:
    allowed = [f"{at} {'ip6' if ':' in peer else 'ip'} {direction} {peer} {ports} accept" for peer, ports in statements]
    return [*allowed, f"{at} drop"]


def _statements(entries: list[dict[str, Any]], key: str, pods: list[Pod], namespace: str) -> list[tuple[str, str]]:
    """Return (peer, ports) of everything that is allowed."""
    return [
        (peer, _port(port))
        for entry in entries
        for wanted in entry[key]
        for peer in _peers(wanted, pods, namespace)
        for port in entry["ports"]
    ]


def _port(port: dict[str, Any]) -> str:
    return f"{port['protocol'].lower()} dport {port['port']}" + (f"-{port['endPort']}" if "endPort" in port else "")


def _peers(wanted: dict[str, Any], pods: list[Pod], namespace: str) -> list[str]:
    if "ipBlock" in wanted:
        return _block(wanted["ipBlock"])
    home = wanted.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", namespace)
    found = [pod for pod in pods if pod.namespace == home and _selects(wanted.get("podSelector", {}), pod)]
    return [address for pod in found for address in pod.addresses]


def _block(block: dict[str, Any]) -> list[str]:
    """Return the networks of a block less its exceptions."""
    left = [ip_network(block["cidr"])]
    for text in block.get("except", []):
        hole = ip_network(text)
        left = [
            part
            for each in left
            for part in (each.address_exclude(hole) if hole.subnet_of(each) else [each])  # type: ignore[arg-type]
        ]
    return [str(each) for each in left]

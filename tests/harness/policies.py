"""Policies for tests, built from patterns as a person would write them."""

from ipaddress import ip_network

from outward.core.model import ClientEntry, Credential, Pattern, PatternKind, Place, Rule
from outward.core.policy import Group, Policy, Rules

LOOPBACK = ip_network("127.0.0.0/8")


def rule(text: str, **facts: object) -> Rule:
    """Build a rule; `facts` are its ports, methods, paths and tls."""
    if text == "*":
        pattern = Pattern(PatternKind.ANY)
    elif text.startswith("*."):
        pattern = Pattern(PatternKind.BELOW, text[2:])
    elif text[0].isdigit() or ":" in text:
        pattern = Pattern(PatternKind.NETWORK, text, ip_network(text))
    else:
        pattern = Pattern(PatternKind.EXACT, text)
    return Rule(pattern, Place("policy.yaml", 1), **({"ports": None} | facts))  # type: ignore[arg-type]


def group(*allow: Rule, path: str = "dev", deny: tuple[Rule, ...] = (), **settings: object) -> Group:
    """Build a group; `settings` are its mode, lane, denial and ech."""
    return Group(path, Rules(allow), Rules(deny), **settings)  # type: ignore[arg-type]


def policy(*groups: Group, clients: tuple[ClientEntry, ...] | None = None, **facts: object) -> Policy:
    """Build a policy whose allowed names may resolve to loopback; by default anyone belongs to the first group."""
    anyone = ClientEntry(Credential.ANYONE, Place("policy.yaml", 9), group=groups[0].path if groups else None)
    clients = (anyone,) if clients is None else clients
    return Policy("g1", {each.path: each for each in groups}, clients, (LOOPBACK,), **facts)  # type: ignore[arg-type]

"""Policies for tests, built from patterns as a person would write them."""

from ipaddress import ip_network

from outward.core.model import ClientEntry, Credential, Pattern, PatternKind, Place, Rule
from outward.core.policy import Group, Policy
from outward.core.rules import Rules

LOOPBACK = ip_network("127.0.0.0/8")


def pattern(text: str) -> Pattern:
    """Build a pattern from its text."""
    if text == "*":
        return Pattern(PatternKind.ANY)
    if text.startswith("*."):
        return Pattern(PatternKind.BELOW, text[2:])
    if text.startswith("."):
        return Pattern(PatternKind.SUFFIX, text[1:])
    if text[0].isdigit() or ":" in text:
        return Pattern(PatternKind.NETWORK, text, ip_network(text))
    return Pattern(PatternKind.EXACT, text)


def rule(text: str, **facts: object) -> Rule:
    """Build a rule; `facts` are its ports, methods, paths and tls."""
    return Rule(pattern(text), Place("policy.yaml", 1), **({"ports": None} | facts))  # type: ignore[arg-type]


def group(*allow: Rule, path: str = "dev", deny: tuple[Rule, ...] = (), **settings: object) -> Group:
    """Build a group; `settings` are its mode, lane, denial and ech."""
    return Group(path, Rules(allow), Rules(deny), **settings)  # type: ignore[arg-type]


def policy(*groups: Group, clients: tuple[ClientEntry, ...] | None = None, **facts: object) -> Policy:
    """Build a policy whose allowed names may resolve to loopback; by default anyone belongs to the first group."""
    anyone = ClientEntry(Credential.ANYONE, Place("policy.yaml", 9), group=groups[0].path if groups else None)
    clients = (anyone,) if clients is None else clients
    return Policy("g1", {each.path: each for each in groups}, clients, (LOOPBACK,), **facts)  # type: ignore[arg-type]

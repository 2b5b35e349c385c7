"""The policy that a working tree brings, laid over the user's own: what it adds, and below what.

Owns the meaning of "over": each of its groups lies below the group that the user's own policy gives to anyone. The
denies, ceilings, locks and settings of that group hold for it like an ancestor's. Judges no trust; names what is
trusted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode, at
from outward.config.gather import Gathered
from outward.config.groups import build_groups, read_groups
from outward.config.rules import RuleCompiler
from outward.core.model import ClientEntry, Credential
from outward.core.policy import Group

# How a rule is shown: a long one is cut at its end.
_ORDER = {"host": 0, "addresses": 1, "owner": 3, "note": 3, "until": 3}
_CURE = "give it a name of its own, or one below that group; or name the file with --config"


@dataclass(frozen=True, slots=True)
class Brought:
    """What a working tree brought, and by what it is trusted.

    Attributes:
        path: of the file.
        digest: SHA-256 in hex over the content of it and of all that it includes; what a person trusts is this.
        allows: what it allows in each group, by the group's path, as a person would write it.
    """

    path: Path
    digest: str
    allows: Mapping[str, tuple[str, ...]]


def brought(path: Path, gathered: Gathered) -> Brought:
    """Return what to ask a person about a file."""
    allows = {name: tuple(_allows(group, gathered)) for name, (_, group) in gathered.groups.items()}
    return Brought(path.absolute(), gathered.digest.hexdigest(), allows)


def lay_over(
    groups: Mapping[str, Group],
    clients: Sequence[ClientEntry],
    gathered: Gathered,
    rules: RuleCompiler,
    report: Report,
) -> dict[str, Group]:
    """Return the groups of a working tree, each with the user's own in its chain.

    Args:
        groups: the user's own.
        clients: the user's own.
        gathered: what the tree brought.
        rules: compiles its rules.
        report: takes the findings.
    """
    ground = _ground(groups, clients)
    found = build_groups([read_groups(gathered.groups, rules, report)], report, groups, ground)
    for path, (key, _) in gathered.groups.items():
        if not groups or path not in found:
            continue
        if ground is None:
            message = f"`{path}` has no place: your own policy has several groups, and gives none to anyone"
            report.error("E028", message, key.place, key.length, "name the file with --config")
        elif not any(node is ground for node in found[path].chain):
            message = f"`{path}` is not below `{ground.path}`, the group that your own policy gives to anyone"
            report.error("E028", message, key.place, key.length, _CURE)
    return found


def admit(own: Sequence[ClientEntry], others: Sequence[ClientEntry]) -> tuple[ClientEntry, ...]:
    """Return the clients of both; whoever was anyone in the user's own policy is so in the tree's, if it says so."""
    taken = any(entry.kind is Credential.ANYONE for entry in others)
    return (*(entry for entry in own if not taken or entry.kind is not Credential.ANYONE), *others)


def _ground(groups: Mapping[str, Group], clients: Sequence[ClientEntry]) -> Group | None:
    """Return the user's own group that a command without a name for its group belongs to."""
    anyone = (entry.group for entry in clients if entry.kind is Credential.ANYONE)
    path = next((path for path in anyone if path in groups), None)
    if path is None and len(groups) == 1:
        path = next(iter(groups))
    return None if path is None else groups[path]


def _allows(group: Node, gathered: Gathered) -> Iterator[str]:
    yield from _entries(at(group, "allow"), gathered, ())
    searched = at(group, "web_search", "enabled")
    if isinstance(searched, ScalarNode) and searched.text == "true":
        sources = at(group, "web_search", "sources")
        named = ", ".join(_entries(sources, gathered, ())) if isinstance(sources, SequenceNode) else "what is allowed"
        yield f"hosted web search in {named}"


def _entries(node: Node | None, gathered: Gathered, seen: tuple[str, ...]) -> Iterator[str]:
    """Yield the entries of a list; the file's own sets are written out, since a name of theirs may mislead."""
    for item in node.items if isinstance(node, SequenceNode) else ():
        name = item.text[1:] if isinstance(item, ScalarNode) and item.text.startswith("@") else None
        if name in gathered.lists:
            source = gathered.lists[name]
            yield f"the names in {source.path} ({source.data.count(b'\n'):,} lines)"
        elif name in gathered.sets and name not in seen:
            yield from _entries(gathered.sets[name][1], gathered, (*seen, name))
        elif isinstance(item, ScalarNode):
            yield item.text
        elif isinstance(item, MappingNode):
            pairs = sorted(item.items(), key=lambda pair: _ORDER.get(pair[0].text, 2))
            yield ", ".join(f"{key.text}: {_flat(value)}" for key, value in pairs)


def _flat(node: Node) -> str:
    value = node.plain()
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

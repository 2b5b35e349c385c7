"""Named lists of hosts: `@name` from the file, shipped as data, or of this machine's package managers.

The file's own sets come first, so that nothing shipped can change their meaning.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode, parse
from outward.config.namelists import NameFile, compile_names
from outward.config.nearest import did_you_mean
from outward.core.hostlist import HostList

SHIPPED = Path(__file__).parent / "sets"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a package manager is set up to use.

    Attributes:
        entries: rule texts, `host` or `host:port`.
        problem: why it may be incomplete; empty if it is not.
    """

    entries: tuple[str, ...] = ()
    problem: str = ""


@dataclass(slots=True)
class Sets:
    """Finds the members of a set.

    Attributes:
        own: the file's sets, by name.
        machine: discovery by name of package manager (`pip`, `npm`, `apt`).
        report: takes the findings.
        files: what the files of names hold, by the name of the set.
        discovered: entries of the machine's sets that were asked for, by name.
    """

    own: Mapping[str, Node]
    machine: Mapping[str, Callable[[], Hosts]]
    report: Report
    files: Mapping[str, NameFile] = field(default_factory=dict)
    discovered: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _compiled: dict[str, HostList] = field(default_factory=dict)

    def names(self, name: str) -> HostList | None:
        """Return the list of a set that is a file of names; None of another set."""
        if name in self.files and name not in self._compiled:
            self._compiled[name] = compile_names(self.files[name], self.report)
        return self._compiled.get(name)

    def members(self, name: str, use: ScalarNode) -> Node | None:
        """Return the list of a set, or None after reporting that there is none of that name."""
        if name in self.own:
            return self.own[name]
        if name in self.machine:
            return self._discover(name, use)
        shipped = shipped_sets()
        if name in shipped:
            return shipped[name]
        cure = did_you_mean(f"@{name}", {f"@{each}" for each in (*self.own, *self.machine, *shipped)})
        self.report.error("E015", f"no set is named `@{name}`", use.place, use.length, cure)
        return None

    def _discover(self, name: str, use: ScalarNode) -> Node:
        hosts = self.machine[name]()
        self.discovered[name] = hosts.entries
        if hosts.problem:
            cure = f"list the hosts under `sets: {{{name}: [...]}}`; the file's own set comes first"
            self.report.warning("W117", f"`@{name}`: {hosts.problem}", use.place, use.length, cure)
        rules = [_reading(use, entry, _READS) for entry in hosts.entries]
        rules += [_reading(use, entry, ("POST",), _ASKS[name]) for entry in hosts.entries if name in _ASKS]
        return _list(use, rules)


# What a package manager needs of its registry; publishing takes other methods (see `@publish`).
_READS = ("GET", "HEAD")
_ASKS = {"npm": ("/**/-/npm/v1/security/**",)}  # POSTs that only ask: `npm audit`, which `npm install` runs


def _reading(use: ScalarNode, host: str, methods: Iterable[str], paths: Iterable[str] = ()) -> MappingNode:
    """Return the node of a rule for one host with some methods and paths, at the place where the set is used."""
    values: dict[str, Node] = {"host": _text(use, host), "methods": _list(use, [_text(use, each) for each in methods])}
    if paths:
        values["paths"] = _list(use, [_text(use, each) for each in paths])
    place = use.place
    keys = {key: _text(use, key) for key in values}
    return MappingNode(place.file, place.line, place.column, use.length, keys, values)


def _text(use: ScalarNode, text: str) -> ScalarNode:
    return ScalarNode(use.place.file, use.place.line, use.place.column, use.length, text, bare=False)


def _list(use: ScalarNode, items: Sequence[Node]) -> SequenceNode:
    return SequenceNode(use.place.file, use.place.line, use.place.column, use.length, list(items))


@cache
def shipped_sets() -> Mapping[str, Node]:
    """Return the shipped sets by name; rules of theirs name the data file as their place."""
    found: dict[str, Node] = {}
    for path in sorted(SHIPPED.glob("*.yaml")):
        report = Report()
        root = parse(path.read_text(encoding="utf-8"), f"sets/{path.name}", report)
        lists = root.get("sets") if isinstance(root, MappingNode) else None
        if report.failed or not isinstance(lists, MappingNode):
            raise ValueError(f"the shipped data file {path.name} is damaged")
        found.update(lists.values)
    return found

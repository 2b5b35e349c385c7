"""Allow, deny, ceiling and source lists to rules of the core.

Owns the meaning of one entry (text, `@set` or mapping) and the expansion of sets. Reports what it refuses and goes on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from outward.config.conditions import Conditions, ConditionsReader, ListPurpose
from outward.config.diagnostics import Level, Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode
from outward.config.namelists import NameFile, check_width
from outward.config.nearest import did_you_mean
from outward.config.patterns import PatternError, parse_pattern
from outward.config.sets import NAME, Sets
from outward.core.hostlist import HostList
from outward.core.model import DEFAULT_PORTS, Pattern, PatternKind, Place, Rule

_KEYS = (
    *("host", "port", "ports", "methods", "paths", "encoded_slash", "tls", "public_suffix", "addresses", "until"),
    *("owner", "note", "inject"),
)


@dataclass(slots=True)
class RuleCompiler:
    """Compiles lists; each set is compiled once for each use.

    Attributes:
        sets: named lists.
        report: takes the findings.
        today: the day in UTC, for rules that have an end.
    """

    sets: Sets
    report: Report
    today: date
    _done: dict[tuple[str, ListPurpose], tuple[Rule, ...]] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def compile(self, node: Node | None, use: ListPurpose) -> tuple[Rule, ...]:
        """Return the rules of a list node; None and null are empty lists."""
        if node is None or (isinstance(node, ScalarNode) and node.is_null):
            return ()
        if not isinstance(node, SequenceNode):
            self.report.error(
                "E007", "expected a list of rules", node.place, node.length, "write `- host` on lines below"
            )
            return ()
        rules: list[Rule] = []
        for item in node.items:
            rules.extend(self._entry(item, use))
        return tuple(rules)

    def compile_texts(self, texts: Iterable[str], place: Place, use: ListPurpose) -> tuple[Rule, ...]:
        """Return the rules of entries that stand in no file; all get one place."""
        return self.compile(
            SequenceNode(
                place.file,
                place.line,
                place.column,
                1,
                [ScalarNode(place.file, place.line, place.column, 1, text, bare=False) for text in texts],
            ),
            use,
        )

    def check_unused(self) -> None:
        """Report what is wrong in sets of the file that no list uses."""
        used = {name for name, _ in self._done}
        for name, members in self.sets.own.items():
            if not NAME.fullmatch(name):
                cure = "letters, digits, `_`, `.` and `-`, such as `python-docs`"
                self.report.error("E015", "not a set's name", members.place, 1, cure)
            elif name in self.sets.files:
                self.sets.names(name)
            elif name not in used and not isinstance(members, MappingNode):
                self.compile(members, ListPurpose.ALLOW)

    def _entry(self, node: Node, use: ListPurpose) -> Iterable[Rule]:
        if isinstance(node, ScalarNode):
            if node.is_null:
                self.report.error("E010", "an empty entry", node.place, node.length, "write a host or remove the line")
                return ()
            if node.text.startswith("@"):
                return self._set(node, use)
            rule = self._rule(node, use, Conditions())
        elif isinstance(node, MappingNode):
            rule = self._mapping(node, use)
        else:
            self.report.error("E007", "expected a host, a set or a mapping", node.place, node.length)
            return ()
        return () if rule is None else (rule,)

    def _set(self, node: ScalarNode, use: ListPurpose) -> tuple[Rule, ...]:
        name = node.text[1:]
        known = self._done.get((name, use))
        if known is not None:
            return known
        names = self.sets.names(name)
        if names is not None:
            listed: tuple[Rule, ...] = (self._listed(self.sets.files[name], names, use),)
            self._done[name, use] = listed
            return listed
        if name in self._open:
            path = " → ".join(f"`@{each}`" for each in (*self._open, name))
            self.report.error("E015", f"a set contains itself: {path}", node.place, node.length)
            return ()
        members = self.sets.members(name, node)
        if members is None or isinstance(members, MappingNode):  # of a file that cannot be read, which was told
            return ()
        self._open.append(name)
        rules = self._done[name, use] = self.compile(members, use)
        self._open.pop()
        return rules

    def _listed(self, source: NameFile, names: HostList, use: ListPurpose) -> Rule:
        """Return the rule that a file of names is; where it stands is where the set names the file."""
        if use is ListPurpose.ALLOW:
            check_width(names, self.report)
        ports = DEFAULT_PORTS if use is ListPurpose.ALLOW else None
        return Rule(Pattern(PatternKind.LIST, names=names), source.place, ports)

    def _rule(self, host: ScalarNode, use: ListPurpose, extras: "Conditions") -> Rule | None:
        try:
            pattern, port = parse_pattern(host.text, public_suffix=extras.public_suffix or use is ListPurpose.DENY)
        except PatternError as error:
            self.report.error(error.ident, str(error), host.place, host.length, error.cure)
            return None
        if port is not None and extras.ports is not None:
            self.report.error("E013", "the port is written twice", host.place, host.length, "keep one of them")
            return None
        default = DEFAULT_PORTS if use is ListPurpose.ALLOW else None
        ports = frozenset((port,)) if port is not None else extras.ports or default
        if extras.addresses and pattern.kind is PatternKind.ANY:
            cure = "name the host that may resolve to them: anybody's name could be made to"
            self.report.error("E014", "`addresses` of every public host", host.place, host.length, cure)
            return None
        return Rule(
            pattern,
            host.place,
            ports,
            methods=extras.methods,
            paths=extras.paths,
            tls=extras.tls,
            encoded_slash=extras.encoded_slash,
            addresses=extras.addresses,
            until=extras.until,
            owner=extras.owner,
            note=extras.note,
            inject=extras.inject,
        )

    def _mapping(self, node: MappingNode, use: ListPurpose) -> Rule | None:
        before = len(self.report.findings)
        for key in node.keys.values():
            if key.text not in _KEYS:
                cure = did_you_mean(key.text, _KEYS)
                self.report.error("E005", f"unknown key `{key.text}` in a rule", key.place, key.length, cure)
        host = node.get("host")
        if host is None:
            self.report.error("E006", "`host` is missing", node.place, node.length)
        elif not isinstance(host, ScalarNode) or host.text.startswith("@"):
            self.report.error(
                "E010", "`host` is one host pattern", host.place, host.length, "a set stands alone: `- @name`"
            )
        extras = ConditionsReader(node, self.report, self.today).read(use)
        wrong = any(finding.level is Level.ERROR for finding in self.report.findings[before:])
        if wrong or not isinstance(host, ScalarNode):  # a warning, as of a rule that ends soon, drops no rule
            return None
        return self._rule(host, use, extras)

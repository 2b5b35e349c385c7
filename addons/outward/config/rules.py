"""Allow, deny, ceiling and source lists to rules of the core.

Owns the meaning of one entry (text, `@set` or mapping) and the expansion of sets. Reports what it refuses and goes on.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum

from outward.config.diagnostics import Level, Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode
from outward.config.namelists import NameFile, check_width
from outward.config.nearest import did_you_mean
from outward.config.patterns import PatternError, parse_pattern
from outward.config.secrets import read_injection
from outward.config.sets import NAME, Sets
from outward.config.values import network
from outward.core.addresses import Network
from outward.core.hostlist import HostList
from outward.core.model import DEFAULT_PORTS, Pattern, PatternKind, Place, Rule
from outward.core.names import MalformedHostError, parse_port
from outward.core.paths import PathGlob
from outward.core.secrets import Injection

_KEYS = (
    *("host", "port", "ports", "methods", "paths", "encoded_slash", "tls", "public_suffix", "addresses", "until"),
    *("owner", "note", "inject"),
)
_SOON = timedelta(days=14)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")


class ListPurpose(Enum):
    """What a list is for: it decides the default of ports and what wildcards may cover."""

    ALLOW = "allow"
    DENY = "deny"


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
            rule = self._rule(node, use, _Extras())
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

    def _rule(self, host: ScalarNode, use: ListPurpose, extras: "_Extras") -> Rule | None:
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
        extras = _ExtrasReader(node, self.report, self.today).read(use)
        wrong = any(finding.level is Level.ERROR for finding in self.report.findings[before:])
        if wrong or not isinstance(host, ScalarNode):  # a warning, as of a rule that ends soon, drops no rule
            return None
        return self._rule(host, use, extras)


@dataclass(frozen=True, slots=True)
class _Extras:
    """What a mapping adds to its host."""

    ports: frozenset[int] | None = None
    methods: frozenset[str] | None = None
    paths: tuple[PathGlob, ...] | None = None
    tls: bool = True
    public_suffix: bool = False
    encoded_slash: bool = False
    addresses: tuple[Network, ...] = ()
    until: str | None = None
    owner: str | None = None
    note: str | None = None
    inject: Injection | None = None


@dataclass(slots=True)
class _ExtrasReader:
    """Reads the keys of a rule mapping apart from `host`."""

    node: MappingNode
    report: Report
    today: date

    def read(self, use: ListPurpose) -> _Extras:
        extras = _Extras(
            ports=self._ports(),
            methods=self._methods(),
            paths=self._paths(),
            tls=self._flag("tls", default=True),
            public_suffix=self._flag("public_suffix", default=False),
            encoded_slash=self._flag("encoded_slash", default=False),
            addresses=self._addresses(),
            until=self._until(use),
            owner=self._text("owner"),
            note=self._text("note"),
            inject=self._inject(),
        )
        if extras.addresses and use is ListPurpose.DENY:
            cure = "a deny rule that names a network as its host refuses every name that resolves into it"
            self._error("E014", "`addresses` opens, and a deny rule opens nothing", self.node.values["addresses"], cure)
        if extras.encoded_slash and extras.paths is None:
            cure = "it says how `paths` are read: add them, or leave it out"
            self._error("E014", "`encoded_slash` has no meaning here", self.node.values["encoded_slash"], cure)
        if not extras.tls and (use is ListPurpose.DENY or extras.methods is not None or extras.paths is not None):
            cure = "`tls: false` stands on an allow rule without `methods` and `paths`: the tunnel cannot be read"
            self._error("E014", "`tls: false` has no meaning here", self.node.values["tls"], cure)
        if not extras.tls and extras.inject is not None:
            cure = "a secret is set on requests over TLS alone: remove one of the two"
            self._error("E014", "`tls: false` and `inject` in one rule", self.node.values["tls"], cure)
        return extras

    def _inject(self) -> Injection | None:
        node = self.node.values.get("inject")
        return None if node is None else read_injection(node, self.report)

    def _error(self, ident: str, message: str, node: Node, cure: str = "") -> None:
        self.report.error(ident, message, node.place, node.length, cure)

    def _texts(self, key: str) -> list[ScalarNode] | None:
        """Return the scalars of a list that may not be empty, or None where the key is absent."""
        node = self.node.values.get(key)
        if node is None:
            return None
        items = node.items if isinstance(node, SequenceNode) else []
        texts = [item for item in items if isinstance(item, ScalarNode) and not item.is_null]
        if not texts or len(texts) != len(items):
            self._error(
                "E007", f"`{key}` is a list with at least one value", node, f"write `{key}: [...]` or leave it out"
            )
        return texts

    def _ports(self) -> frozenset[int] | None:
        single = self.node.get("port")
        texts = self._texts("ports")
        if single is not None and texts is not None:
            self._error("E013", "both `port` and `ports`", single, "keep one of them")
        if single is not None:
            texts = [single] if isinstance(single, ScalarNode) else []
        if texts is None:
            return None
        return frozenset(filter(None, map(self._port, texts)))

    def _port(self, node: ScalarNode) -> int | None:
        try:
            return parse_port(node.text)
        except MalformedHostError:
            self._error("E013", "not a port", node, "a port is a number from 1 to 65535")
            return None

    def _methods(self) -> frozenset[str] | None:
        texts = self._texts("methods")
        for node in texts or ():
            if not _METHOD.fullmatch(node.text) or node.text == "CONNECT":
                cure = f"write `{node.text.upper()}`" if _METHOD.fullmatch(node.text.upper()) else "such as `GET`"
                cure = "CONNECT is judged by host and port alone" if node.text.upper() == "CONNECT" else cure
                self._error("E014", "not a method that a rule can name", node, cure)
        return None if texts is None else frozenset(node.text for node in texts)

    def _paths(self) -> tuple[PathGlob, ...] | None:
        texts = self._texts("paths")
        if texts is None:
            return None
        return tuple(filter(None, map(self._path, texts)))

    def _path(self, node: ScalarNode) -> PathGlob | None:
        try:
            glob = PathGlob(node.text)
        except ValueError as error:
            self._error("E014", "not a path that a rule can hold", node, _path_cure(node.text, str(error)))
            return None
        if "?" in node.text:
            self._error(
                "E014", "not a path that a rule can hold", node, "write it without query: queries are not judged"
            )
            return None
        return glob

    def _addresses(self) -> tuple[Network, ...]:
        found: list[Network] = []
        for node in self._texts("addresses") or ():
            try:
                found.append(network(node.text))
            except ValueError as error:
                self._error("E014", "not a network of addresses", node, f"write {error}")
        return tuple(found)

    def _until(self, use: ListPurpose) -> str | None:
        node = self.node.values.get("until")
        if node is None:
            return None
        text = node.text if isinstance(node, ScalarNode) else ""
        try:
            day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
        except ValueError:
            day = None
        if day is None:
            self._error("E014", "`until` is not a day", node, "write the day in UTC, such as `until: 2027-01-31`")
            return None
        if use is ListPurpose.ALLOW and day <= self.today + _SOON:
            ended = day <= self.today
            message = (
                f"this rule has allowed nothing since {day}" if ended else f"this rule allows nothing from {day} on"
            )
            self.report.warning("W123", message, node.place, node.length, "write a later day, or remove the rule")
        return text

    def _text(self, key: str) -> str | None:
        node = self.node.values.get(key)
        if node is None or (isinstance(node, ScalarNode) and node.text.strip()):
            return node.text if isinstance(node, ScalarNode) else None
        self._error("E007", f"`{key}` is a text", node)
        return None

    def _flag(self, key: str, *, default: bool) -> bool:
        node = self.node.values.get(key)
        if node is None:
            return default
        if isinstance(node, ScalarNode) and node.text in ("true", "false"):
            return node.text == "true"
        self._error("E007", f"`{key}` is `true` or `false`", node)
        return default


def _path_cure(text: str, error: str) -> str:
    """Return how to write a path: with the slash that it lacks, or by the rule that it breaks."""
    if text.startswith("/"):
        return f"write {error}"
    try:
        return f'{error}: write `"{PathGlob(f"/{text}").text}"`'
    except ValueError:
        return error

"""What a rule says beside its host: ports, methods, paths, addresses, secrets, an end. Owns the keys of its mapping."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode
from outward.config.secrets import read_injection
from outward.config.values import network
from outward.core.addresses import Network
from outward.core.names import MalformedHostError, parse_port
from outward.core.paths import PathGlob
from outward.core.secrets import Injection

_SOON = timedelta(days=14)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")


class ListPurpose(Enum):
    """What a list is for: it decides the default of ports and what wildcards may cover."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Conditions:
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
class ConditionsReader:
    """Reads the keys of a rule mapping apart from `host`."""

    node: MappingNode
    report: Report
    today: date

    def read(self, use: ListPurpose) -> Conditions:
        """Return them, and report what is wrong with them."""
        conditions = Conditions(
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
        if conditions.addresses and use is ListPurpose.DENY:
            cure = "a deny rule that names a network as its host refuses every name that resolves into it"
            self._error("E014", "`addresses` opens, and a deny rule opens nothing", self.node.values["addresses"], cure)
        if conditions.encoded_slash and conditions.paths is None:
            cure = "it says how `paths` are read: add them, or leave it out"
            self._error("E014", "`encoded_slash` has no meaning here", self.node.values["encoded_slash"], cure)
        if not conditions.tls and (
            use is ListPurpose.DENY or conditions.methods is not None or conditions.paths is not None
        ):
            cure = "`tls: false` stands on an allow rule without `methods` and `paths`: the tunnel cannot be read"
            self._error("E014", "`tls: false` has no meaning here", self.node.values["tls"], cure)
        if not conditions.tls and conditions.inject is not None:
            cure = "a secret is set on requests over TLS alone: remove one of the two"
            self._error("E014", "`tls: false` and `inject` in one rule", self.node.values["tls"], cure)
        return conditions

    def _inject(self) -> Injection | None:
        node = self.node.values.get("inject")
        return None if node is None else read_injection(node, self.report)

    def _error(self, ident: str, message: str, node: Node, cure: str = "") -> None:
        self.report.error(ident, message, node.place, node.length, cure)

    def _texts(self, key: str) -> list[ScalarNode] | None:
        """Return the scalars of a list that may not be empty, or None if the key is absent."""
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

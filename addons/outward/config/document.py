"""YAML text to a tree of nodes that know their place.

Built from the parser's events, not with `yaml.compose`: libyaml's composer recurses in C, so that deep nesting would
crash the process, and it hides anchors. Scalars stay text: the schema types them, so that `no` is a host and `12:30` is
no number. Refuses what makes a document mean more than it shows: duplicate keys, tags, anchors, aliases, several
documents; and what has no bound: depth, number of nodes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import yaml

from outward.config.diagnostics import Report
from outward.core.model import Place

MAX_DEPTH = 32
MAX_NODES = 5_000_000

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Node:
    """Anything in the document. Line and column count from 1."""

    file: str
    line: int
    column: int
    length: int

    @property
    def place(self) -> Place:
        """Where the node begins."""
        return Place(self.file, self.line, self.column)

    def plain(self, skip: frozenset[str] = frozenset()) -> Any:
        """Return plain data: text, None, lists and dicts; without the keys in `skip` at the top."""
        raise NotImplementedError


@dataclass(slots=True)
class ScalarNode(Node):
    """Text; `bare` where it was written without quotes."""

    text: str
    bare: bool

    @property
    def is_null(self) -> bool:
        """Whether it stands for nothing."""
        return self.bare and self.text in _NULLS

    def plain(self, skip: frozenset[str] = frozenset()) -> str | None:  # noqa: ARG002 - the tree's common signature
        """Return the text, or None."""
        return None if self.is_null else self.text


@dataclass(slots=True)
class SequenceNode(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)

    def plain(self, skip: frozenset[str] = frozenset()) -> list[Any]:  # noqa: ARG002 - the tree's common signature
        """Return a list."""
        return [item.plain() for item in self.items]


@dataclass(slots=True)
class MappingNode(Node):
    """A mapping, in the order of the document."""

    keys: dict[str, ScalarNode] = field(default_factory=dict)
    values: dict[str, Node] = field(default_factory=dict)

    def plain(self, skip: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return a dict."""
        return {key: value.plain() for key, value in self.values.items() if key not in skip}

    def get(self, key: str) -> Node | None:
        """Return a value, or None if it is absent or null."""
        value = self.values.get(key)
        return None if isinstance(value, ScalarNode) and value.is_null else value

    def items(self) -> Iterator[tuple[ScalarNode, Node]]:
        """Yield keys with their values."""
        for key, value in self.values.items():
            yield self.keys[key], value


def at(root: Node, *path: str) -> Node | None:
    """Return the value at the end of some keys, or None."""
    node: Node | None = root
    for step in path:
        node = node.get(step) if isinstance(node, MappingNode) else None
    return node


def parse(text: str, file: str, report: Report, most: int = MAX_NODES) -> Node | None:
    """Read one document; None if it is empty or an error was reported.

    Args:
        text: the YAML text.
        file: its name in places.
        report: takes the errors.
        most: values that it may hold.
    """
    builder = _Builder(file, report, most)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if not builder.take(event):
                return None
    except yaml.YAMLError as error:
        _report_syntax(error, text, file, report)
        return None
    return builder.root


# What no plain value begins with (YAML 1.2 5.3, 6.1), and what to write instead.
_STARTS = {
    "\t": "indent with spaces: YAML takes no tabs",
    "@": 'write it in quotes: `"@name"`',
    "`": "write it in quotes",
    "%": "write it in quotes",
}


def _report_syntax(error: yaml.YAMLError, text: str, file: str, report: Report) -> None:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "the text cannot be read"
    context = getattr(error, "context", None)
    message = f"not valid YAML: {problem}" + (f", {context}" if context else "")
    start = ""
    if mark and "start any token" in problem:
        start = next(islice(text.split("\n"), mark.line, None), "")[mark.column :][:1]
    cure = "check indentation, quotes and brackets on this line and the one before"
    report.error("E002", message, place, cure=_STARTS.get(start, cure))


class _Builder:
    """Turns events into nodes; `take` says whether to go on."""

    def __init__(self, file: str, report: Report, most: int) -> None:
        self._most = most
        self.root: Node | None = None
        self._file = file
        self._report = report
        self._open: list[SequenceNode | MappingNode] = []
        self._keys: list[ScalarNode | None] = []
        self._count = 0

    def take(self, event: Any) -> bool:
        """Take one event; False ends the reading after an error."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            return self._allowed(event) and self._add(self._scalar(event))
        if kind is yaml.SequenceStartEvent:
            return self._allowed(event) and self._begin(SequenceNode(*self._span(event, 1)))
        if kind is yaml.MappingStartEvent:
            return self._allowed(event) and self._begin(MappingNode(*self._span(event, 1)))
        if kind is yaml.SequenceEndEvent or kind is yaml.MappingEndEvent:
            self._open.pop()
            self._keys.pop()
        elif kind is yaml.AliasEvent:
            return self._refuse(event, f"alias `*{event.anchor}`", "write the value out where it is needed")
        elif kind is yaml.DocumentStartEvent and self.root is not None:
            return self._refuse(event, "a second document in the file", "use `include:` for several files")
        return True

    def _span(self, event: Any, length: int) -> tuple[str, int, int, int]:
        return self._file, event.start_mark.line + 1, event.start_mark.column + 1, length

    def _scalar(self, event: Any) -> ScalarNode:
        start, end = event.start_mark, event.end_mark
        length = max(1, end.column - start.column) if start.line == end.line else 1
        return ScalarNode(self._file, start.line + 1, start.column + 1, length, event.value, not event.style)

    def _allowed(self, event: Any) -> bool:
        self._count += 1
        if event.anchor is not None:
            return self._refuse(event, f"anchor `&{event.anchor}`", "write the value out where it is needed")
        if event.tag is not None:
            return self._refuse(event, f"tag `{event.tag}`", "leave the tag out: the schema knows the type")
        if self._count > self._most:
            return self._refuse(event, f"more than {self._most} values", "split the policy over several proxies")
        return True

    def _refuse(self, event: Any, what: str, cure: str) -> bool:
        place = Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)
        self._report.error("E003", f"{what} is not accepted", place, cure=cure)
        return False

    def _begin(self, node: SequenceNode | MappingNode) -> bool:
        if len(self._open) >= MAX_DEPTH:
            self._report.error("E003", f"nested deeper than {MAX_DEPTH} levels", node.place)
            return False
        if not self._add(node):
            return False
        self._open.append(node)
        self._keys.append(None)
        return True

    def _add(self, node: Node) -> bool:
        if not self._open:
            self.root = node
            return True
        parent = self._open[-1]
        if isinstance(parent, SequenceNode):
            parent.items.append(node)
            return True
        key = self._keys[-1]
        if key is None:
            return self._key(node)
        self._keys[-1] = None
        if key.text not in parent.values:
            parent.keys[key.text], parent.values[key.text] = key, node
        return True

    def _key(self, node: Node) -> bool:
        if not isinstance(node, ScalarNode):
            self._report.error("E003", "a key must be a plain word", node.place)
            return False
        parent = self._open[-1]
        if isinstance(parent, MappingNode) and node.text in parent.keys:
            first = parent.keys[node.text].line
            self._report.error(
                "E004", f"duplicate key `{node.text}`", node.place, node.length, f"it was first written on line {first}"
            )
        self._keys[-1] = node
        return True

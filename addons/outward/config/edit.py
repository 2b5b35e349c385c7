"""Changing the text of a configuration file: entries are added to lists, and everything else stays as it was written.

Works on the marks of YAML's own composer, so that comments, order and style are kept. The outcome is read again: it
says what the text said before, and the entries that were added.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, SequenceNode, at, parse
from outward.core.model import Place

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class EditError(ValueError):
    """The file cannot be changed by a program; the message says why."""


@dataclass(frozen=True, slots=True)
class Addition:
    """Entries for the end of a list.

    Attributes:
        group: path of the group in whose `allow` the list is.
        entries: as YAML that stands in brackets too.
        place: of the rule whose `key` gets more values; None for `allow` itself.
    """

    group: str
    entries: tuple[str, ...]
    place: Place | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class _Insertion:
    at: int
    text: str
    upto: int  # the end of what it takes the place of


type Spot = tuple[int, int]
"""Line and column, from 1."""


def amendable(text: str) -> Mapping[str, frozenset[tuple[Spot, str]]]:
    """Return the groups that a file's text writes; for each, where its allow rules stand and their keys with a list."""
    return {
        path: frozenset(
            (_spot(rule), key)
            for rule in rules
            if isinstance(rule, MappingNode)
            for key, member in rule.values.items()
            if isinstance(member, SequenceNode)
        )
        for path, rules in _allowed(text).items()
    }


def added(text: str, additions: Iterable[Addition]) -> str:
    """Return a file's text with entries added.

    Args:
        text: of a file that loads.
        additions: for groups that it writes.

    Raises:
        EditError: it cannot be done without changing more than that.
    """
    wanted = list(additions)
    mark, body = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
    editor = _Editor(body)
    done = body
    for each in sorted((editor.insertion(each) for each in wanted), key=lambda each: -each.at):
        done = done[: each.at] + each.text + done[each.upto :]
    if _plain(done) != _with(body, wanted):
        raise EditError("the file is written in a way that cannot be added to; write the lines by hand")
    return mark + done


def _plain(text: str) -> Any:
    report = Report()
    root = parse(text, "", report)
    return None if root is None or report.failed else root.plain()


def _allowed(text: str) -> Mapping[str, list[Node]]:
    """Return the entries of each group's `allow`."""
    root = parse(text, "", Report())
    groups = at(root, "groups") if root is not None else None
    found = {}
    for key, group in groups.items() if isinstance(groups, MappingNode) else ():
        rules = at(group, "allow")
        found[key.text] = rules.items if isinstance(rules, SequenceNode) else []
    return found


def _spot(rule: Node) -> Spot:
    host = rule.get("host") if isinstance(rule, MappingNode) else rule
    return (host or rule).line, (host or rule).column


def _with(text: str, additions: Sequence[Addition]) -> Any:
    """Return what a file should say afterwards, as values."""
    plain, rules = _plain(text), _allowed(text)
    for each in additions:
        group = plain["groups"][each.group] = plain["groups"][each.group] or {}
        entries = _plain(f"- [{', '.join(each.entries)}]")[0]
        if each.place is None:
            group["allow"] = [*(group.get("allow") or []), *entries]
        else:
            spots = [_spot(rule) for rule in rules[each.group]]
            group["allow"][spots.index((each.place.line, each.place.column))][each.key] += entries
    return plain


class _Editor:
    """Finds the place of an insertion."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = "\r\n" if "\r\n" in text else "\n"
        self._starts = [0]
        for line in text.split("\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._root = yaml.compose(text, Loader=_LOADER)

    def insertion(self, each: Addition) -> _Insertion:
        """Return what to insert for an addition."""
        group = _value(_value(self._root, "groups"), each.group)
        if group is None:
            raise EditError(f"`{each.group}` is not written in this file")
        rules = _value(group, "allow")
        if each.place is not None:
            rules = _value(_at_spot(rules, (each.place.line, each.place.column)), each.key)
        if isinstance(rules, yaml.SequenceNode):
            return self._into(rules, each.entries)
        if rules is not None:  # `allow:` without a value
            return self._over(rules, f"[{', '.join(each.entries)}]")
        entry = f"allow: [{', '.join(each.entries)}]"
        if not isinstance(group, yaml.MappingNode):
            return self._over(group, f"{{{entry}}}")
        if group.flow_style or not group.value:
            return self._flow(group, entry)
        end, indent = self._last(group), " " * group.value[0][0].start_mark.column
        lines = [f"{indent}allow:", *(f"{indent}  - {entry}" for entry in each.entries)]
        return self._below(end, lines)

    def _into(self, node: Any, entries: Sequence[str]) -> _Insertion:
        if node.flow_style or not node.value:
            return self._flow(node, ", ".join(entries))
        indent = " " * node.start_mark.column
        return self._below(self._last(node), [f"{indent}- {entry}" for entry in entries])

    def _below(self, end: int, lines: Sequence[str]) -> _Insertion:
        """Insert lines below the one that a place is in, behind its comment."""
        stop = self._text.find("\n", end)
        stop = len(self._text) if stop < 0 else stop
        if self._text[stop - 1 : stop] == "\r":
            stop -= 1
        return _Insertion(stop, "".join(f"{self._end}{line}" for line in lines), stop)

    def _flow(self, node: Any, text: str) -> _Insertion:
        """Insert behind the last member in brackets."""
        if node.value:
            end = self._last(node)
            return _Insertion(end, f", {text}", end)
        end = self._offset(node.end_mark) - 1
        return _Insertion(end, text, end)

    def _over(self, node: Any, text: str) -> _Insertion:
        """Put a value in the place of an empty one."""
        start, end = self._offset(node.start_mark), self._offset(node.end_mark)
        return _Insertion(start, text if start < end and self._text[start - 1] == " " else f" {text}", end)

    def _last(self, node: Any) -> int:
        """Return the end of the last member; the end mark of lines lies behind what follows them."""
        child = node.value[-1]
        child = child[1] if isinstance(child, tuple) else child
        collection = isinstance(child, yaml.CollectionNode)
        if collection and not child.flow_style and child.value:
            return self._last(child)
        end = self._offset(child.end_mark)
        return len(self._text[:end].rstrip()) if child.end_mark.column == 0 else end

    def _offset(self, mark: Any) -> int:
        return int(self._starts[mark.line] + mark.column)


def _value(node: Any, key: str) -> Any:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _at_spot(rules: Any, spot: Spot) -> Any:
    for item in rules.value if isinstance(rules, yaml.SequenceNode) else ():
        mark = (_value(item, "host") or item).start_mark
        if (mark.line + 1, mark.column + 1) == spot:
            return item
    return None

"""What holds of a team's file that has an error at start: what it forbids. If that cannot be known, nothing passes."""

from collections.abc import Mapping
from ipaddress import ip_network

from outward.config.confines import Confines
from outward.config.document import MappingNode, Node, ScalarNode
from outward.config.groups import WrittenGroup
from outward.config.schema import Document, GroupModel, WebSearchModel
from outward.core.model import Pattern, PatternKind, Place, Rule
from outward.core.policy import within
from outward.core.rules import Rules


def is_misplaced(root: MappingNode, confines: Confines) -> bool:
    """Tell whether a document may forbid something where it does not count: a misspelt name, another file."""
    groups = root.get("groups")
    paths = groups.values if isinstance(groups, MappingNode) else ()
    return any(key not in Document.model_fields or key == "include" for key in root.values) or not all(
        within(path, confines.under) for path in paths
    )


def without_allowing(root: MappingNode, confines: Confines) -> MappingNode:
    """Return a document without what allows, and without what does not count in it.

    A key that does not exist stays: it may be a misspelt `deny`.
    """
    groups = root.get("groups")
    sections: dict[str, Node] = {key: root.values[key] for key in ("sets",) if key in root.values}
    if isinstance(groups, MappingNode):
        sections["groups"] = _of(groups, {key: _forbidding(group, confines) for key, group in groups.values.items()})
    elif groups is not None:
        sections["groups"] = groups
    return _of(root, sections)


_SOFTER = (("mode", "report"), ("ech", "pass"))


def _forbidding(group: Node, confines: Confines) -> Node:
    if not isinstance(group, MappingNode):
        return group
    dropped = {"allow", "web_search"} | (GroupModel.model_fields.keys() - set(confines.group))
    lane = group.get("lane")
    if isinstance(lane, ScalarNode) and lane.text == "tunnel" and lane.text not in confines.lanes:
        dropped.add("lane")
    for key, softer in _SOFTER:
        said = group.get(key)
        if isinstance(said, ScalarNode) and said.text == softer:
            dropped.add(key)
    return _of(group, {key: value for key, value in group.values.items() if key not in dropped})


def _of(node: MappingNode, values: Mapping[str, Node]) -> MappingNode:
    keys = {key: node.keys[key] for key in values}
    return MappingNode(node.file, node.line, node.column, node.length, keys, dict(values))


NO_SEARCH = WebSearchModel.model_validate({"enabled": "false"})
_EVERYTHING = (
    Pattern(PatternKind.ANY),
    *(Pattern(PatternKind.NETWORK, text, ip_network(text)) for text in ("0.0.0.0/0", "::/0")),
)
_CLOSED = "what this file denies cannot be read, so that everything is denied"


def closed(place: Place) -> WrittenGroup:
    """Return a group that denies everything."""
    rules = Rules(Rule(pattern, place, None, note=_CLOSED) for pattern in _EVERYTHING)
    return WrittenGroup(deny=rules, search=NO_SEARCH, place=place, confined=True)


def is_closed(own: Mapping[str, WrittenGroup]) -> bool:
    """Tell whether one of these groups is what `closed` returns."""
    return any(rule.note is _CLOSED for each in own.values() for rule in each.deny.all)

"""What a source of configuration may hold that is not trusted with all of it.

Owns the notion: sections, kinds of clients and keys of groups and rules that a source may use, and below which group
it may write. Everything else is an error at its place, with a cure. What is allowed is listed, so that a key that is
new to the schema is refused until somebody lists it here.
"""

from collections.abc import Collection
from dataclasses import dataclass

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode, at
from outward.config.schema import WebSearchModel
from outward.core.policy import within

_RULE = frozenset({"host", "port", "ports", "methods", "paths", "tls", "public_suffix", "encoded_slash"})
_NOTES = frozenset({"owner", "note", "until"})
_LISTS = ("allow", "deny", "ceiling")


@dataclass(frozen=True, slots=True)
class Confines:
    """What a source may hold.

    Attributes:
        what: the source in words, for messages: "a policy that the working tree brings".
        cure: how the user gets more, for messages.
        sections: keys at the top.
        group: keys of a group.
        search: keys of a group's `web_search`.
        rule: keys of a rule.
        lanes: values of `lane`.
        clients: keys of a client entry beside `group`.
        under: path at or below which its groups lie; None for any.
        clear: whether a rule may say `tls: false`, which tunnels past `lane: inspect`.
    """

    what: str
    cure: str
    sections: Collection[str]
    group: Collection[str]
    search: Collection[str]
    rule: Collection[str] = _RULE | _NOTES
    lanes: Collection[str] = ("inspect",)
    clients: Collection[str] = ()
    under: str | None = None
    clear: bool = True


FOUND = Confines(
    what="a policy that the working tree brings",
    cure="leave it out; if you want it, write it into your own configuration, or name a file of your own with --config",
    sections=("version", "include", "groups", "sets", "tests", "clients"),
    # No key that softens, or hides from lists, what the user's own file says: `mode`, `ech`, `ignore`, …
    group=(*_LISTS, "lane", "denial", "web_search"),
    search=("enabled", "locked", "sources", "per_day"),
    rule=_RULE | _NOTES | {"addresses"},
    clients=("anyone", "token_sha256"),
)

LANE_TUNNEL = "lane: tunnel"
MAY = ("mode", LANE_TUNNEL, "ech", "inject", "addresses", "grants", "limits")
_USUAL = frozenset({*_LISTS, "ignore", "lane", "denial", "web_search"})


def subtree_confines(under: str, may: Collection[str]) -> Confines:
    """Return what a file may hold that is confined to the groups at or below a path.

    Args:
        under: the path.
        may: keys that the one who includes it allows beside the usual ones; of `MAY`.
    """
    tunnels = LANE_TUNNEL in may
    return Confines(
        what=f"a file confined to `{under}`",
        cure="leave it out; whoever includes the file may list it under `may`"
        if set(MAY) - set(may)
        else "leave it out",
        sections=("version", "groups", "sets", "tests"),
        group=_USUAL | {key for key in ("mode", "ech", "grants", "limits") if key in may},
        search=frozenset(WebSearchModel.model_fields),
        rule=_RULE | _NOTES | {key for key in ("inject", "addresses") if key in may},
        lanes=("auto", "inspect", *(["tunnel"] if tunnels else [])),
        under=under,
        clear=tunnels,
    )


def confine(root: MappingNode, confines: Confines, report: Report) -> None:
    """Report whatever a file says that its source may not hold."""
    _only(root, confines.sections, "`{}`", confines, report)
    groups = root.get("groups")
    for path, group in groups.items() if isinstance(groups, MappingNode) else ():
        if confines.under is not None and not within(path.text, confines.under):
            _refuse(path, f"`{path.text}`, which is not `{confines.under}` or below it,", confines, report)
        _group(group, confines, report)
    sets = root.get("sets")
    for _, members in sets.items() if isinstance(sets, MappingNode) else ():
        _rules(members, confines, report)
    tests = root.get("tests")
    for case in tests.items if confines.under is not None and isinstance(tests, SequenceNode) else ():
        asks = at(case, "group")
        if isinstance(asks, ScalarNode) and not within(asks.text, confines.under):
            _refuse(asks, f"a test of `{asks.text}`", confines, report)
    clients = root.get("clients") if "clients" in confines.sections else None
    for entry in clients.items if isinstance(clients, SequenceNode) else ():
        _only(entry, ("group", "name", *confines.clients), "a client with `{}`", confines, report)


def _group(group: Node, confines: Confines, report: Report) -> None:
    _only(group, confines.group, "`{}` of a group", confines, report)
    lane = at(group, "lane")
    if isinstance(lane, ScalarNode) and "lane" in confines.group and lane.text not in confines.lanes:
        _refuse(lane, f"`lane: {lane.text}`", confines, report)
    search = at(group, "web_search")
    if search is not None and "web_search" in confines.group:
        _only(search, confines.search, "`{}` of `web_search`", confines, report)
    for rules in (*(at(group, name) for name in _LISTS), at(group, "web_search", "sources")):
        _rules(rules, confines, report)


def _rules(node: Node | None, confines: Confines, report: Report) -> None:
    for rule in node.items if isinstance(node, SequenceNode) else ():
        _only(rule, confines.rule, "`{}` of a rule", confines, report)
        clear = at(rule, "tls")
        if not confines.clear and isinstance(clear, ScalarNode) and clear.text == "false":
            _refuse(clear, f"`tls: false`, which is a tunnel (`{LANE_TUNNEL}`),", confines, report)


def _only(node: Node, keys: Collection[str], named: str, confines: Confines, report: Report) -> None:
    for key in node.keys.values() if isinstance(node, MappingNode) else ():
        if key.text not in keys:
            _refuse(key, named.format(key.text), confines, report)


def _refuse(node: ScalarNode, said: str, confines: Confines, report: Report) -> None:
    report.error("E027", f"{said} does not count in {confines.what}", node.place, node.length, confines.cure)

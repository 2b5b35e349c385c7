"""Groups as written to groups of the core: ancestors, inheritance field by field, locks and ceilings.

Reading a group needs its own file alone; building needs all of them. What several sources write at one path is built as
layers, each the parent of the next: what the lower one denies, locks and bounds holds for the upper one as an
ancestor's does.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from types import MappingProxyType
from typing import Any

from outward.config.conditions import ListPurpose
from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode
from outward.config.rules import RuleCompiler
from outward.config.schema import GroupModel, WebSearchModel
from outward.config.validate import validate
from outward.core.limits import GroupLimits, Rate
from outward.core.model import (
    Ech,
    Filter,
    Grants,
    LaneChoice,
    OnViolation,
    OptIn,
    Place,
    RecordDetail,
    Rule,
    Unfilterable,
    WebSearch,
)
from outward.core.policy import Group
from outward.core.rules import Rules

MAX_PATH = 255
MAX_IGNORED = 1_000
_PATH = re.compile(r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_.-]+)*")
_LISTS = frozenset({"allow", "deny", "ceiling", "ignore", "web_search"})


@dataclass(frozen=True, slots=True)
class WrittenGroup:
    """What a group itself says.

    Attributes:
        place: where its path is written; None for an ancestor that nobody wrote.
        confined: that its source may only tighten what its ancestors say of web search and lanes.
    """

    model: GroupModel = field(default_factory=GroupModel)
    search: WebSearchModel = field(default_factory=WebSearchModel)
    search_place: Place | None = None
    limits_place: Place | None = None
    sources: tuple[Rule, ...] | None = None
    allow: Rules = field(default_factory=Rules)
    deny: Rules = field(default_factory=Rules)
    ceiling: Rules | None = None
    ignore: tuple[Rule, ...] = ()
    place: Place | None = None
    confined: bool = False


def is_path(text: str) -> bool:
    """Tell whether a text can be the path of a group."""
    return len(text) <= MAX_PATH and _PATH.fullmatch(text) is not None


def read_groups(
    written: Mapping[str, tuple[ScalarNode, Node]], rules: RuleCompiler, report: Report, *, confined: bool = False
) -> dict[str, WrittenGroup]:
    """Return what each group says, by path.

    Args:
        written: nodes by path, with the path's own node.
        rules: compiles their lists.
        report: takes the findings.
        confined: whether the source may only tighten settings.
    """
    own: dict[str, WrittenGroup] = {}
    for path, (key, node) in written.items():
        if is_path(path):
            own[path] = replace(_read(node, rules, report), place=key.place, confined=confined)
        else:
            cure = "segments of letters, digits, `_`, `.` and `-`, separated by `/`, such as `acme/platform`"
            report.error("E016", "not a group's path", key.place, key.length, cure)
    return own


def build_groups(
    layers: Iterable[Mapping[str, WrittenGroup]],
    report: Report,
    over: Mapping[str, Group] = MappingProxyType({}),
    ground: Group | None = None,
) -> dict[str, Group]:
    """Return the groups by path, ancestors that nobody wrote included.

    Args:
        layers: what groups say; at one path the earlier becomes the parent of the later.
        report: takes the findings.
        over: groups that these are laid over; one of the same path becomes the parent.
        ground: parent of a path's first segment that is not among them.
    """
    own: dict[str, list[WrittenGroup]] = {}
    for layer in layers:
        for path, each in layer.items():
            own.setdefault(path, []).append(each)
    groups: dict[str, Group] = {}
    for path in own:
        _build(path, _Layers(own, over, ground), groups, report)
    return groups


def _read(node: Node, rules: RuleCompiler, report: Report) -> WrittenGroup:
    if isinstance(node, ScalarNode) and node.is_null:
        return WrittenGroup()
    model = validate(GroupModel, node, report, _LISTS, "a group")
    if not isinstance(node, MappingNode):
        return WrittenGroup()
    ceiling = node.values.get("ceiling")
    if isinstance(ceiling, ScalarNode) and ceiling.is_null:
        cure = "write `[]` if descendants may add nothing, or leave the key out for no ceiling"
        report.error("E007", "`ceiling` is empty, which could mean two things", ceiling.place, ceiling.length, cure)
    _check_ech(node, model, report)
    _check_limits(node, model, report)
    ignore = rules.compile(node.get("ignore"), ListPurpose.DENY)
    _check_ignored(ignore, report)
    search = node.get("web_search")
    sources = search.get("sources") if isinstance(search, MappingNode) else None
    inherits = sources is None or (isinstance(sources, ScalarNode) and sources.text == "inherit")
    return WrittenGroup(
        model=model or GroupModel(),
        search=(validate(WebSearchModel, search, report, frozenset({"sources"}), "`web_search`") if search else None)
        or WebSearchModel(),
        search_place=search.place if search else None,
        limits_place=node.values["limits"].place if "limits" in node.values else None,
        sources=None if inherits else rules.compile(sources, ListPurpose.ALLOW),
        allow=Rules(rules.compile(node.get("allow"), ListPurpose.ALLOW)),
        deny=Rules(rules.compile(node.get("deny"), ListPurpose.DENY)),
        ceiling=None if ceiling is None else Rules(rules.compile(ceiling, ListPurpose.ALLOW)),
        ignore=ignore,
    )


def _check_ignored(rules: tuple[Rule, ...], report: Report) -> None:
    """Refuse lists of names that are too long to be left out of lists of denials, which a database does."""
    for rule in rules:
        if rule.pattern.names is not None and rule.pattern.names.length > MAX_IGNORED:
            message = f"more than {MAX_IGNORED} names under `ignore`: {rule.pattern}"
            cure = "shorten it, such as with `*.example.com` for all below a name"
            report.error("E007", message, rule.place, 1, cure)


def _check_ech(node: MappingNode, model: GroupModel | None, report: Report) -> None:
    """Warn that a lane which sees nothing refuses the clients that could hide a second name."""
    if model is None or model.lane is not LaneChoice.TUNNEL or model.ech is not None:
        return
    lane, message = node.values["lane"], "`lane: tunnel` refuses clients that offer ECH, such as Chromium"
    cure = "write `ech: pass` beside it if browsers are to work, or `ech: refuse` to say that they are not"
    report.warning("W126", message, lane.place, lane.length, cure)


def _check_limits(node: MappingNode, model: GroupModel | None, report: Report) -> None:
    """Refuse limits that limit nothing."""
    own = None if model is None else model.limits
    if own is None or own.connections or own.requests_per_second:
        return
    limits = node.values["limits"]
    cure = "write `requests_per_second`, with `burst` beside it if you want, or `connections`"
    report.error("E007", "`limits` sets no limit", limits.place, limits.length, cure)


def _limits(mine: WrittenGroup) -> GroupLimits | None:
    own = mine.model.limits
    if own is None or mine.limits_place is None:
        return None
    often = own.requests_per_second
    rate = None if often is None else Rate(often, own.burst or ceil(often))
    return GroupLimits(mine.limits_place, rate, own.connections)


@dataclass(frozen=True, slots=True)
class _Layers:
    """What is written, the lowest layer first, and what it is laid over."""

    own: Mapping[str, list[WrittenGroup]]
    over: Mapping[str, Group]
    ground: Group | None


def _build(path: str, layers: _Layers, groups: dict[str, Group], report: Report) -> Group:
    """Build a group and, first, the ancestors that it lacks."""
    if path in groups:
        return groups[path]
    if path in layers.over and path not in layers.own:
        return layers.over[path]
    above = path.rpartition("/")[0]
    group = layers.over.get(path) or (_build(above, layers, groups, report) if above else layers.ground)
    for mine in layers.own.get(path) or (WrittenGroup(),):
        group = _laid(path, mine, group, report)
    groups[path] = group or Group(path)
    return groups[path]


def _laid(path: str, mine: WrittenGroup, parent: Group | None, report: Report) -> Group:
    inherited = parent or Group("")
    return Group(
        path=path,
        allow=mine.allow,
        deny=mine.deny,
        ceiling=mine.ceiling,
        ignore=mine.ignore,
        parent=parent,
        mode=mine.model.mode or inherited.mode,
        lane=_lane(path, mine, inherited, report),
        denial=mine.model.denial or inherited.denial,
        # Where nothing is ever seen of a connection but its first message, that message may hide no second name.
        ech=mine.model.ech or (Ech.REFUSE if mine.model.lane is LaneChoice.TUNNEL else inherited.ech),
        web_search=_web_search(path, mine, inherited.web_search, report),
        limits=_limits(mine),
        grants=Grants.NONE if inherited.grants is Grants.NONE else mine.model.grants or inherited.grants,
    )


def _lane(path: str, mine: WrittenGroup, inherited: Group, report: Report) -> LaneChoice:
    own = mine.model.lane
    if mine.confined and own is LaneChoice.AUTO and inherited.lane is LaneChoice.INSPECT:
        report.warning("W112", f"`lane: auto` of `{path}` has no effect: {_LOOSENS}", mine.place, 1, _TIGHTEN)
        return inherited.lane
    return own or inherited.lane


_LOOSENS = "it would loosen what is said above it"
_TIGHTEN = "leave it out; who includes this file can say it in the main file"
_STRICT = (OptIn.REQUIRED, Filter.STRICT, Unfilterable.BLOCK, OnViolation.CUT, RecordDetail.FULL)


def _web_search(path: str, mine: WrittenGroup, inherited: WebSearch, report: Report) -> WebSearch:
    own = mine.search
    if inherited.locked_by is not None:
        if mine.search_place is not None:
            message = f"`web_search` of `{path}` has no effect: `{inherited.locked_by}` locks it"
            report.warning("W112", message, mine.search_place, cure="remove it here, or unlock it there")
        return inherited
    most = None if own.max_searches == "unlimited" else _number(own.max_searches, inherited.max_searches)
    chosen = replace(
        inherited,
        enabled=inherited.enabled if own.enabled is None else own.enabled,
        opt_in=own.opt_in or inherited.opt_in,
        sources=inherited.sources if mine.sources is None else mine.sources,
        filter=own.filter or inherited.filter,
        max_searches=most,
        per_day=_per_day(path, mine, inherited, report),
        unfilterable=own.unfilterable or inherited.unfilterable,
        on_violation=own.on_violation or inherited.on_violation,
        record=own.record or inherited.record,
        decided_by=inherited.decided_by if own.enabled is None else path,
        locked_by=path if own.locked else None,
    )
    return _tightened(path, mine, chosen, inherited, report) if mine.confined else chosen


def _tightened(path: str, mine: WrittenGroup, chosen: WebSearch, inherited: WebSearch, report: Report) -> WebSearch:
    """Return settings without what loosens the inherited ones; whether search is on is a lock's to bound."""
    loose: dict[str, Any] = {
        name: getattr(inherited, name)
        for name in ("opt_in", "filter", "unfilterable", "on_violation", "record")
        if getattr(chosen, name) not in (getattr(inherited, name), *_STRICT)
    }
    bound = inherited.max_searches
    if bound is not None and (chosen.max_searches is None or chosen.max_searches > bound):
        loose["max_searches"] = bound
    if chosen.locked_by is not None and chosen.enabled:  # it would hold against an administrator's "off"
        loose["locked_by"] = None
    for name in loose:
        key = "locked" if name == "locked_by" else name
        report.warning("W112", f"`{key}` of `{path}` has no effect: {_LOOSENS}", mine.search_place, cure=_TIGHTEN)
    return replace(chosen, **loose)


def _per_day(path: str, mine: WrittenGroup, inherited: WebSearch, report: Report) -> tuple[tuple[str, int], ...]:
    """Return the limits that hold for a group, its own last; warn of one that can never be reached."""
    own = mine.search.per_day
    if own is None:
        return inherited.per_day
    above, most = min(inherited.per_day, key=lambda each: each[1], default=("", own))
    if most < own and mine.search_place is not None:
        message = f"`per_day: {own}` of `{path}` is never reached: `{above}` allows {most} to all below it"
        report.warning("W133", message, mine.search_place, cure="lower it here, or raise it there")
    return (*inherited.per_day, (path, own))


def _number(own: int | str | None, inherited: int | None) -> int | None:
    return own if isinstance(own, int) else inherited

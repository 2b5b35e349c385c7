"""Smells of a compiled policy: what loads, and does not do what its author seems to want."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from outward.core.addresses import Own, judge_address
from outward.core.claims import PLACEHOLDER
from outward.core.confusable import looks_like
from outward.core.cover import covering, overlaps, rule_covers
from outward.core.identity import is_pattern
from outward.core.limits import GroupLimits
from outward.core.model import DEFAULT_PORTS, ClientEntry, Credential, LaneChoice, PatternKind, Place, Rule
from outward.core.policy import Group, Policy, layers, within


@dataclass(frozen=True, slots=True)
class Smell:
    """One smell.

    Attributes:
        ident: stable code, such as `W102`.
        message: lower case, no final stop.
        place: where it was written.
        help: how to mend it.
    """

    ident: str
    message: str
    place: Place
    help: str = ""


def lint(policy: Policy, places: Mapping[str, Place], governed: Collection[str] = ()) -> Iterator[Smell]:
    """Yield the smells of a policy.

    Args:
        policy: the compiled policy.
        places: where each group was written, by path; groups without a place were not written by anyone.
        governed: names of hosts that have a vendor; the policy itself can only be asked about one.

    Example:
        >>> [(each.ident, each.message) for each in lint(policy(rule("*")), {"dev": Place("p.yaml", 3)})]
        [('W106', '`*` allows every public host')]
    """
    yield from _clients(policy)
    yield from _unmapped(policy, places)
    for group in layers(policy.groups.values()):
        for rule in group.allow.all:
            yield from _allow(policy, group, rule)
            yield from _beside(policy, group, rule, governed)
        for rule in (*group.deny.all, *(group.ceiling.all if group.ceiling else ())):
            yield from _name(rule)
        yield from _limits(group)
        yield from _duplicates(group)
        yield from _pairs(group)


def _clients(policy: Policy) -> Iterator[Smell]:
    """Yield entries that can never match, and those that identify what an earlier one identifies already."""
    for entry in policy.clients:
        certificate = "" if entry.certificate is None or is_pattern(entry.certificate) else entry.certificate
        starred = next((each for each in (certificate, *entry.group_map) if "*" in each), None)
        if starred is not None:
            message = f"`{starred}` matches nothing: the names of clients are compared as they stand"
            cure = "write each name out; a SPIFFE URI may end in `/*`, which is one segment"
            yield Smell("W124", message, entry.place, cure)
        if entry.template is not None and not _reached(policy, entry):
            message = f"no group is like `{entry.template}`: every token of this entry will be refused"
            yield Smell("W150", message, entry.place, "write the groups, or mend the path")
    seen: dict[tuple[object, ...], ClientEntry] = {}
    for entry in policy.clients:
        if entry.kind is Credential.JWT:
            continue
        key = (entry.kind, entry.token_sha256, entry.source, entry.certificate)
        if key in seen:
            message = f"this client is identified by the entry at {seen[key].place} already"
            yield Smell("W115", message, entry.place, "remove one of them: the first one counts")
        seen.setdefault(key, entry)


def _unmapped(policy: Policy, places: Mapping[str, Place]) -> Iterator[Smell]:
    if not policy.clients:
        place = next(iter(places.values()), None)
        if place is not None:
            cure = "add `clients:`, such as `- {group: " + next(iter(places)) + ", anyone: true}`"
            yield Smell("W105", "no client maps to any group: every request will be refused", place, cure)
        return
    used = {path for entry in policy.clients for path in _reached(policy, entry)}
    reached = {above for path in used for above in _with_ancestors(path)}
    for path, place in places.items():
        if path not in reached:
            yield Smell(
                "W105", f"no client maps to `{path}` or a group below it", place, "add a `clients` entry for it"
            )


def _with_ancestors(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _reached(policy: Policy, entry: ClientEntry) -> tuple[str, ...]:
    """Return the groups that an entry can map to."""
    if entry.group_claim is None:
        return (entry.group,) if entry.group else ()
    if entry.template is not None:
        start, _, end = entry.template.partition(PLACEHOLDER)
        return tuple(path for path in policy.groups if _fills(path, start, end))
    if entry.group_map:
        return tuple(entry.group_map.values())
    return tuple(path for path in policy.groups if within(path, entry.group))


def _limits(group: Group) -> Iterator[Smell]:
    """Yield limits that are never reached, since an ancestor's are at most as high."""
    own = group.limits
    for node in group.chain if own is not None else ():
        if own is None or node.limits is None or node is group:
            continue
        for key, mine, above in (
            ("requests_per_second", _often(own), _often(node.limits)),
            ("connections", own.connections, node.limits.connections),
        ):
            if mine is not None and above is not None and mine > above:
                message = (
                    f"`{key}: {mine:g}` of `{group.path}` is never reached: all below `{node.path}` have {above:g}"
                )
                yield Smell("W151", message, own.place, "lower it here, or raise it there")


def _often(limits: GroupLimits) -> float | None:
    return None if limits.rate is None else limits.rate.per_second


def _fills(path: str, start: str, end: str) -> bool:
    """Tell whether a path is a template's: its two ends, and one segment between them."""
    between = path[len(start) : len(path) - len(end)]
    return bool(between) and "/" not in between and path == f"{start}{between}{end}"


def _allow(policy: Policy, group: Group, rule: Rule) -> Iterator[Smell]:
    yield from _name(rule)
    yield from _unlimited(rule)
    yield from _lane(policy, group, rule)
    yield from _address(policy, rule)
    for node in group.chain:
        denied = next((each for each in covering(node.deny, rule.pattern) if _denies(each, rule)), None)
        if denied is not None:
            message = f"`{rule.pattern}` never allows anything: `{denied.pattern}` at {denied.place} denies it"
            yield Smell("W104", message, rule.place, "remove one of the two")
            return
    for node in group.chain:
        if node is not group and node.ceiling is not None and not _inside(node, rule):
            message = f"`{rule.pattern}` never allows anything: it lies outside the ceiling of `{node.path}`"
            yield Smell("W108", message, rule.place, "remove it, or widen the ceiling")
            return
    yield from _shadowed(group, rule)


def _denies(deny: Rule, allow: Rule) -> bool:
    """Tell whether a deny rule takes all of an allow rule of the same hosts; whether it speaks TLS does not matter."""
    return not deny.needs_sight and (deny.ports is None or (allow.ports is not None and allow.ports <= deny.ports))


def _inside(node: Group, rule: Rule) -> bool:
    """Tell whether a rule overlaps a ceiling; a narrow rule is looked up, a wide one compared with each entry."""
    ceiling = node.ceiling
    if ceiling is None or any(overlaps(each, rule) for each in covering(ceiling, rule.pattern)):
        return True
    return rule.pattern.kind is not PatternKind.EXACT and any(overlaps(each, rule) for each in ceiling.all)


def _shadowed(group: Group, rule: Rule) -> Iterator[Smell]:
    """Yield where a wider rule allows the same already, so that this one's limits have no effect."""
    for node in group.chain:
        for wide in covering(node.allow, rule.pattern):
            if wide.place == rule.place or not rule_covers(wide, rule):
                continue
            if node is group and _same(wide, rule):
                continue  # a duplicate, told as such
            limits = ", and its limits have no effect" if rule.needs_sight and not wide.needs_sight else ""
            message = f"{_named(rule)} is allowed by {_named(wide)} at {wide.place} already{limits}"
            yield Smell("W103", message, rule.place, "remove this rule, or narrow the other")
            return


def _named(rule: Rule) -> str:
    """Return a rule's pattern, with its ports where they are not the usual ones."""
    if rule.ports is None or rule.ports == DEFAULT_PORTS:
        return f"`{rule.pattern}`"
    return f"`{rule.pattern}` (port {', '.join(map(str, sorted(rule.ports)[:5]))})"


def _pairs(group: Group) -> Iterator[Smell]:
    """Yield, once for each file, that a name and all below it stand in two entries."""
    limits = ("ports", "methods", "paths", "tls", "encoded_slash", "addresses", "until")
    wide = {
        (rule.pattern.value, *(getattr(rule, name) for name in limits))
        for rule in group.allow.all
        if rule.pattern.kind is PatternKind.BELOW
    }
    found: dict[str, list[Rule]] = {}
    for rule in group.allow.all:
        key = (rule.pattern.value, *(getattr(rule, name) for name in limits))
        if rule.pattern.kind is PatternKind.EXACT and key in wide and not any(_shadowed(group, rule)):
            found.setdefault(rule.place.file, []).append(rule)
    for first, *more in found.values():
        name = first.pattern.value
        others = "" if not more else "; so is 1 more pair" if len(more) == 1 else f"; so are {len(more)} more pairs"
        yield Smell(
            "W103", f"`{name}` and `*.{name}` are one entry in two{others}", first.place, f"write `.{name}` for both"
        )


def _same(one: Rule, other: Rule) -> bool:
    return one.pattern == other.pattern and rule_covers(one, other) and rule_covers(other, one)


def _duplicates(group: Group) -> Iterator[Smell]:
    for rules in (group.allow.all, group.deny.all, group.ceiling.all if group.ceiling else ()):
        seen: dict[object, Rule] = {}
        for rule in rules:
            first = seen.setdefault((rule.pattern, rule.ports, rule.methods, rule.paths, rule.tls), rule)
            if first.place != rule.place:
                message = f"`{rule.pattern}` is listed twice, first at {first.place}"
                yield Smell("W102", message, rule.place, "remove one of them")


def _unlimited(rule: Rule) -> Iterator[Smell]:
    network = rule.pattern.network
    if rule.pattern.kind is PatternKind.ANY:
        yield Smell("W106", "`*` allows every public host", rule.place, "list the hosts that are needed")
    elif network is not None and network.prefixlen == 0:
        yield Smell("W106", f"`{network}` allows every address", rule.place, "list the networks that are needed")


def _address(policy: Policy, rule: Rule) -> Iterator[Smell]:
    """Yield where a rule names one address that the proxy does not dial, whatever the rules say."""
    network = rule.pattern.network
    if network is None or network.num_addresses != 1:
        return
    address = network.network_address
    refusal = judge_address(address, 0, (*policy.internal, *rule.addresses), Own())
    if refusal is not None:
        shut = judge_address(address, 0, (network,), Own()) is not None
        host = f"[{address}]" if address.version == 6 else address
        line = f'{{host: "{host}", addresses: ["{network}"]}}'
        cure = "remove it" if shut else f"if it is meant to be reached, write `{line}`"
        message = f"`{rule.pattern}` never allows anything: the proxy does not dial it ({refusal.what})"
        yield Smell("W116", message, rule.place, cure)


def _lane(policy: Policy, group: Group, rule: Rule) -> Iterator[Smell]:
    vendor = policy.vendor_of(rule.pattern.value) if rule.pattern.kind is PatternKind.EXACT else None
    tunnelled = group.lane is LaneChoice.TUNNEL
    if tunnelled and rule.needs_sight:
        what = "methods or paths" if rule.inject is None else "`inject`"
        message = f"`{rule.pattern}` has {what}, unseen in `lane: tunnel`: over TLS it never allows"
        yield Smell("W111", message, rule.place, "use `lane: auto`, which inspects what policy needs to see")
    elif vendor is not None and tunnelled:
        message = f"`{rule.pattern}` is governed as `{vendor}`, which needs inspection: a tunnel to it is refused"
        yield Smell("W113", message, rule.place, "use `lane: auto`")
    elif vendor is not None and not rule.tls:
        message = f"`{rule.pattern}` is governed as `{vendor}`, and so read: nothing but TLS and HTTP passes there"
        yield Smell("W113", message, rule.place, "remove `tls: false`")


def _beside(policy: Policy, group: Group, rule: Rule, governed: Collection[str]) -> Iterator[Smell]:
    """Yield where a wildcard tunnels the neighbours of a governed host, whose servers may answer for it too."""
    seen = group.lane is LaneChoice.INSPECT or (group.lane is LaneChoice.AUTO and rule.needs_sight)
    if rule.pattern.kind is not PatternKind.BELOW or (seen and rule.tls):
        return
    name = next((each for each in governed if each.endswith(f".{rule.pattern.value}")), None)
    if name is not None:
        vendor = policy.vendor_of(name)
        message = f"`{rule.pattern}` tunnels names whose servers may answer for `{name}` (`{vendor}`) too, ungoverned"
        yield Smell("W121", message, rule.place, "list the hosts that are needed, or use `lane: inspect`")


def _name(rule: Rule) -> Iterator[Smell]:
    suspicion = looks_like(rule.pattern.value)
    if suspicion is not None:
        message = f"`{rule.pattern}` {suspicion}"
        yield Smell("W107", message, rule.place, "if the name is meant, write it in its `xn--` form and comment it")

"""Entries that stand for several hosts: sets by name, and wildcards. Pure.

A set takes the place of lines if it adds no name. What would add names is offered and never taken unasked.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from outward.core.cover import overlaps, rule_covers
from outward.core.decide import decide
from outward.core.entries import written
from outward.core.evidence import Demand, Evidence
from outward.core.model import Pattern, PatternKind, Rule
from outward.core.policy import Policy
from outward.core.proposal import Known, Proposal, Proposed, enforced, with_rules
from outward.core.rules import Rules

LEAST = 3  # names that speak for a wildcard: two may be all that there are


@dataclass(frozen=True, slots=True)
class _Set:
    name: str
    rules: Rules
    names: frozenset[Pattern]


def sets_for(policy: Policy, found: Proposed, known: Known) -> list[Proposal]:
    """Return the sets that allow what proposals allow, those first that add the fewest names and cover the most.

    Example:
        >>> from outward.core.proposal import propose
        >>> known = Known(sets={"@docs": (rule("a.example", methods={"GET"}),)})
        >>> asked = Demand(question_of("https://a.example/x", "dev"), Evidence(count=1))
        >>> [(each.text, each.adds) for each in sets_for(policy(), propose(policy(), [asked], known), known)]
        [('"@docs"', 0)]
    """
    sets = [_Set(name, Rules(rules), frozenset(rule.pattern for rule in rules)) for name, rules in known.sets.items()]
    offers = []
    for path, lines in _by_group(found.proposals).items():
        alone = enforced(policy, path)
        for each in sets:
            covered = [line for line in lines if _allows(alone, path, each, line, found)]
            if covered:
                hosts = frozenset(host for line in covered for host in line.hosts)
                asked = {rule.pattern for line in covered for rule in line.rules}
                evidence = sum((line.evidence for line in covered), Evidence())
                text, adds = f'"{each.name}"', len(each.names - asked)
                offers.append(Proposal(path, text, each.rules.all, hosts, evidence, whole=True, adds=adds))
    return sorted(offers, key=lambda offer: (offer.group, offer.adds, -len(offer.hosts), offer.text))


def _allows(alone: Policy, path: str, each: _Set, line: Proposal, found: Proposed) -> bool:
    """Tell whether a set allows all that was asked of a line's hosts, and no method that was not seen."""
    if line.instead is not None:
        return False
    for host in line.hosts:
        rules = list(each.rules.for_host(host))
        demands = found.demands[path, host]
        if not rules or not _asked(rules, demands):
            return False
        after = with_rules(alone, path, [*alone.groups[path].allow.for_host(host), *rules])
        if not all(decide(after, demand.question).allowed for demand in demands):
            return False
    return True


def _asked(rules: Iterable[Rule], demands: Iterable[Demand]) -> bool:
    """Tell whether rules name no method beyond those that were seen; through a tunnel none is seen, and all pass."""
    seen = {demand.question.method for demand in demands}
    if None in seen:
        return True
    more = {"HEAD"} if "GET" in seen else set()  # a GET without its body (RFC 9110 9.3.2)
    return all(rule.methods is not None and rule.methods <= seen | more for rule in rules)


def wildcards_for(policy: Policy, found: Proposed, known: Known) -> list[Proposal]:
    """Return wildcards for which enough names directly below one registrable domain speak.

    None stands over a public suffix, over a governed host, or over one through which anybody can send.

    Example:
        >>> from outward.core.proposal import propose
        >>> known = Known(registrable=lambda name: ".".join(name.split(".")[-2:]))
        >>> asked = [Demand(question_of(f"https://{each}.a.example", "dev"), Evidence(count=1)) for each in "xyz"]
        >>> found = propose(policy(), asked, known)
        >>> [each.text for each in wildcards_for(policy(), found, known)]
        ['"*.a.example"']
    """
    alike: dict[tuple[str, Rule], list[Proposal]] = defaultdict(list)
    for line in found.proposals:
        for rule in line.rules:
            parent = rule.pattern.value.partition(".")[2]
            if rule.pattern.kind is PatternKind.EXACT and line.instead is None and known.registrable(parent) == parent:
                alike[line.group, replace(rule, pattern=Pattern(PatternKind.BELOW, parent))].append(line)
    offers = []
    for (group, rule), lines in alike.items():
        if len(lines) >= LEAST and not _is_shared(rule, policy, known):
            hosts = frozenset(host for line in lines for host in line.hosts)
            evidence = sum((line.evidence for line in lines), Evidence())
            offers.append(Proposal(group, written(rule), (rule,), hosts, evidence, whole=True, adds=None))
    return sorted(offers, key=lambda offer: (offer.group, -len(offer.hosts), offer.text))


def _is_shared(rule: Rule, policy: Policy, known: Known) -> bool:
    parent = rule.pattern.value
    if policy.vendor_of(parent) is not None or any(name.endswith(f".{parent}") for name in known.governed):
        return True
    listed = (*known.exits.values(), *known.writable.values())
    return any(overlaps(each, rule) for rules in listed for each in rules.all)


def taken(found: Proposed, offers: Iterable[Proposal]) -> Iterator[Proposal]:
    """Put entries in the place of the lines that they stand for; yield those that still stand for any.

    Example:
        >>> from outward.core.proposal import propose
        >>> asked = [Demand(question_of("https://a.example/x", "dev"), Evidence(count=1))]
        >>> known = Known(sets={"@docs": (rule("a.example", methods={"GET"}),)})
        >>> found = propose(policy(), asked, known)
        >>> [each.text for each in taken(found, sets_for(policy(), found, known))], len(found.proposals)
        (['"@docs"'], 1)
    """
    for offer in offers:
        lines = [line for line in found.proposals if _stands_for(offer, line)]
        if lines:
            found.proposals = [line for line in found.proposals if line not in lines] + [offer]
            yield offer


def offered(found: Proposed, offers: Iterable[Proposal], most: int) -> list[Proposal]:
    """Return the first offers that stand for lines which no offer before them stands for.

    Example:
        >>> from outward.core.proposal import propose
        >>> known = Known(registrable=lambda name: ".".join(name.split(".")[-2:]))
        >>> asked = [Demand(question_of(f"https://{each}.a.example", "dev"), Evidence(count=1)) for each in "xyz"]
        >>> found = propose(policy(), asked, known)
        >>> [each.text for each in offered(found, wildcards_for(policy(), found, known), most=3)]
        ['"*.a.example"']
    """
    told: list[Proposal] = []
    for offer in offers:
        lines = [line for line in found.proposals if _stands_for(offer, line)]
        if len(lines) > 1 and not any(_stands_for(each, line) for each in told for line in lines):
            told.append(offer)
    return told[:most]


def _stands_for(offer: Proposal, line: Proposal) -> bool:
    if any(rule.addresses for rule in line.rules):  # which the offer would not open
        return False
    if line.whole or line.group != offer.group or line.instead is not None or not line.hosts <= offer.hosts:
        return False
    return offer.adds is not None or all(rule_covers(offer.rules[0], rule) for rule in line.rules)


def _by_group(lines: Iterable[Proposal]) -> Mapping[str, list[Proposal]]:
    found: dict[str, list[Proposal]] = defaultdict(list)
    for line in lines:
        found[line.group].append(line)
    return found

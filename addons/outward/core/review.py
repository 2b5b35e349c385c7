"""What a reviewer asks of a policy: where data can leave below a wildcard, who owns a rule, who uses it. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from outward.core.cover import pattern_covers
from outward.core.decide import decide
from outward.core.exits import READS
from outward.core.lint import Smell
from outward.core.model import Pattern, PatternKind, Place, Rule
from outward.core.policy import Group, Policy, layers
from outward.core.reasons import Reason
from outward.core.replay import Recorded, at_home
from outward.core.rules import Rules
from outward.core.widen import LEAST

_SHOWN = 10  # hosts of a finding: a line that is still read
_TOLD = 20  # findings of a kind: a screen
_WIDE = (PatternKind.BELOW, PatternKind.SUFFIX, PatternKind.ANY)


def exits_below(policy: Policy, exits: Mapping[str, Rules], writable: Mapping[str, Rules]) -> Iterator[Smell]:
    """Yield the wildcards that allow hosts through which anybody can send, with the deny lines that close them.

    Args:
        policy: the compiled policy.
        exits: such hosts, by the set's name with `@`.
        writable: hosts that anybody with an account can write to; they do not count where only reading is allowed.

    Example:
        >>> exits = {"@pastes": Rules([rule("gist.a.example", ports=None)])}
        >>> [each.help for each in exits_below(policy(rule("*.a.example")), exits, {})]
        ['list the hosts that are needed, or add to `dev`: `deny: ["gist.a.example"]`']
    """
    index: dict[str, list[tuple[str, Pattern]]] = defaultdict(list)
    for name, rules in (*exits.items(), *writable.items()):
        for rule in rules.all:
            for base in _bases(rule.pattern):
                index[base].append((name, rule.pattern))
    for group in layers(policy.groups.values()):
        for rule in group.allow.all:
            if rule.pattern.kind in _WIDE:
                reads = rule.methods is not None and rule.methods <= READS
                found = [each for each in index.get(rule.pattern.value, ()) if not (reads and each[0] in writable)]
                yield from _below(group, rule, [each for each in found if _is_open(group, rule.pattern, each[1])])


def _bases(pattern: Pattern) -> Iterator[str]:
    """Yield what a wildcard that covers some of a pattern's hosts is written over; an empty text is every host."""
    if pattern.kind is not PatternKind.NETWORK:
        base = pattern.value
        while base:
            yield base
            base = base.partition(".")[2]
        yield ""


def _is_open(group: Group, wide: Pattern, pattern: Pattern) -> bool:
    """Tell whether a wildcard covers some of a pattern's hosts, and no deny rule all of them."""
    if not (pattern_covers(wide, pattern) or pattern_covers(pattern, wide)):
        return False
    return not any(
        deny.ports is None and not deny.needs_sight and pattern_covers(deny.pattern, pattern)
        for node in group.chain
        for deny in node.deny.all
    )


def _below(group: Group, rule: Rule, found: list[tuple[str, Pattern]]) -> Iterator[Smell]:
    patterns = list(dict.fromkeys(str(pattern) for _, pattern in found))
    if not patterns:
        return
    sets = ", ".join(f"`{name}`" for name in dict.fromkeys(name for name, _ in found))
    named = ", ".join(patterns[:3]) + (f" and {len(patterns) - 3} more" if len(patterns) > 3 else "")
    message = f"`{rule.pattern}` allows {named}: anybody can send, fetch or write through them ({sets})"
    if len(patterns) > _SHOWN:
        cure = f'deny what is not needed in `{group.path}`: `deny: ["@exits", "@publish"]`'
    else:
        entries = ", ".join(f'"{each}"' for each in patterns)
        cure = f"list the hosts that are needed, or add to `{group.path}`: `deny: [{entries}]`"
    yield Smell("W140", message, rule.place, cure)


def ownerless(policy: Policy) -> Iterator[Smell]:
    """Yield, once for each file, the allow rules without an owner, if other rules have one.

    Example:
        >>> [each.message for each in ownerless(policy(rule("a.example", owner="web"), rule("b.example")))]
        ['`b.example` has no owner, and others have']
    """
    rules = list({id(rule): rule for group in layers(policy.groups.values()) for rule in group.allow.all}.values())
    owned = {rule.place.file for rule in rules if rule.owner is not None}
    for file in sorted(owned):
        bare = [rule for rule in rules if rule.place.file == file and rule.owner is None]
        if bare:
            others = f", nor have {len(bare) - 1} more rules here" if bare[1:] else ""
            message = f"`{bare[0].pattern}` has no owner{others}, and others have"
            yield Smell("W141", message, bare[0].place, 'write `owner: "team"` into each')


def used(policy: Policy, traffic: Iterable[Recorded]) -> dict[int, set[str]]:
    """Return the names that each rule would allow of recorded traffic, by the rule's `id`.

    Example:
        >>> traffic = [Recorded(question_of("https://x.a.example", "dev"), allowed=True)]
        >>> list(used(policy(rule("*.a.example")), traffic).values())
        [{'x.a.example'}]
    """
    names: dict[int, set[str]] = defaultdict(set)
    for each in traffic:
        decision = decide(policy, at_home(policy, each.question))
        if decision.reason is Reason.RULE and decision.rule is not None:
            names[id(decision.rule)].add(each.question.host.name)
    return names


def unused(policy: Policy, names: Mapping[int, set[str]], since: str) -> Iterator[Smell]:
    """Yield the allow rules that recorded traffic does not use, or uses for few of the names that they allow.

    Args:
        policy: the compiled policy.
        names: of `used`.
        since: when the traffic begins, in words.

    Example:
        >>> [each.message for each in unused(policy(rule("a.example")), {}, since="1 May")]
        ['`a.example` was not used since 1 May']
    """
    rules = {id(rule): rule for group in layers(policy.groups.values()) for rule in group.allow.all if rule.place.line}
    idle = [rule for key, rule in rules.items() if not names.get(key) and rule.pattern.kind is not PatternKind.LIST]
    wide = [(rule, names[key]) for key, rule in rules.items() if rule.pattern.kind in _WIDE and names.get(key)]
    yield from _bounded("W142", [(rule.place, f"`{rule.pattern}` was not used since {since}") for rule in idle],
                        "remove it, or say in its `note` what it is for")  # fmt: skip
    few = [(rule, sorted(met)) for rule, met in wide if len(met) < LEAST]
    yield from _bounded(
        "W143",
        [(rule.place, f"`{rule.pattern}` met {_names(met)} since {since}: {', '.join(met)}") for rule, met in few],
        "list what is needed by name",
    )


def _names(met: list[str]) -> str:
    return f"{len(met)} name{'' if len(met) == 1 else 's'}"


def _bounded(ident: str, found: list[tuple[Place, str]], cure: str) -> Iterator[Smell]:
    for index, (place, message) in enumerate(found[:_TOLD]):
        more = len(found) - _TOLD
        last = f"; so it is with {more} more rules" if more > 0 and index == _TOLD - 1 else ""
        yield Smell(ident, f"{message}{last}", place, cure)

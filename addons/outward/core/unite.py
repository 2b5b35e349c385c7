"""Rules united: what is equal but for one limit becomes one, if that allows nothing more."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from outward.core.cover import rule_covers
from outward.core.evidence import Evidence
from outward.core.model import Rule


def with_limit(rule: Rule, key: str, value: Any) -> Rule:
    """Return a rule with another value of one limit, which is named.

    Example:
        >>> sorted(with_limit(rule("a.example"), "ports", frozenset({22})).ports)
        [22]
    """
    values: dict[str, Any] = {key: value}
    return replace(rule, **values)


def united(needs: Iterable[tuple[Rule, Evidence]]) -> list[tuple[Rule, Evidence]]:
    """Unite rules for one host, if the union allows nothing that neither of them did.

    Example:
        >>> get, head = rule("a.example", methods={"GET"}), rule("a.example", methods={"HEAD"})
        >>> [(whole, evidence)] = united([(get, Evidence(count=2)), (head, Evidence(count=1))])
        >>> sorted(whole.methods), evidence.count
        (['GET', 'HEAD'], 3)
    """
    rules = _fold(needs)
    rules = _unite(rules, "ports")
    rules = _unite(rules, "methods")
    rules = _unite(rules, "paths")
    kept: dict[Rule, Evidence] = {}
    for rule, evidence in sorted(rules.items(), key=lambda each: (each[0].paths is not None, each[0].needs_sight)):
        wider = next((wide for wide in kept if rule_covers(wide, rule)), rule)
        kept[wider] = kept.get(wider, Evidence()) + evidence
    return list(kept.items())


def _fold(needs: Iterable[tuple[Rule, Evidence]]) -> dict[Rule, Evidence]:
    rules: dict[Rule, Evidence] = {}
    for rule, evidence in needs:
        rules[rule] = rules.get(rule, Evidence()) + evidence
    return rules


def _unite(rules: Mapping[Rule, Evidence], key: str) -> dict[Rule, Evidence]:
    """Unite rules that are equal but for one limit, which all of them have."""
    alike: dict[Rule, list[tuple[Rule, Evidence]]] = defaultdict(list)
    for rule, evidence in rules.items():
        if getattr(rule, key) is not None:
            alike[with_limit(rule, key, None)].append((rule, evidence))
    whole: dict[Rule, Evidence] = {rule: evidence for rule, evidence in rules.items() if getattr(rule, key) is None}
    for rule, parts in alike.items():
        values = frozenset(value for part, _ in parts for value in getattr(part, key))
        ordered = tuple(sorted(values, key=lambda glob: glob.text)) if key == "paths" else values
        whole[with_limit(rule, key, ordered)] = sum((evidence for _, evidence in parts), Evidence())
    return whole

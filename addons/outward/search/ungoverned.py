"""Hosts that are known to search, or to front models that do, and that no table governs: a dated list, as data."""

from collections.abc import Iterator
from functools import cache

from outward.core.model import PatternKind, Rule
from outward.core.policy import Policy, layers
from outward.search.scope import covers
from outward.search.tables import SHIPPED


@cache
def known() -> tuple[tuple[str, str], ...]:
    """Return each host, or `*.host`, with what it is."""
    lines = (SHIPPED / "ungoverned.txt").read_text("utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    return tuple((host, what) for host, what in pairs)


def allowed(policy: Policy) -> Iterator[tuple[Rule, str, str]]:
    """Yield the rules that name such a host, the host and what it is; a rule for everything names none."""
    hosts = dict(known())
    below = {host[2:]: what for host, what in hosts.items() if host.startswith("*.")}
    seen = set[tuple[str, int, str]]()
    for group in layers(policy.groups.values()):
        for rule in group.allow.all:
            kind, name = rule.pattern.kind, rule.pattern.value
            if kind is PatternKind.EXACT:
                found = [(name, what)] if (what := hosts.get(name) or _above(below, name)) else []
            elif kind is PatternKind.BELOW:
                found = [(host, what) for host, what in hosts.items() if host != name and covers(name, host)]
            else:
                continue
            for host, what in found:
                key = (rule.place.file, rule.place.line, host)
                if policy.vendor_of(host) is None and key not in seen:
                    seen.add(key)
                    yield rule, host, what


def _above(below: dict[str, str], name: str) -> str | None:
    return next((what for base, what in below.items() if name != base and covers(base, name)), None)

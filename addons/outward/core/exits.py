"""Through which allowed hosts data can leave. Pure; it tells, and judges nobody.

A GET carries data in its URL to whoever reads the host's log, so no allowed host is closed. What counts here is whether
a request may write: any method but those that only read, at any path.
"""

from outward.core.model import Rule
from outward.core.policy import Group

READS = frozenset({"GET", "HEAD", "OPTIONS"})  # "safe" by RFC 9110 9.2.1


def writable(group: Group) -> tuple[str, ...]:
    """Return the patterns of a group's allow rules, inherited ones too, that let a request write anything anywhere.

    Example:
        >>> writable(policy(rule("a.example"), rule("b.example", methods={"GET"})).groups["dev"])
        ('a.example',)
    """
    rules = (rule for node in group.chain for rule in node.allow.all)
    return tuple(dict.fromkeys(str(rule.pattern) for rule in rules if _writes(rule)))


def _writes(rule: Rule) -> bool:
    return rule.paths is None and (rule.methods is None or not rule.methods <= READS)

"""`secrets:` and `inject:`: what the proxy sets on requests, and within which bounds.

Owns their reading and the check of one against the other. Values are read by the running proxy, never here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, at
from outward.config.patterns import PatternError, parse_pattern
from outward.config.settings import SecretEntry
from outward.config.values import resolve_path
from outward.core.cover import pattern_covers, rule_covers
from outward.core.model import Pattern, Place, Rule
from outward.core.policy import Group, layers, within
from outward.core.secrets import NAME, Injection, TemplateError

if TYPE_CHECKING:
    from outward.config.schema import SecretModel

_FIELD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")  # RFC 9110 5.6.2
_NOT_OURS = frozenset(
    {
        *("host", "connection", "content-length", "transfer-encoding", "upgrade", "expect", "te", "trailer"),
        *("keep-alive", "proxy-authorization", "proxy-authenticate", "proxy-connection"),
    }
)
_KEYS = ("header", "value", "basic")


def read_secrets(
    root: MappingNode, models: "Mapping[str, SecretModel]", base: Path, home: str | None, report: Report
) -> tuple[SecretEntry, ...]:
    """Return the entries; what is wrong with one is reported, and it is left out."""
    found = []
    for name, model in models.items():
        node = at(root, "secrets", name)
        place, length = (node.place, node.length) if node else (root.place, 1)
        if not NAME.fullmatch(name):
            report.error("E033", f"`{name}` is no name of a secret", place, length, "letters, digits, `_` and `-`")
        elif (model.env is None) == (model.file is None):
            cure = "write `env: VARIABLE` or `file: PATH`; a value itself never stands in the policy"
            report.error("E033", f"where the value of `{name}` is must be said once", place, length, cure)
        else:
            file = None if model.file is None else resolve_path(model.file, base, home)
            hosts = tuple(_patterns(model.hosts, node, report))
            found.append(SecretEntry(name, model.env, file, hosts, tuple(model.groups), place))
    return tuple(found)


def _patterns(texts: Iterable[str], node: Node | None, report: Report) -> Iterable[Pattern]:
    for text in texts:
        try:
            pattern, port = parse_pattern(text, public_suffix=False)
        except PatternError as error:
            if node is not None:
                report.error(error.ident, str(error), node.place, node.length, error.cure)
            continue
        if port is not None and node is not None:
            report.error("E033", f"`{text}`: a secret is bound to hosts, not to ports", node.place, node.length)
        yield pattern


def read_injection(node: Node, report: Report) -> Injection | None:
    """Read `inject` of a rule: `{header: Authorization, value: "Bearer {name}"}`, or `{basic: "user:{name}"}`."""
    values = node.values if isinstance(node, MappingNode) else {}
    texts = {key: each.text for key, each in values.items() if key in _KEYS and isinstance(each, ScalarNode)}
    basic = "basic" in texts
    if len(texts) != len(values) or ("value" in texts) == basic or (not basic and "header" not in texts):
        cure = 'write `{header: Authorization, value: "Bearer {name}"}`, or `{basic: "user:{name}"}`'
        report.error("E034", "`inject` is a header and its value", node.place, node.length, cure)
        return None
    injection = Injection(texts.get("header", "authorization").lower(), texts["basic" if basic else "value"], basic)
    try:
        injection.check()
    except TemplateError as error:
        report.error("E034", "`inject` sets no secret", node.place, node.length, str(error))
        return None
    if not injection.header or set(injection.header) - _FIELD or injection.header in _NOT_OURS:
        report.error("E034", f"`{injection.header}` cannot be injected", node.place, node.length, "name another header")
        return None
    return injection


def check_injections(groups: Iterable[Group], secrets: Iterable[SecretEntry], report: Report) -> None:
    """Report every rule that sets a secret which there is none of, or which its bounds do not let it set."""
    known, told = {each.name: each for each in secrets}, set[Place]()
    for group in layers(groups):
        for rule in group.allow.all:
            for name in rule.inject.names if rule.inject else ():
                _check(group.path, rule, name, known.get(name), report)
        lists = (group.deny.all, group.ceiling.all if group.ceiling else (), group.ignore, group.web_search.sources)
        for rule in (rule for rules in lists for rule in rules or ()):
            if rule.inject is not None and rule.place not in told:  # sources are those of the groups below too
                told.add(rule.place)
                report.error("E034", "`inject` stands on an allow rule", rule.place, 1, "remove it here")


def check_secrets(groups: Mapping[str, Group], secrets: Iterable[SecretEntry], report: Report) -> None:
    """Warn of secrets that no rule sets, of bounds that name no group, and of rules that set one in vain."""
    rules = [rule for group in layers(groups.values()) for rule in group.allow.all if rule.inject]
    used = {name for rule in rules if rule.inject for name in rule.inject.names}
    for entry in secrets:
        place, length = entry.place, len(entry.name)
        if entry.name not in used:
            cure = "give a rule `inject`, or remove it"
            report.warning("W134", f"no rule sets the secret `{entry.name}`", place, length, cure)
        for path in entry.groups:
            if path not in groups:
                message = f"`{path}` bounds `{entry.name}`, and is no group here"
                report.warning(
                    "W135", message, place, length, "name a group that there is, or leave `groups` out for all"
                )
    for group in layers(groups.values()):
        for rule in group.allow.all:
            first = _before(group, rule) if rule.inject is not None else None
            if first is not None:
                message = (
                    f"`{rule.pattern}` sets nothing: the rule at {first.place} allows the same, and is taken first"
                )
                report.warning(
                    "W136", message, rule.place, len(str(rule.pattern)), "put this rule first, or remove the other"
                )


def _before(group: Group, rule: Rule) -> Rule | None:
    """Return the earlier rule of a group that allows whatever a rule allows, and sets something else or nothing."""
    for first in group.allow.all:
        if first is rule:
            return None
        same = first.pattern == rule.pattern and first.inject != rule.inject
        if same and rule_covers(replace(first, inject=rule.inject), rule):
            return first
    return None


def _check(group: str, rule: Rule, name: str, entry: SecretEntry | None, report: Report) -> None:
    length = len(str(rule.pattern))
    if entry is None:
        cure = f"add it under `secrets`: `{name}: {{env: VARIABLE, hosts: [{rule.pattern}]}}`"
        report.error("E034", f"there is no secret `{name}`", rule.place, length, cure)
    elif not _within(entry, group, rule.pattern):
        cure = "set it elsewhere, or widen `hosts` or `groups` of the secret"
        report.error("E034", f"`{name}` may not be set for `{rule.pattern}` in `{group}`", rule.place, length, cure)


def _within(entry: SecretEntry, group: str, pattern: Pattern) -> bool:
    fits = not entry.groups or any(within(group, each) for each in entry.groups)
    return fits and any(pattern_covers(each, pattern) for each in entry.hosts)

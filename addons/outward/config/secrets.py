"""`secrets:` and `inject:`: what the proxy sets on requests, and within which bounds.

Owns their reading and the check of one against the other. Values are read by the running proxy, never here.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, at
from outward.config.patterns import PatternError, parse_pattern
from outward.config.schema import SecretModel
from outward.config.settings import SecretEntry
from outward.config.values import resolve_path
from outward.core.cover import pattern_covers
from outward.core.model import Pattern, Place, Rule
from outward.core.policy import Group, layers, within
from outward.core.secrets import NAME, Injection, TemplateError

_FIELD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")  # RFC 9110 5.6.2
_NOT_OURS = frozenset(
    {
        *("host", "connection", "content-length", "transfer-encoding", "upgrade", "expect", "te", "trailer"),
        *("keep-alive", "proxy-authorization", "proxy-authenticate", "proxy-connection"),
    }
)
_KEYS = ("header", "value", "basic")


def read_secrets(
    root: MappingNode, models: Mapping[str, SecretModel], base: Path, home: str | None, report: Report
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
            found.append(SecretEntry(name, model.env, file, hosts, tuple(model.groups)))
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

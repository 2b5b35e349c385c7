"""What the policy and its decisions look like to an administrator, as plain values for JSON and for the page. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from outward.core.cover import covering
from outward.core.explain import DecisionTrace
from outward.core.limits import GroupLimits
from outward.core.model import DEFAULT_PORTS, DenyDelivery, Question, Rule, WebSearch
from outward.core.names import MalformedHostError, canonical_host, parse_authority
from outward.core.policy import Group, Policy, layers
from outward.core.reasons import Reason
from outward.core.rules import listed
from outward.core.suggest import suggestion
from outward.core.toggles import Toggle
from outward.ops.web import Problem
from outward.records.events.values import rfc3339
from outward.records.state.search_counts import within

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SCOPED = 500  # rules of one list that an answer holds


type Searches = Mapping[str, Mapping[str, int]] | None
"""What every group searched today, by vendor; None if that cannot be read now."""


def group_row(group: Group, settings: WebSearch, toggles: dict[str, Toggle], searches: Searches) -> dict[str, Any]:
    """Return a group as a line of a list."""
    return {
        "path": group.path,
        "mode": str(group.mode),
        "rules": sum(len(node.allow.all) + len(node.deny.all) for node in layers([group])),
        "web_search": web_search(group, settings, toggles),
        "searches_today": None if searches is None else sum(within(searches, group.path).values()),
    }


def group_page(group: Group, settings: WebSearch, toggles: dict[str, Toggle], searches: Searches) -> dict[str, Any]:
    """Return a group with every rule that counts for it, and where each is written."""
    chain = list(group.chain)
    return {
        "path": group.path,
        "chain": list(dict.fromkeys(node.path for node in chain)),
        "mode": str(group.mode),
        "lane": str(group.lane),
        "denial": str(group.denial or DenyDelivery.CONNECT),
        "ech": str(group.ech),
        "limits": [_limits_row(node.path, node.limits) for node in chain if node.limits is not None],
        "allow": [allow_row(group, node, rule) for node in chain for rule in node.allow.all[:_SCOPED]],
        "allow_total": sum(len(node.allow.all) for node in chain),
        "deny": [_row(node.path, rule, deny=True) for node in chain for rule in node.deny.all[:_SCOPED]],
        "ceilings": [_row(node.path, rule) for node in chain if node.ceiling for rule in node.ceiling.all[:_SCOPED]],
        "ceiling_set_by": list(dict.fromkeys(node.path for node in chain if node.ceiling is not None)),
        "ignore": [_row(node.path, rule, deny=True) for node in chain for rule in node.ignore],
        "web_search": web_search(group, settings, toggles),
        "searches_today": None if searches is None else within(searches, group.path),
    }


def _limits_row(path: str, limits: GroupLimits) -> dict[str, Any]:
    return {
        "group": path,
        "requests_per_second": None if limits.rate is None else limits.rate.per_second,
        "burst": None if limits.rate is None else limits.rate.burst,
        "connections": limits.connections,
    }


def allow_row(group: Group, owner: Group, rule: Rule) -> dict[str, Any]:
    """Return an allow rule, and whether a deny rule or a ceiling takes it away as a whole."""
    row = _row(owner.path, rule)
    if rule.pattern.names is not None:
        return row  # of its names, some may be taken away
    for node in group.chain:
        for deny in covering(node.deny, rule.pattern):
            if deny.ports is None and not deny.needs_sight:
                return {**row, "effective": False, "why_not": f"denied by {node.path}"}
    for node in owner.chain:
        if node is not owner and node.ceiling is not None and not any(covering(node.ceiling, rule.pattern)):
            return {**row, "effective": False, "why_not": f"outside the ceiling of {node.path}"}
    return row


def _row(path: str, rule: Rule, *, deny: bool = False) -> dict[str, Any]:
    return {
        "pattern": str(rule.pattern),
        "ports": None if rule.ports is None else sorted(rule.ports),
        "methods": None if rule.methods is None else sorted(rule.methods),
        "paths": None if rule.paths is None else [glob.text for glob in rule.paths],
        "encoded_slash": rule.encoded_slash,
        "tls": rule.tls,
        "addresses": [str(network) for network in rule.addresses],
        "sets": None if rule.inject is None else {"header": rule.inject.header, "secrets": list(rule.inject.names)},
        "until": rule.until,
        "owner": rule.owner,
        "note": rule.note,
        "limits": _limits(rule, deny=deny),
        "group": path,
        "file": rule.place.file,
        "line": rule.place.line,
        "effective": True,
        "why_not": None,
    }


def _limits(rule: Rule, *, deny: bool) -> str:
    """Say what a rule says apart from its host, and nothing of what is the default."""
    parts = []
    if rule.ports is not None and (deny or rule.ports != DEFAULT_PORTS):
        parts.append("port " + ", ".join(map(str, sorted(rule.ports))))
    if rule.methods is not None:
        parts.append(", ".join(sorted(rule.methods)))
    if rule.paths is not None:
        parts.append(", ".join(glob.text for glob in rule.paths))
    if rule.encoded_slash:
        parts.append("%2F within a segment")
    if not rule.tls:
        parts.append("not TLS")
    if rule.addresses:
        parts.append("addresses " + ", ".join(map(str, rule.addresses)))
    if rule.inject is not None:
        parts.append(f"sets {rule.inject.header} from {', '.join(rule.inject.names)}")
    if rule.until is not None:
        parts.append(f"until {rule.until}")
    return " · ".join(parts)


def web_search(group: Group, settings: WebSearch, toggles: dict[str, Toggle]) -> dict[str, Any]:
    """Return the web-search settings in force, with who decided them and when."""
    decided = settings.decided_by
    toggle = toggles.get(decided) if decided is not None and settings.locked_by is None else None
    return {
        "enabled": settings.enabled,
        "decided_by": decided,
        "origin": None if decided is None else "runtime" if toggle is not None else "file",
        "changed_by": toggle.actor if toggle is not None else None,
        "changed_at": rfc3339(toggle.time) if toggle is not None else None,
        "locked": group.web_search.locked_by is not None,
        "locked_by": group.web_search.locked_by,
        "opt_in": str(settings.opt_in),
        "sources": None if settings.sources is None else [str(rule.pattern) for rule in settings.sources],
        "filter": str(settings.filter),
        "max_searches": settings.max_searches,
        "per_day": [{"group": path, "searches": most} for path, most in settings.per_day],
        "unfilterable": str(settings.unfilterable),
        "on_violation": str(settings.on_violation),
        "record": str(settings.record),
    }


def ignored(policy: Policy) -> tuple[tuple[str, str], ...]:
    """Return the groups and host patterns whose denials are noise, for the blocked log's filter."""
    return tuple(
        (path, str(pattern))
        for path, group in policy.groups.items()
        for rule in group.ignore
        for pattern in (map(listed, rule.pattern.names.entries()) if rule.pattern.names else (rule.pattern,))
    )


def read_question(body: dict[str, Any]) -> Question:
    """Read what `explain` is asked: a group, and a `url` or a `host` with `port`, `method` and `path`.

    Raises:
        Problem: when it cannot be understood.
    """
    unknown = set(body) - {"group", "url", "host", "port", "method", "path"}
    texts = {name: body[name] for name in ("group", "url", "host", "method", "path") if body.get(name) is not None}
    if unknown or not all(isinstance(text, str) for text in texts.values()):
        raise Problem(400, "send `group`, and `url` or `host`, `port`, `method`, `path`")
    if "group" not in texts or ("url" in texts) is ("host" in texts):
        raise Problem(400, "send `group`, and either `url` or `host`")
    port, method, path, clear = body.get("port", 443), texts.get("method"), texts.get("path"), False
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise Problem(400, "`port` is a number from 1 to 65535")
    try:
        if "url" in texts:
            parts = urlsplit(texts["url"] if "://" in texts["url"] else f"//{texts['url']}")
            host, port = parse_authority(parts.netloc.rpartition("@")[2], _PORTS.get(parts.scheme, port))
            path, clear = path or parts.path or None, parts.scheme == "http"
        else:
            host = canonical_host(texts["host"])
    except (MalformedHostError, ValueError) as error:
        raise Problem(400, f"the host cannot be read: {error}") from error
    if path is not None and method is None:
        method = "GET"
    method = method and method.upper()
    return Question(texts["group"], host, port, method, (path or "/") if method else None, clear=clear)


def trace(found: DecisionTrace) -> dict[str, Any]:
    """Return a decision with the way to it."""
    question, decision = found.question, found.decision
    return {
        "verdict": decision.verdict.name.lower(),
        "reason": str(decision.reason),
        "group": question.group,
        "host": question.host.name,
        "port": question.port,
        "method": question.method,
        "path": question.path,
        "lane": None if decision.lane is None else str(decision.lane),
        "mode": str(decision.mode),
        "would_deny": decision.would_deny,
        "would_reason": None if decision.would_reason is None else str(decision.would_reason),
        "vendor": decision.vendor,
        "rule": None if decision.rule is None else _place(decision.rule),
        "chain": list(found.chain),
        "steps": [
            {
                "group": step.group,
                "kind": step.kind,
                **_place(step.rule),
                "outcome": step.outcome,
                "decided": step.decided,
            }
            for step in found.steps
        ],
        "ceiling": found.ceiling,
        "closed": found.closed,
        "suggestion": found.suggestion,
        "generation": decision.generation,
    }


def _place(rule: Rule) -> dict[str, Any]:
    return {"pattern": str(rule.pattern), "file": rule.place.file, "line": rule.place.line}


def told(found: DecisionTrace) -> Iterator[dict[str, str | None]]:
    """Yield the way to a decision in sentences, for people, with the place of each rule and what is said about it."""
    question, decision = found.question, found.decision
    if not found.chain:
        yield {"kind": "deny", "text": "The client belongs to no group, so nothing is allowed.", "place": None}
        return
    yield {"kind": "step", "text": f"Judged for {' < '.join(found.chain)}, in mode {decision.mode}.", "place": None}
    for step in found.steps:
        kind = ("deny" if step.kind == "deny" else "allow") if step.decided else "step"
        text = f"The {step.kind} rule {step.rule.pattern} of {step.group} {step.outcome}."
        yield {"kind": kind, "text": text, "place": str(step.rule.place), "about": _about(step.rule)}
    if not found.steps:
        text = f"No rule of these groups names {question.host} or a wildcard above it."
        yield {"kind": "step", "text": text, "place": None}
    if found.ceiling is not None:
        text = f"The ceiling of {found.ceiling} does not admit it: a line below that group would have no effect."
        yield {"kind": "warn", "text": text, "place": None}
    if found.closed is not None:
        text = f"The address is not dialled ({found.closed}), whatever the rules say."
        yield {"kind": "warn", "text": text, "place": None}
    allowed = decision.allowed
    verdict = "Would be denied, but let through" if decision.would_deny else "Allowed" if allowed else "Denied"
    yield {
        "kind": "allow" if allowed else "deny",
        "text": f"{verdict}: {decision.would_reason or decision.reason}.",
        "place": None,
    }


def _about(rule: Rule) -> str:
    """Say who answers for a rule, why it is there, and when it ends."""
    known = (("Owner: ", rule.owner), ("Until ", rule.until), ("", rule.note))
    return " · ".join(f"{word}{value}" for word, value in known if value)


def cures(policy: Policy, question: Question, reason: Reason) -> list[dict[str, str]]:
    """Return the YAML that would allow it, for the group and for each ancestor, where it would do so."""
    group = policy.groups.get(question.group) if question.group is not None else None
    if group is None:
        return []
    found = [(node.path, suggestion(policy, replace(question, group=node.path), reason)) for node in group.chain]
    lines = [(path, line) for path, line in found if line is not None]
    return [
        {"group": path, "line": line, "text": f"groups:\n  {path}:\n    allow:\n      {line}\n"}
        for path, line in lines
        if _entry(line) == _entry(lines[0][1])  # above, more may be missing, and the line would say less
    ]


def _entry(line: str) -> str:
    return line.partition("  #")[0]

"""The audit events of what administrators do: toggles, opt-ins, tokens, another policy. Values in, an event out."""

from outward.core.toggles import Toggle
from outward.records.audit import AuditEvent
from outward.records.changes import OptIn, StoredToken
from outward.records.events import rfc3339


def toggle_set(path: str, toggle: Toggle, *, was: bool | None, address: str | None) -> AuditEvent:
    """Return the event of a group's toggle; `was` is None where nobody could tell."""
    return AuditEvent(
        event_type="web_search_setting_changed",
        group=path,
        target=path,
        target_type="Group",
        author=toggle.actor,
        author_class="Administrator",
        ip_address=address,
        message=f"web search turned {'on' if toggle.enabled else 'off'}",
        details={"change": "web_search", "from": was, "to": toggle.enabled},
    )


def opt_in_set(wanted: OptIn, address: str | None) -> AuditEvent:
    """Return the event of a conversation's opt-in."""
    return AuditEvent(
        event_type="conversation_opt_in_changed",
        group=wanted.group,
        target=wanted.conversation,
        author=wanted.actor,
        author_class="Administrator",
        ip_address=address,
        message=f"conversation opted {'in to' if wanted.active else 'out of'} web search",
        details={"change": "opt_in", "to": wanted.active, "credential": wanted.credential},
    )


def opt_in_bound(conversation: str, group: str, credential: str) -> AuditEvent:
    """Return the event of an opt-in's first use, which binds it to a credential."""
    return AuditEvent(
        event_type="conversation_opt_in_bound",
        group=group,
        target=conversation,
        author="outward",
        author_class="Proxy",
        message="conversation's opt-in bound to the credential that used it first",
        details={"change": "opt_in", "credential": credential},
    )


def token_changed(event_type: str, token: StoredToken, author: str) -> AuditEvent:
    """Return the event of a token's making or end; nothing of its secret is in it."""
    return AuditEvent(
        event_type=event_type,
        group=None if token.scope == "all" else token.scope,
        target=token.id,
        target_type="AdminToken",
        author=author,
        author_class="Administrator",
        message=f"admin token {event_type.rpartition('_')[2]}, scope {token.scope}",
        details={
            "change": "admin_token",
            "scope": token.scope,
            "name": token.name,
            "expires": None if token.expires is None else rfc3339(token.expires),
        },
    )


def policy_reloaded(before: str, now: str, *, asked: bool) -> AuditEvent:
    """Return the event of a policy put in force; `asked` tells a signal from a changed file."""
    details = {"change": "policy", "from": before, "to": now, "asked": asked}
    return _of_policy("policy_reloaded", now, f"policy of generation {now} in force", details)


def policy_reload_failed(in_force: str, problem: str, *, asked: bool) -> AuditEvent:
    """Return the event of a configuration that did not load; the last good policy stays."""
    details = {"change": "policy", "from": in_force, "to": in_force, "asked": asked, "problem": problem}
    message = f"reload failed, policy of generation {in_force} stays in force: {problem}"
    return _of_policy("policy_reload_failed", in_force, message, details)


def _of_policy(event_type: str, generation: str, message: str, details: dict[str, object]) -> AuditEvent:
    return AuditEvent(
        event_type=event_type,
        target=generation,
        target_type="Policy",
        author="outward",
        author_class="Proxy",
        message=message,
        details=details,
    )

"""The audit events of what administrators do at run time: toggles, opt-ins, tokens. Values in, an event out."""

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
        details={"change": "opt_in", "from": not wanted.active, "to": wanted.active},
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

"""Audit events: acts that compliance asks about, in the shape that GitLab streams. Values and their JSON form only."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outward.records.events import MAX_NAME, Record, rfc3339
from outward.records.text import clean

MAX_TEXT = 2048  # characters of one text, such as a query or a URL
MAX_ITEMS = 500  # of one list or mapping
_MAX_DEPTH = 5

EVENT_TYPES = (
    *("web_search_invoked", "web_search_blocked", "web_search_setting_changed", "conversation_opt_in_changed"),
    *("policy_reloaded", "policy_reload_failed", "admin_token_created", "admin_token_revoked"),
)

# What `details` says of every search, with the value that means nothing was seen.
SEARCH_DETAILS: Mapping[str, Any] = {
    "vendor": None,
    "tool_type": None,
    "action": None,
    "reason": None,
    "request_domains": None,
    "effective_domains": None,
    "truncated": 0,
    "search_count": 0,
    "queries": [],
    "sources": [],
    "citations": [],
    "out_of_policy": [],
    "unverifiable": 0,
    "incomplete": False,
}


@dataclass(slots=True, kw_only=True)
class AuditEvent:
    """One act. Unknown is None.

    Attributes:
        event_type: one of EVENT_TYPES.
        group: path of the group that it concerns.
        target: what was acted on: a conversation, a group's setting, a policy generation.
        author: who acted: a client, an administrator's token, or the proxy.
        message: one sentence for people.
        details: more; a search's facts are named as in SEARCH_DETAILS.
        time: Unix time in seconds.
    """

    event_type: str
    group: str | None = None
    target: str | None = None
    target_type: str = "Conversation"
    author: str | None = None
    author_class: str = "Client"
    ip_address: str | None = None
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


def as_record(event: AuditEvent) -> Record:
    """Return the thirteen top-level fields of GitLab's streamed audit events, bounded and safe to show."""
    group, target = _name(event.group), _name(event.target)
    author, address = _name(event.author), _name(event.ip_address)
    searched = SEARCH_DETAILS if event.event_type in ("web_search_invoked", "web_search_blocked") else {}
    return {
        "id": event.id,
        "author_id": -1,  # GitLab's own number for somebody without an account
        "author_name": author,
        "entity_id": None,
        "entity_type": "Group",
        "entity_path": group,
        "event_type": event.event_type,
        "ip_address": address,
        "target_id": None,
        "target_type": event.target_type,
        "target_details": target,
        "created_at": rfc3339(event.time),
        "details": {
            "event_name": event.event_type,
            "author_name": author,
            "author_class": event.author_class,
            "target_id": None,
            "target_type": event.target_type,
            "target_details": target,
            "custom_message": clean(event.message or event.event_type.replace("_", " "), MAX_TEXT),
            "ip_address": address,
            "entity_path": group,
            **{str(key): bounded(value) for key, value in {**searched, **event.details}.items()},
        },
    }


def bounded(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """Return plain data with every text cleaned and every collection cut to a bound."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        items = list(value.items())[:MAX_ITEMS] if depth else []
        return {clean(str(key), MAX_NAME): bounded(each, depth - 1) for key, each in items}
    if isinstance(value, list | tuple | set | frozenset):
        each = sorted(value) if isinstance(value, set | frozenset) else value
        return [bounded(item, depth - 1) for item in each[:MAX_ITEMS]] if depth else []
    return clean(str(value), MAX_TEXT)


def _name(text: str | None) -> str | None:
    return clean(text, MAX_NAME) if text is not None else None

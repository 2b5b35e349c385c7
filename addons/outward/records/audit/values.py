"""Audit events: acts that compliance asks about, in the shape that GitLab streams. Values and their JSON form only."""

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outward.records.events.values import MAX_NAME, Record, rfc3339
from outward.records.text import clean

MAX_TEXT = 2048  # characters of one text, such as a query or a URL
MAX_ITEMS = 500  # of one list or mapping
LISTED = 10  # items of a list in an audit event: clients choose how many there are
LISTED_TEXT = 512  # characters of each; receipts hold them whole
_MAX_DEPTH = 5

SECRET_USED = "secret_used"  # noqa: S105 - the name of an event
EVENT_TYPES = (
    *("web_search_invoked", "web_search_blocked", "web_search_setting_changed", "conversation_opt_in_changed"),
    *("policy_reloaded", "policy_reload_failed", "admin_token_created", "admin_token_revoked"),
    *("conversation_opt_in_bound", "vendor_sandbox_limited", "access_request_made", "access_request_approved"),
    *("access_request_denied", "access_grant_ended", "access_grant_revoked", SECRET_USED),
    *("admin_signed_in", "admin_sign_in_refused", "admin_session_revoked"),
    *("audit_erased", "audit_pruned"),
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
    "count": 1,
    "search_count": 0,
    "queries": [],
    "sources": [],
    "citations": [],
    "out_of_policy": [],
    "unverifiable": 0,
    "incomplete": False,
}
_SEARCHES = ("web_search_invoked", "web_search_blocked", "vendor_sandbox_limited")


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
    searched = SEARCH_DETAILS if event.event_type in _SEARCHES else {}
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
            **_listed({**searched, **event.details}),
        },
    }


def _listed(details: Mapping[str, Any]) -> Record:
    """Return details with every list cut to its first items; beside a cut one stand its length and its hash.

    The hash is SHA-256 of the whole list as compact JSON in ASCII: `json.dumps(items, separators=(",", ":"))`.
    """
    found: Record = {}
    for key, value in details.items():
        found[key] = _cut(value) if isinstance(value, list | tuple) else bounded(value)
        if isinstance(value, list | tuple) and len(value) > LISTED:
            whole = json.dumps(value, separators=(",", ":"), default=str).encode()
            found |= {f"{key}_count": len(value), f"{key}_sha256": hashlib.sha256(whole).hexdigest()}
    return found


def _cut(value: Any, depth: int = _MAX_DEPTH) -> Any:
    if isinstance(value, list | tuple):
        return [_cut(item, depth - 1) for item in value[:LISTED]] if depth else []
    if isinstance(value, Mapping):
        items = list(value.items())[:LISTED] if depth else []
        return {clean(str(key), MAX_NAME): _cut(each, depth - 1) for key, each in items}
    found = bounded(value)
    return found[:LISTED_TEXT] if isinstance(found, str) else found


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

"""What of an audit event is a person's, kept beside what the chain signs.

The signed text holds a digest of the private one, which begins with a random salt: without salt and text nobody can
find out, by trying, what it was. So a person's fields can be erased, and every hash and signature still holds. Closed
by default: of what clients cause, only the fields listed here are not private.
"""

import hashlib
import secrets
from typing import Any

import orjson

from outward.records.events.values import Record

DIGEST = "private_sha256"
_TOP = ("author_name", "ip_address")
# Of what the proxy does, and of who was not let in; all else of theirs is signed as it is.
_PERSONAL = frozenset(("credential", "subject", "issuer", *_TOP))
# Of `details`; all else that a client's act holds is private.
_PUBLIC = frozenset(
    (
        *("event_name", "author_class", "target_id", "target_type", "entity_path", "vendor", "tool_type", "action"),
        *("reason", "truncated", "count", "search_count", "unverifiable", "incomplete", "decision_id", "change"),
        *("secret", "grant", "host", "port", "first_seen", "last_seen", "repeats_of"),
    )
)


def seal(record: Record) -> tuple[str, str | None]:
    """Return the text that is signed, and the private one; None if nobody is named, or an administrator answers."""
    details: Record = record["details"]
    hidden = {name: value for name, value in details.items() if value is not None and _is_private(name, record)}
    if not hidden:
        return _canonical(record), None
    top = [name for name in (*_TOP, "target_details") if name in hidden]
    private = _canonical(
        {"salt": secrets.token_hex(32), "record": {name: record[name] for name in top}, "details": hidden}
    )
    shown = record | dict.fromkeys(top) | {"details": details | dict.fromkeys(hidden)}
    return _canonical(shown | {DIGEST: digest(private)}), private


def _is_private(name: str, record: Record) -> bool:
    """Whether a field of `details` is a person's."""
    author_class: str = record["details"]["author_class"]
    if name == "target_details":
        return author_class != "Administrator" and str(record["target_type"]) == "Conversation"
    match author_class:
        case "Administrator":
            return False
        case "Client":
            return name not in _PUBLIC and not name.endswith("_count")
        case "Proxy":
            return name in _PERSONAL and name != "author_name"  # which is the proxy's
        case _:
            return name in _PERSONAL


def unseal(body: str, private: str | None) -> Record:
    """Return a record as it was made; what was erased is None, and `details` then say `erased`.

    Raises:
        ValueError, TypeError, KeyError: a text is not what `seal` made.
    """
    record: Record = orjson.loads(body)
    if record.pop(DIGEST, None) is None:
        return record
    if private is None:
        record["details"]["erased"] = True
        return record
    kept = orjson.loads(private)
    record.update(kept["record"])
    record["details"].update(kept["details"])
    return record


def digest_in(body: str) -> str | None:
    """Return the digest of the private text that a signed one names; None if nothing is private.

    Raises:
        ValueError: it is no JSON object.
    """
    value: Any = orjson.loads(body)
    found = value.get(DIGEST) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def digest(private: str) -> str:
    """Return the digest of a private text."""
    return hashlib.sha256(private.encode()).hexdigest()


def _canonical(record: Record) -> str:
    """Return the one JSON text of a record."""
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS).decode()

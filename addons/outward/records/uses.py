"""Who used which secret, when and for which host: read from the audit events that say so, never with a value."""

from dataclasses import dataclass, replace
from typing import Any

from outward.records.audit import SECRET_USED
from outward.records.database import Database
from outward.records.events import Record
from outward.records.trail import AuditFilters, listed

_MOST = 10_000  # audit events that are read, the newest first


@dataclass(frozen=True, slots=True)
class Use:
    """A secret's use by a client, for a host.

    Attributes:
        group: path of the client's group.
        client: as the audit log names it.
        first, last: RFC 3339, of the first and last hour in which it was told.
        hours: how often it was told: once an hour by each proxy and conversation.
    """

    secret: str
    group: str | None
    client: str | None
    host: str | None
    port: int | None
    first: str
    last: str
    hours: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "secret": self.secret,
            "group": self.group,
            "client": self.client,
            "host": self.host,
            "port": self.port,
            "first": self.first,
            "last": self.last,
            "hours": self.hours,
        }


def uses(database: Database, since: float | None = None, scope: str | None = None) -> list[Use]:
    """Return the uses of secrets, the last first.

    Args:
        database: the records.
        since: Unix time in seconds, from which on.
        scope: path of a group, with those below it.
    """
    found: dict[tuple[Any, ...], Use] = {}
    for record in listed(database, AuditFilters(scope=scope, event_type=SECRET_USED, since=since), _MOST):
        use = _use(record)
        key = (use.secret, use.group, use.client, use.host, use.port)
        known = found.get(key)
        found[key] = use if known is None else replace(known, first=use.first, hours=known.hours + 1)
    return list(found.values())


def used_before(database: Database, secret: str, group: str | None, host: str | None, before: float) -> bool:
    """Tell whether a secret was used by a group for a host before a time (Unix, in seconds)."""
    end = round(before * 1000)
    rows = database.execute(
        "SELECT 1 FROM audit_events WHERE event_type = ? AND target = ? AND group_path = ? AND time_ms < ?"
        r" AND body LIKE ? ESCAPE '\' LIMIT 1",
        (SECRET_USED, secret, group, end, rf'%"host":"{_literal(host or "")}"%'),
    )
    return bool(rows)


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def _use(record: Record) -> Use:
    details, at = record["details"], record["created_at"]
    about = (record["target_details"], record["entity_path"], record["author_name"])
    return Use(*about, details.get("host"), details.get("port"), at, at)

"""Who used which secret, when and for which host, and whose placeholders were refused; never with a value."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from outward.core.reasons import Reason
from outward.core.secrets import secret_of
from outward.records.audit.audit_query import AuditFilters, listed
from outward.records.audit.values import SECRET_USED
from outward.records.database import Database
from outward.records.events.query import MAX_COUNTED, Filters
from outward.records.events.values import Record, rfc3339

_MOST = 10_000  # audit events that are read, the newest first


@dataclass(frozen=True, slots=True)
class UsesQuery:
    """Which uses are wanted; None is any.

    Attributes:
        scope: path of the group that the asker may see, with its descendants.
        group: path of a group, with its descendants.
        since: Unix time in seconds, from which on.
    """

    scope: str | None = None
    group: str | None = None
    since: float | None = None
    secret: str | None = None
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A secret's use by a client, for a host.

    Attributes:
        group: path of the client's group.
        client: as the audit log names it.
        grant: id of the grant that allowed it; None if a rule did.
        first, last: RFC 3339, of the first and last hour in which it was told.
        hours: how often it was told: once an hour by each proxy.
    """

    secret: str
    group: str | None
    client: str | None
    conversation: str | None
    grant: str | None
    host: str | None
    port: int | None
    first: str
    last: str
    hours: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Refusals:
    """Requests that were refused for a secret's placeholder.

    Attributes:
        last: RFC 3339.
    """

    count: int
    last: str


def uses(database: Database, wanted: UsesQuery) -> list[SecretUse]:
    """Return the uses of secrets, the last first."""
    asked = AuditFilters(wanted.scope, wanted.group, SECRET_USED, wanted.secret, wanted.since)
    found: dict[tuple[Any, ...], SecretUse] = {}
    for record in listed(database, asked, _MOST):
        use = _use(record)
        if wanted.conversation not in (None, use.conversation):
            continue
        key = (use.secret, use.group, use.client, use.conversation, use.grant, use.host, use.port)
        known = found.get(key)
        found[key] = use if known is None else replace(known, first=use.first, hours=known.hours + 1)
    return list(found.values())


def refusals(database: Database, wanted: UsesQuery) -> dict[str, Refusals]:
    """Return what was refused for a placeholder, by secret: of the newest refusals, so that no flood makes it slow."""
    about = Filters(
        scope=wanted.scope, group=wanted.group, since=wanted.since, reason=str(Reason.SECRET_MISDIRECTED),
        conversation=wanted.conversation,
    )  # fmt: skip
    where, values = about.sql()
    rows = database.execute(
        "SELECT detail, SUM(count), MAX(last_ms) FROM (SELECT detail, count, COALESCE(last_ms, time_ms) AS last_ms"
        f" FROM events WHERE {where} ORDER BY time_ms DESC, id DESC LIMIT ?) AS newest GROUP BY detail",
        (*values, MAX_COUNTED),
    )
    found: dict[str, tuple[int, int]] = {}
    for detail, count, last_ms in rows:
        secret = secret_of(detail)
        if secret is not None:
            before, last = found.get(secret, (0, 0))
            found[secret] = before + int(count), max(last, last_ms)  # PostgreSQL adds up to a decimal
    return {secret: Refusals(count, rfc3339(last_ms / 1000)) for secret, (count, last_ms) in found.items()}


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


def _use(record: Record) -> SecretUse:
    details, at = record["details"], record["created_at"]
    about = (record["target_details"], record["entity_path"], record["author_name"], details.get("conversation"))
    return SecretUse(*about, details.get("grant"), details.get("host"), details.get("port"), at, at)

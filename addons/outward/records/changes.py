"""The rows of what administrators set at run time: reading what is new, and writing one change with its audit event.

Each writing function runs one transaction, which holds the change, the next version and the audit row, so that a change
is audited exactly once or does not happen. Knows no policy and keeps nothing in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

from outward.core.grants import Grant
from outward.core.toggles import Toggle
from outward.records import requests
from outward.records.database import Database
from outward.records.requests import AccessRequest, SettledError

LOCK = 0x73746174  # any number, the same in every process of a fleet
CHANNEL = "outward_state"  # on which every change is announced

type Audit = Callable[[Database], None]
"""Appends the audit row of a change, inside its transaction."""


@dataclass(frozen=True, slots=True)
class OptIn:
    """A conversation's opt-in for one group.

    Attributes:
        credential: label of the credential that it is bound to; None until its first use. In a change: whom to
            bind it to, whatever stood there; None leaves it as it is.
    """

    conversation: str
    group: str
    active: bool
    credential: str | None
    actor: str
    time: float


@dataclass(frozen=True, slots=True)
class StoredToken:
    """An administrator's token; see `ops.access.Token`."""

    id: str
    sha256: str
    scope: str
    name: str
    created: float
    expires: float | None
    revoked: bool
    role: str = "admin"


@dataclass(frozen=True, slots=True)
class Changes:
    """What is newer than a version; beside each grant stands whether it has ended."""

    version: int
    toggles: dict[str, Toggle]
    opt_ins: tuple[OptIn, ...]
    tokens: tuple[StoredToken, ...]
    grants: tuple[tuple[Grant, bool], ...] = ()


def version(database: Database) -> int:
    """Return the version of the last change."""
    return int(database.execute("SELECT version FROM state_version")[0][0])


def since(database: Database, known: int) -> Changes:
    """Return every change after a version; -1 for all."""
    current = version(database)
    toggles = database.execute(
        "SELECT group_path, enabled, actor, time_ms FROM web_search_toggles WHERE version > ?", (known,)
    )
    opt_ins = database.execute(
        "SELECT conversation, group_path, active, credential, actor, time_ms FROM opt_ins WHERE version > ?", (known,)
    )
    return Changes(
        current,
        {path: Toggle(bool(enabled), actor, when / 1000) for path, enabled, actor, when in toggles},
        tuple(OptIn(row[0], row[1], bool(row[2]), row[3], row[4], row[5] / 1000) for row in opt_ins),
        tuple(tokens(database, known)),
        tuple(requests.grants_since(database, known)),
    )


def tokens(database: Database, known: int = -1) -> list[StoredToken]:
    """Return the tokens that were made or revoked after a version, the oldest first."""
    rows = database.execute(
        "SELECT id, sha256, scope, name, created_ms, expires_ms, revoked, role FROM admin_tokens"
        " WHERE version > ? ORDER BY created_ms, id",
        (known,),
    )
    return [
        StoredToken(ident, sha256, scope, name, created / 1000, expires and expires / 1000, bool(revoked), role)
        for ident, sha256, scope, name, created, expires, revoked, role in rows
    ]


def set_toggle(database: Database, path: str, toggle: Toggle, audit: Audit) -> bool:
    """Set a group's web search; False, and no audit row, where that is its value already."""
    with database.transaction(LOCK):
        known = database.execute("SELECT enabled FROM web_search_toggles WHERE group_path = ?", (path,))
        if known and bool(known[0][0]) is toggle.enabled:
            return False
        database.execute(
            "INSERT INTO web_search_toggles (group_path, enabled, actor, time_ms, version) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (group_path) DO UPDATE SET enabled = excluded.enabled, actor = excluded.actor,"
            " time_ms = excluded.time_ms, version = excluded.version",
            (path, toggle.enabled, toggle.actor, round(toggle.time * 1000), _next(database)),
        )
        audit(database)
    return True


def set_opt_in(database: Database, wanted: OptIn, audit: Audit) -> bool:
    """Opt a conversation in or out, or bind it; False, and no audit row, where nothing changes.

    A withdrawal frees what was bound.
    """
    key = (wanted.conversation, wanted.group)
    with database.transaction(LOCK):
        known = database.execute(
            "SELECT active, credential FROM opt_ins WHERE conversation = ? AND group_path = ?", key
        )
        active, bound = (bool(known[0][0]), known[0][1]) if known else (False, None)
        credential = (wanted.credential or (bound if active else None)) if wanted.active else None
        if active is wanted.active and (not active or credential == bound):
            return False
        database.execute(
            "INSERT INTO opt_ins (conversation, group_path, active, credential, actor, time_ms, version)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (conversation, group_path) DO UPDATE SET"
            " active = excluded.active, credential = excluded.credential, actor = excluded.actor,"
            " time_ms = excluded.time_ms, version = excluded.version",
            (*key, wanted.active, credential, wanted.actor, round(wanted.time * 1000), _next(database)),
        )
        audit(database)
    return True


def bind(database: Database, conversation: str, group: str, credential: str, audit: Audit) -> bool:
    """Bind an opt-in to the credential that used it first; False where another one, or another proxy, was first."""
    with database.transaction(LOCK):
        free = "conversation = ? AND group_path = ? AND active AND credential IS NULL"
        if not database.execute(f"SELECT 1 FROM opt_ins WHERE {free}", (conversation, group)):
            return False
        changed = (credential, _next(database), conversation, group)
        database.execute(f"UPDATE opt_ins SET credential = ?, version = ? WHERE {free}", changed)
        audit(database)
    return True


def add_token(database: Database, token: StoredToken, audit: Audit) -> None:
    """Keep a new token."""
    with database.transaction(LOCK):
        audit(database)
        expires = None if token.expires is None else round(token.expires * 1000)
        database.execute(
            "INSERT INTO admin_tokens (id, sha256, scope, name, created_ms, expires_ms, revoked, role, version)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                token.id,
                token.sha256,
                token.scope,
                token.name,
                round(token.created * 1000),
                expires,
                False,
                token.role,
                _next(database),
            ),
        )


def revoke_token(database: Database, ident: str, audit: Audit) -> bool:
    """Take a token back; False, and no audit row, where there is none in force by this id."""
    with database.transaction(LOCK):
        changed = database.execute(
            "UPDATE admin_tokens SET revoked = ?, version = ? WHERE id = ? AND NOT revoked RETURNING 1",
            (True, _next(database), ident),
        )
        if changed:
            audit(database)
    return bool(changed)


def put_request(database: Database, asked: AccessRequest, audit: Audit) -> AccessRequest:
    """Keep a request and return its row; one that is there already is counted in it, and not audited again.

    Raises:
        CrowdedError: too many are open.
    """
    with database.transaction(LOCK):
        kept, new = requests.put(database, asked)
        if new:
            audit(database)
    return kept


def settle_request(database: Database, decided: AccessRequest, grant: Grant | None, audit: Audit) -> None:
    """Write a decision, and the grant that it makes.

    Raises:
        SettledError: the request has been approved meanwhile.
    """
    with database.transaction(LOCK):
        if not requests.settle(database, decided):
            raise SettledError
        if grant is not None:
            requests.add_grant(database, grant, _next(database))
        audit(database)


def end_grant(database: Database, ident: str, audit: Audit) -> bool:
    """End a grant; False, and no audit row, where none is in force by this id."""
    with database.transaction(LOCK):
        if not requests.holds(database, ident):
            return False
        requests.end_grant(database, ident, _next(database))
        audit(database)
    return True


def _next(database: Database) -> int:
    """Return the version of a change, and announce it."""
    database.announce(CHANNEL)
    return int(database.execute("UPDATE state_version SET version = version + 1 RETURNING version")[0][0])

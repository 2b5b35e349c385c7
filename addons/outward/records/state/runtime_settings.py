"""The rows of what administrators set at run time: reading what is new, and writing one change with its audit event.

Each writing function runs one transaction, which holds the change, the next version and the audit row, so that a change
is audited exactly once or does not happen. Knows no policy and keeps nothing in memory.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from outward.core.grants import Grant
from outward.core.toggles import Toggle
from outward.records.database import Database, subtree
from outward.records.state import requests
from outward.records.state.requests import AccessRequest, SettledError

LOCK = 0x73746174  # any number, the same in every process of a fleet
_FIELDS = "id, sha256, scope, name, created_ms, expires_ms, revoked, role, author, last_used_ms, issuer, subject, held"
_KEPT = 86_400.0  # seconds that a sign-in is kept after its end
CHANNEL = "outward_state"  # on which every change is announced

type Audit = Callable[[Database], None]
"""Appends the audit row of a change, inside its transaction."""


@dataclass(frozen=True, slots=True)
class OptInChange:
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
    """An administrator's token, or a person's sign-in; see `ops.access.Token`.

    Attributes:
        author: who made it.
        used: when it was last used, to the minute, in Unix seconds; None if it never was.
        issuer, subject: of a sign-in: who it is there.
        held: of a sign-in: the roles that the person has; None for a token.
    """

    id: str
    sha256: str
    scope: str
    name: str
    created: float
    expires: float | None
    revoked: bool
    role: str = "admin"
    author: str | None = None
    used: float | None = None
    issuer: str | None = None
    subject: str | None = None
    held: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What is newer than a version; beside each grant stands whether it has ended."""

    version: int
    toggles: dict[str, Toggle]
    opt_ins: tuple[OptInChange, ...]
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
        tuple(OptInChange(row[0], row[1], bool(row[2]), row[3], row[4], row[5] / 1000) for row in opt_ins),
        tuple(tokens(database, known)),
        tuple(requests.grants_since(database, known)),
    )


def tokens(database: Database, known: int = -1) -> list[StoredToken]:
    """Return the tokens that were made or revoked after a version, the oldest first."""
    rows = database.execute(f"SELECT {_FIELDS} FROM admin_tokens WHERE version > ? ORDER BY created_ms, id", (known,))
    return [_token(row) for row in rows]


def listed_tokens(
    database: Database, scope: str | None, now: float, limit: int, after: tuple[int, str] | None
) -> list[StoredToken]:
    """Return tokens of a subtree, or all tokens and the sign-ins in force, the newest first.

    Args:
        database: to read.
        scope: path of the subtree; None for everything.
        now: Unix time in seconds.
        limit: most rows.
        after: creation in milliseconds and id of the row before.
    """
    where = ["(held IS NULL OR (NOT revoked AND expires_ms > ?))"]
    parameters: list[Any] = [round(now * 1000)]
    if scope is not None:
        condition, bounds = subtree(scope)
        # The column itself sorts by the database's locale, in which a slash may count for nothing.
        where += ["held IS NULL", condition.replace("group_path", 'scope COLLATE "C"')]
        parameters += bounds
    if after is not None:
        where.append("(created_ms < ? OR (created_ms = ? AND id < ?))")
        parameters += [after[0], *after]
    rows = database.execute(
        f"SELECT {_FIELDS} FROM admin_tokens WHERE {' AND '.join(where)} ORDER BY created_ms DESC, id DESC LIMIT ?",
        (*parameters, limit),
    )
    return [_token(row) for row in rows]


def _token(row: Sequence[Any]) -> StoredToken:
    ident, sha256, scope, name, created, expires, revoked, role, author, used, issuer, subject, held = row
    return StoredToken(
        ident,
        sha256,
        scope,
        name,
        created / 1000,
        None if expires is None else expires / 1000,
        bool(revoked),
        role,
        author,
        None if used is None else used / 1000,
        issuer,
        subject,
        None if held is None else tuple(json.loads(held)),
    )


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


def set_opt_in(database: Database, wanted: OptInChange, audit: Audit) -> bool:
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
    """Bind an opt-in to the credential that used it first; False if another one, or another proxy, was first."""
    with database.transaction(LOCK):
        free = "conversation = ? AND group_path = ? AND active AND credential IS NULL"
        if not database.execute(f"SELECT 1 FROM opt_ins WHERE {free}", (conversation, group)):
            return False
        changed = (credential, _next(database), conversation, group)
        database.execute(f"UPDATE opt_ins SET credential = ?, version = ? WHERE {free}", changed)
        audit(database)
    return True


def add_token(database: Database, token: StoredToken, audit: Audit) -> None:
    """Keep a new token or sign-in; sign-ins that ended a day ago are forgotten: the audit log has them."""
    with database.transaction(LOCK):
        audit(database)
        if token.held is not None:
            now = database.now() or token.created  # the database's clock, where it has one of its own
            ended = round((now - _KEPT) * 1000)
            database.execute("DELETE FROM admin_tokens WHERE held IS NOT NULL AND expires_ms < ?", (ended,))
        expires = None if token.expires is None else round(token.expires * 1000)
        database.execute(
            "INSERT INTO admin_tokens (id, sha256, scope, name, created_ms, expires_ms, revoked, role, version, author,"
            " issuer, subject, held) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                token.author,
                token.issuer,
                token.subject,
                None if token.held is None else json.dumps(token.held),
            ),
        )


def revoke_token(database: Database, ident: str, audit: Audit) -> bool:
    """Take a token back; False, and no audit row, if there is none in force by this id."""
    with database.transaction(LOCK):
        changed = database.execute(
            "UPDATE admin_tokens SET revoked = ?, version = ? WHERE id = ? AND NOT revoked RETURNING 1",
            (True, _next(database), ident),
        )
        if changed:
            audit(database)
    return bool(changed)


def used_tokens(database: Database, uses: Mapping[str, float]) -> None:
    """Note when tokens were last used: Unix seconds, by id. No change of what is in force, so nobody is told."""
    with database.transaction():
        for ident, when in uses.items():
            moment = round(when * 1000)
            database.execute(
                "UPDATE admin_tokens SET last_used_ms = ? WHERE id = ? AND (last_used_ms IS NULL OR last_used_ms < ?)",
                (moment, ident, moment),
            )


def note(database: Database, audit: Audit) -> None:
    """Keep the audit row of what changed nothing."""
    with database.transaction(LOCK):
        audit(database)


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

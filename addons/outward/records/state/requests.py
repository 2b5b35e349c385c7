"""The rows of access requests and grants: asking, deciding, and reading them. Each function is within a transaction.

Equal requests of a group are one row while it is open, and for a day after a refusal; how many may be open is bounded.
Knows no policy and keeps nothing in memory.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from outward.core.grants import Grant
from outward.records.database import Database, in_subtrees
from outward.records.text import clean

OPEN, APPROVED, DENIED = "open", "approved", "denied"
STATES = (OPEN, APPROVED, DENIED)
MOST_OF_GROUP, MOST_OF_CLIENT = 200, 20  # open requests
WHYS, WHY = 5, 500  # texts that are kept of a request, and their characters
_STANDS = 86_400_000  # milliseconds that a refusal answers the same request again
_KEPT = 30 * 86_400_000  # milliseconds that a request, or a grant that has ended, stays
_COLUMNS = (
    *("id", "group_path", "host", "port", "method", "path", "clear", "reason", "count", "first_ms", "last_ms"),
    *("client", "asker", "whys", "state", "decided_by", "decided_ms", "note", "until_ms", "grant_id"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM access_requests"
_KEY = "group_path = ? AND host = ? AND port = ? AND method = ? AND path = ?"


class TooManyRequestsError(Exception):
    """Too many requests are open; the message says whose."""


class SettledError(Exception):
    """The request has been approved already."""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request. Times are Unix milliseconds.

    Attributes:
        method, path: of the one request that is asked for; None, both, for the whole host.
        clear: it was asked for without TLS.
        count: how often it was asked.
        client: who asked last, in words.
        asker: who asked first, for the bounds.
        whys: the clients' own words, the first ones.
        grant: id of the grant that an approval made.
    """

    id: str
    group: str
    host: str
    port: int
    method: str | None
    path: str | None
    clear: bool
    reason: str
    count: int
    first: int
    last: int
    client: str
    asker: str
    whys: tuple[str, ...]
    state: str = OPEN
    decided_by: str | None = None
    decided: int | None = None
    note: str | None = None
    until: int | None = None
    grant: str | None = None


_FIELDS = tuple(field.name for field in fields(AccessRequest))


@dataclass(frozen=True, slots=True)
class RequestsQuery:
    """Which requests are listed; None is any.

    Attributes:
        scope, group: paths, with what is below them.
        state: one of STATES.
    """

    scope: str | None = None
    group: str | None = None
    state: str | None = None


def put(database: Database, asked: AccessRequest) -> tuple[AccessRequest, bool]:
    """Keep a request, or count it in the row that is there; tells whether it is new.

    Raises:
        CrowdedError: too many are open.
    """
    key = (asked.group, asked.host, asked.port, asked.method or "", asked.path or "")
    stands = "state = 'open' OR (state = 'denied' AND decided_ms > ?)"
    found = _read(
        database.execute(f"{_SELECT} WHERE {_KEY} AND ({stands}) ORDER BY last_ms DESC", (*key, asked.last - _STANDS))
    )
    for known in found[:1]:
        whys = tuple(dict.fromkeys((*known.whys, *asked.whys)))[:WHYS]
        database.execute(
            "UPDATE access_requests SET count = count + 1, last_ms = ?, client = ?, whys = ? WHERE id = ?",
            (asked.last, asked.client, json.dumps(whys), known.id),
        )
        return replace(known, count=known.count + 1, last=asked.last, client=asked.client, whys=whys), False
    _make_room(database, asked)
    row = (
        *(asked.id, *key, asked.clear, asked.reason, 1, asked.first, asked.last, asked.client, asked.asker),
        *(json.dumps(asked.whys), OPEN, None, None, None, None, None),
    )
    database.execute(
        f"INSERT INTO access_requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})", row
    )
    return asked, True


def _make_room(database: Database, asked: AccessRequest) -> None:
    """Drop what is old, and refuse what would be too much."""
    database.execute("DELETE FROM access_requests WHERE last_ms < ?", (asked.last - _KEPT,))
    database.execute("DELETE FROM grants WHERE until_ms < ?", (asked.last - _KEPT,))
    count = "SELECT COUNT(*) FROM access_requests WHERE state = 'open' AND group_path = ?"
    if int(database.execute(count, (asked.group,))[0][0]) >= MOST_OF_GROUP:
        raise TooManyRequestsError(f"{MOST_OF_GROUP} requests of this group wait for an answer already")
    if int(database.execute(f"{count} AND asker = ?", (asked.group, asked.asker))[0][0]) >= MOST_OF_CLIENT:
        raise TooManyRequestsError(f"{MOST_OF_CLIENT} requests of this client wait for an answer already")


def settle(database: Database, decided: AccessRequest) -> bool:
    """Write a decision; False if there is no such request, or a grant has been made of it meanwhile."""
    changed = database.execute(
        "UPDATE access_requests SET state = ?, decided_by = ?, decided_ms = ?, note = ?, until_ms = ?, grant_id = ?"
        " WHERE id = ? AND (state <> 'approved' OR grant_id IS NULL) RETURNING 1",
        (decided.state, decided.decided_by, decided.decided, decided.note, decided.until, decided.grant, decided.id),
    )
    return bool(changed)


def find(database: Database, ident: str) -> AccessRequest | None:
    """Return a request by its id, or None."""
    return next(iter(_read(database.execute(f"{_SELECT} WHERE id = ?", (ident,)))), None)


def listed(
    database: Database, wanted: RequestsQuery, limit: int, after: tuple[int, str] | None = None
) -> list[AccessRequest]:
    """Return requests, those asked last first, from behind a row's time and id."""
    terms, values = in_subtrees(wanted.scope, wanted.group)
    if wanted.state is not None:
        terms.append("state = ?")
        values.append(wanted.state)
    if after is not None:
        terms.append("(last_ms, id) < (?, ?)")
        values += after
    order = "ORDER BY last_ms DESC, id DESC LIMIT ?"
    return _read(database.execute(f"{_SELECT} WHERE {' AND '.join(terms)} {order}", (*values, limit)))


def add_grant(database: Database, grant: Grant, version: int) -> None:
    """Keep a grant."""
    database.execute(
        "INSERT INTO grants (id, group_path, host, port, method, path, made_ms, until_ms, who, note, ended, version)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(grant.id, grant.group, grant.host, grant.port, grant.method or "", grant.path or ""),
            *(grant.made, grant.until, grant.who, grant.note, False, version),
        ),
    )


def holds(database: Database, ident: str) -> bool:
    """Tell whether there is a grant that nobody has ended."""
    return bool(database.execute("SELECT 1 FROM grants WHERE id = ? AND NOT ended", (ident,)))


def end_grant(database: Database, ident: str, version: int) -> None:
    """End a grant."""
    database.execute("UPDATE grants SET ended = ?, version = ? WHERE id = ?", (True, version, ident))


def grants_since(database: Database, known: int) -> list[tuple[Grant, bool]]:
    """Return the grants that were made or ended after a version, each with whether it has ended."""
    rows = database.execute(
        "SELECT id, group_path, host, port, method, path, made_ms, until_ms, who, note, ended FROM grants"
        " WHERE version > ? ORDER BY made_ms, id",
        (known,),
    )
    return [
        (Grant(ident, group, host, port, method or None, path or None, made, until, who, note), bool(ended))
        for ident, group, host, port, method, path, made, until, who, note, ended in rows
    ]


def words(text: str) -> str:
    """Return a text that somebody wrote, bounded and without control characters."""
    return clean(text.strip(), WHY)


def _read(rows: Iterable[Sequence[Any]]) -> list[AccessRequest]:
    return [_request(dict(zip(_FIELDS, row, strict=True))) for row in rows]


def _request(found: dict[str, Any]) -> AccessRequest:
    texts = {"method": found["method"] or None, "path": found["path"] or None}
    return AccessRequest(**found | texts | {"clear": bool(found["clear"]), "whys": tuple(json.loads(found["whys"]))})

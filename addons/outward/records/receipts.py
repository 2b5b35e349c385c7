"""Receipts of searches as rows: one for each request that searched. Their meaning is in `search.receipts`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from outward.records.audit import bounded
from outward.records.database import Database, subtree
from outward.records.events import Record

_ROWS = 1000  # of one conversation that are read


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation as a line of a list.

    Attributes:
        searches: in this group.
        opted_in: whether it has opted in for this group now.
        time_ms: of its last search or its last opt-in, in Unix milliseconds.
    """

    conversation: str
    group: str
    searches: int
    opted_in: bool
    time_ms: int


def write(database: Database, receipt: Mapping[str, Any], time: float, ident: str) -> None:
    """Write the receipt of one request, bounded and cleaned; an id that is there already is skipped.

    One without a conversation is nobody's and is left out.
    """
    if not receipt["conversation"]:
        return
    record = bounded(receipt)
    database.execute(
        "INSERT INTO receipts (id, time_ms, conversation, group_path, searches, body) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (
            ident,
            round(time * 1000),
            record["conversation"],
            record["group"],
            record["searches"],
            orjson.dumps(record).decode(),
        ),
    )


def read(database: Database, conversation: str, group: str | None = None) -> list[Record]:
    """Return the receipts of a conversation's requests, the oldest first; of every group, or of one."""
    where, values = ("", (conversation,)) if group is None else (" AND group_path = ?", (conversation, group))
    rows = database.execute(
        f"SELECT body FROM receipts WHERE conversation = ?{where} ORDER BY time_ms DESC, id DESC LIMIT {_ROWS}",
        values,
    )
    return [orjson.loads(body) for (body,) in reversed(rows)]


def conversations(database: Database, scope: str | None, limit: int, before: tuple[int, str] | None) -> list[Talk]:
    """Return the conversations that searched or opted in, the last active first."""
    within, values = ("1 = 1", []) if scope is None else subtree(scope)
    having = "" if before is None else "HAVING (MAX(time_ms), conversation) < (?, ?)"
    rows = database.execute(
        "SELECT conversation, group_path, SUM(searches), MAX(opted), MAX(time_ms) FROM ("
        "SELECT conversation, group_path, searches, 0 AS opted, time_ms FROM receipts UNION ALL "
        "SELECT conversation, group_path, 0, CASE WHEN active THEN 1 ELSE 0 END, time_ms FROM opt_ins) AS both_kinds"
        f" WHERE {within} GROUP BY conversation, group_path {having}"
        " ORDER BY MAX(time_ms) DESC, conversation DESC LIMIT ?",
        (*values, *(before or ()), limit),
    )
    return [Talk(name, group, int(searches), bool(opted), when) for name, group, searches, opted, when in rows]


def prune(database: Database, before: float) -> None:
    """Delete receipts from before a Unix time."""
    with database.transaction():
        database.execute("DELETE FROM receipts WHERE time_ms < ?", (round(before * 1000),))

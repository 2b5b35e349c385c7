"""Receipts of searches as rows: one for each request that searched. Their meaning is in `search.receipts`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from outward.records.audit.values import bounded
from outward.records.database import Database, subtree
from outward.records.events.values import Record

MAX_BYTES = 64 * 1024  # of one receipt: the vendor's answer decides how much there is to tell
_ROWS = 1000  # of one conversation that are read
_ROW_BYTES = 200  # of a row without its body, and of its places in the indexes


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
    body = _fitting(record)
    head = (ident, round(time * 1000), record["conversation"], record["group"], record["searches"])
    database.execute(
        "INSERT INTO receipts (id, time_ms, conversation, group_path, searches, body, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (*head, body, _ROW_BYTES + len(body)),
    )


def _fitting(record: Record) -> str:
    """Return a receipt as JSON of at most `MAX_BYTES`; one whose lists are cut for that says that it is incomplete."""
    body, most = orjson.dumps(record), 256
    while len(body) > MAX_BYTES and most:
        cut = {name: value[:most] if isinstance(value, list) else value for name, value in record.items()}
        body, most = orjson.dumps(cut | {"incomplete": True}), most // 2
    return body.decode()


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


def sizes(database: Database) -> dict[str, int]:
    """Return the bytes of each group's receipts."""
    rows = database.execute("SELECT group_path, SUM(size) FROM receipts GROUP BY group_path")
    return {group: int(size) for group, size in rows}


def prune_oldest(database: Database, group: str, size: int) -> int:
    """Delete the oldest receipts of a group, of at most about a number of bytes, and return how many they were."""
    found = f"SELECT id, size FROM receipts WHERE group_path = ? ORDER BY id LIMIT {_ROWS}"
    with database.transaction():
        before = 0
        chosen = []
        for ident, taken in database.execute(found, (group,)):
            if before >= size:
                break
            chosen.append(ident)
            before += taken
        marks = ", ".join("?" * len(chosen))
        database.execute(f"DELETE FROM receipts WHERE id IN ({marks})", chosen)
    return len(chosen)


def prune(database: Database, before: float) -> None:
    """Delete receipts from before a Unix time."""
    with database.transaction():
        database.execute("DELETE FROM receipts WHERE time_ms < ?", (round(before * 1000),))

"""How far the audit stream has come: one durable cursor for each chain. SQL only; delivery is in `audit_stream`."""

from dataclasses import dataclass

import orjson

from outward.records.audit.sealed import unseal
from outward.records.database import Database

_BEHIND = (
    "SELECT h.chain, COALESCE(c.seq, 0), h.seq FROM chain_heads h LEFT JOIN stream_cursors c ON c.chain = h.chain"
    " WHERE h.seq > COALESCE(c.seq, 0) ORDER BY h.chain"
)
_NEXT = (
    "SELECT seq, time_ms, event_type, body, id, private FROM audit_events WHERE chain = ? AND seq > ?"
    " ORDER BY seq LIMIT ?"
)
_ADVANCE = (
    "INSERT INTO stream_cursors AS old (chain, seq) VALUES (?, ?) ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq"
    " WHERE old.seq < excluded.seq"
)


@dataclass(frozen=True, slots=True)
class Behind:
    """A chain with rows that were not delivered.

    Attributes:
        seq: of the last row that was.
        head: of the last row that there is.
    """

    chain: str
    seq: int
    head: int


@dataclass(frozen=True, slots=True)
class ChainRow:
    """One audit event; `body` is the signed text."""

    seq: int
    time_ms: int
    event_type: str
    body: str
    ident: str
    private: str | None = None

    @property
    def text(self) -> str:
        """The event as it was made, as JSON; without what was erased."""
        return self.body if self.private is None else orjson.dumps(unseal(self.body, self.private)).decode()


def behind(database: Database) -> list[Behind]:
    """Return the chains that have something to deliver."""
    return [Behind(*row) for row in database.execute(_BEHIND)]


def following(database: Database, chain: Behind, limit: int) -> list[ChainRow]:
    """Return the next rows of a chain in their order; a gap that somebody cut is stepped over."""
    return [ChainRow(*row) for row in database.execute(_NEXT, (chain.chain, chain.seq, limit))]


def advance(database: Database, chain: str, seq: int) -> None:
    """Keep that a chain was delivered up to a row; never goes back."""
    with database.transaction():
        database.execute(_ADVANCE, (chain, seq))

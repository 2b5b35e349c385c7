"""Verifying the audit chains: every row, every link, every signature, and that nothing is missing at the end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from outward.records.chain import (
    COLUMNS,
    GENESIS,
    HEAD_FILE,
    KEY_FILE,
    ChainError,
    Head,
    chain_name,
    load_head,
    repeated,
    row_hash,
)
from outward.records.database import Database

_PAGE = 1000
_MAX_PROBLEMS = 100


@dataclass(slots=True)
class Report:
    """What a verification found.

    Attributes:
        rows: rows that were read.
        chains: name of each chain, with the number of its last row.
        problems: sentences; none where all is well.
    """

    rows: int = 0
    chains: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every chain is whole."""
        return not self.problems

    def add(self, chain: str, problem: str) -> None:
        """Note a problem, up to a bound."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(f"chain {chain[:12]}: {problem}")


def verify(database: Database, state: Path) -> Report:
    """Verify every chain in a database against its rows, its head there, and this state directory's own head.

    The heads are read first: rows that are written meanwhile come after them, which is no break.

    Raises:
        StoreAwayError: the database cannot be read.
    """
    report = Report()
    heads = [Head(*row) for row in database.execute("SELECT chain, seq, hash, signature FROM chain_heads")]
    own = _own_head(state, report)
    chains = {row[0] for row in database.execute("SELECT DISTINCT chain FROM audit_events")}
    for chain in sorted(chains | {head.chain for head in heads} | ({own.chain} if own else set())):
        known = [head for head in (*heads, own) if head is not None and head.chain == chain]
        if not known or (chain in chains and not any(head.chain == chain for head in heads)):
            report.add(chain, "its head is missing")
        _verify_chain(database, chain, known, report)
    return report


def _own_head(state: Path, report: Report) -> Head | None:
    if not (state / KEY_FILE).exists() and not (state / HEAD_FILE).exists():
        return None
    try:
        head = load_head(state / HEAD_FILE)
        if head.chain != chain_name(state):
            report.problems.append(f"{state / HEAD_FILE} is the head of another chain")
    except ChainError as error:
        report.problems.append(str(error))
        return None
    return head


def _verify_chain(database: Database, chain: str, heads: list[Head], report: Report) -> None:
    hashes, seq, previous = {0: GENESIS}, 0, GENESIS
    wanted = {head.seq for head in heads}
    for row in _rows(database, chain):
        report.rows += 1
        if row["seq"] != seq + 1:
            report.add(chain, f"rows are missing between {seq} and {row['seq']}")
        for problem in _row_problems(row, previous):
            report.add(chain, f"row {row['seq']}: {problem}")
        seq, previous = row["seq"], row["hash"]
        if seq in wanted:
            hashes[seq] = previous
    report.chains[chain] = seq
    for head in heads:
        if not head.is_signed():
            report.add(chain, f"the head at {head.seq} is not signed by the chain's key")
        if head.seq > seq:
            report.add(chain, f"rows are missing at the end: {seq} is the last, {head.seq} was written")
        elif hashes.get(head.seq) != head.hash:
            report.add(chain, f"row {head.seq} is not the one that the head names")


def _row_problems(row: dict[str, Any], previous: str) -> Iterator[str]:
    if row_hash(row["chain"], row["seq"], previous, row["body"]) != row["hash"]:
        yield "its content or its predecessor was changed"
    if not Head(row["chain"], row["seq"], row["hash"], row["signature"]).is_signed():
        yield "its signature is not the chain's own"
    try:
        copies = repeated(orjson.loads(row["body"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        yield "its content cannot be read"
        return
    if copies != tuple(row[name] for name in ("id", "time_ms", "event_type", "group_path", "target")):
        yield "a column differs from what was signed"


def _rows(database: Database, chain: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a chain in order, a page at a time."""
    last = None
    while True:
        after = "" if last is None else " AND seq > ?"
        rows = database.execute(
            f"SELECT {', '.join(COLUMNS)} FROM audit_events WHERE chain = ?{after} ORDER BY seq LIMIT {_PAGE}",  # noqa: S608
            (chain,) if last is None else (chain, last),
        )
        yield from (dict(zip(COLUMNS, row, strict=True)) for row in rows)
        if len(rows) < _PAGE:
            return
        last = rows[-1][1]

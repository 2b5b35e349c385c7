"""Verifying the audit chains: every row, every link, every signature, and that nothing is missing at the end."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from outward.records.audit.chain import (
    GENESIS,
    HEAD_FILE,
    KEPT,
    LOCK_FILE,
    ChainError,
    ChainHead,
    chain_name,
    is_unused,
    load_head,
    repeated,
    row_hash,
)
from outward.records.audit.erasing import ERASED, PRUNED, spans
from outward.records.audit.sealed import digest, digest_in, unseal
from outward.records.database import Database

_PAGE = 1000
_MAX_PROBLEMS = 100
_LAST = 2**62  # no row's number is greater
_TRACES = (HEAD_FILE, LOCK_FILE, "records.sqlite")  # what lies beside the key from the first record on


@dataclass(slots=True)
class ChainReport:
    """What a verification found.

    Attributes:
        rows: rows that were read.
        chains: name of each chain, with the number of its last row.
        ends: the same with that row's hash: from where a later verification can go on.
        starts: rows up to this number were pruned.
        erased: rows whose personal fields were erased.
        problems: sentences; none where all is well.
    """

    rows: int = 0
    chains: dict[str, int] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    erased: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every chain is whole."""
        return not self.problems

    def add(self, chain: str, problem: str) -> None:
        """Note a problem, up to a bound."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(f"chain {chain[:12]}: {problem}")


@dataclass(slots=True)
class _Told:
    """What audit events tell of rows that are not whole.

    Attributes:
        pruned: by chain, numbers of rows up to which it was pruned, with their hashes.
        erased: by chain, ranges of rows whose personal fields were erased: who tells it, the first and the last.
        bare: by chain, rows that lack theirs.
        vouched: chains that the state directory or an anchor names; others can be made by who has the database alone.
    """

    vouched: frozenset[str]
    pruned: dict[str, dict[int, str]] = field(default_factory=dict)
    erased: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    bare: dict[str, list[int]] = field(default_factory=dict)


def verify(
    database: Database,
    state: Path,
    *,
    after: ChainReport | None = None,
    signatures: bool = True,
    anchors: Sequence[ChainHead] = (),
    complete: bool = False,
) -> ChainReport:
    """Verify every chain in a database against its rows, its head there, and this state directory's own head.

    The heads are read first: rows that are written meanwhile come after them, which is no break.

    Args:
        database: where the rows are.
        state: the state directory.
        after: an earlier report without problems, which is continued: of its rows it is only seen that none is missing.
        signatures: verify each row's own; else only those of rows behind the heads. A head's signature vouches, by
            the hashes, for every row up to it, at a hundredth of the time.
        anchors: heads that were kept outside the database; each must still be there.
        complete: they are those of all proxies that write here; a chain that none names is a problem.

    Raises:
        StoreAwayError: the database cannot be read.
    """
    report = ChainReport()
    heads = [ChainHead(*row) for row in database.execute("SELECT chain, seq, hash, signature FROM chain_heads")]
    own = _own_head(state, report)
    chains = {row[0] for row in database.execute("SELECT DISTINCT chain FROM audit_events")}
    outside = {head.chain for head in anchors}
    told = _Told(frozenset(outside | ({own.chain} if own else set())), pruned=_pruned(database, own))
    for chain in sorted(chains | {head.chain for head in (*heads, *anchors)} | ({own.chain} if own else set())):
        known = [head for head in (*heads, own) if head is not None and head.chain == chain]
        report.starts[chain] = start = _start(database, chain, told)
        if (not known and not start) or (chain in chains and not any(head.chain == chain for head in heads)):
            report.add(chain, "its head is missing")
        if complete and chain not in outside and any(head.seq for head in known):
            report.add(chain, "no anchor names it: it is new, or not of these proxies")
        vouched = 0 if signatures else max((head.seq for head in known if head.is_signed()), default=0)
        end = _verify_rows(database, chain, vouched, report, after=after or ChainReport(), told=told)
        known += [head for head in anchors if head.chain == chain]
        _verify_heads(database, chain, known, end, report)
    _verify_erased(told, report)
    return report


def _verify_erased(told: _Told, report: ChainReport) -> None:
    """Hold rows without their personal fields against the events that tell of erasures."""
    for chain, numbers in told.bare.items():
        tellers = _tellers(numbers, chain, told)
        for number in numbers:
            if (by := tellers.get(number)) is None:
                report.add(chain, f"row {number}: its personal fields are gone, and no event tells of an erasure")
            elif by != chain and by not in told.vouched:
                report.add(chain, f"row {number}: erased, as chain {by[:12]} says, which nothing vouches for")


def _tellers(numbers: list[int], chain: str, told: _Told) -> dict[int, str]:
    """Return which chain tells of the erasure of rows; one that is believed, if there is one."""
    found: dict[int, str] = {}
    for by, first, last in sorted(told.erased.get(chain, ()), key=lambda each: each[0] in (chain, *told.vouched)):
        found.update(dict.fromkeys(numbers[bisect_left(numbers, first) : bisect_right(numbers, last)], by))
    return found


def _pruned(database: Database, own: ChainHead | None) -> dict[str, dict[int, str]]:
    """Return up to where chains were pruned, as events tell; of our own chain its own events alone are believed."""
    found: dict[str, dict[int, str]] = {}
    for by, body in database.execute("SELECT chain, body FROM audit_events WHERE event_type = ?", (PRUNED,)):
        try:
            details = orjson.loads(body)["details"]
            chain, until, digest = str(details["chain"]), int(details["rows_until"]), str(details["hash"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError):
            continue  # whose row says so itself
        if not 0 < until <= _LAST:
            continue  # no row has such a number
        if own is None or chain != own.chain or by == own.chain:
            found.setdefault(chain, {})[until] = digest
    return found


def _own_head(state: Path, report: ChainReport) -> ChainHead | None:
    try:
        if is_unused(state):
            if any((state / name).exists() for name in _TRACES):
                report.problems.append(f"{state} holds records, and the key of its audit chain has been removed")
            return None
        head = load_head(state / HEAD_FILE)
        if head.chain != chain_name(state):
            report.problems.append(f"{state / HEAD_FILE} is the head of another chain")
    except ChainError as error:
        report.problems.append(str(error))
        return None
    return head


def _verify_rows(
    database: Database, chain: str, vouched: int, report: ChainReport, *, after: ChainReport, told: _Told
) -> int:
    """Verify the rows of a chain and return the number of the last one."""
    seq, previous = after.chains.get(chain, 0), after.ends.get(chain, GENESIS)
    start = report.starts[chain]
    if seq <= start:
        seq, previous = start, told.pruned.get(chain, {}).get(start, GENESIS)
    elif _count(database, chain, seq) != seq - start or _hash(database, chain, seq) != previous:
        report.add(chain, f"rows up to {seq} were changed or removed since they were verified")
    report.rows += seq - start
    for row in _rows(database, chain, seq):
        report.rows += 1
        if row["seq"] != seq + 1:
            report.add(chain, f"rows are missing between {seq} and {row['seq']}")
        if row["private"] is None and _digest_in(row["body"]) is not None:
            told.bare.setdefault(chain, []).append(row["seq"])
            report.erased += 1
        tells = row["event_type"] == ERASED
        problems = list(_row_problems(row, previous, signature=tells or row["seq"] > vouched))
        for problem in problems:
            report.add(chain, f"row {row['seq']}: {problem}")
        if tells and not problems:
            _take_erased(chain, row["body"], told)
        seq, previous = row["seq"], row["hash"]
    report.chains[chain], report.ends[chain] = seq, previous
    return seq


def _start(database: Database, chain: str, told: _Told) -> int:
    """Return up to where a chain was pruned: its first row must follow one that an event names, if it has any."""
    first = database.execute("SELECT MIN(seq) FROM audit_events WHERE chain = ?", (chain,))[0][0]
    until = told.pruned.get(chain, {})
    if first is None:
        return max(until, default=0)
    return first - 1 if first - 1 in until else 0


def _take_erased(by: str, body: str, told: _Told) -> None:
    """Note what a row tells of erasures; the one who tells is the chain that told it first, unless this one lies."""
    try:
        details = orjson.loads(body)["details"]
        about, ranges = str(details["chain"]), spans(details["rows"])
        if by == about or by in told.vouched:
            by = str(details.get("told_by", by))
        told.erased.setdefault(about, []).extend((by, *each) for each in ranges)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return  # what cannot be read explains nothing


def _digest_in(body: str) -> str | None:
    try:
        return digest_in(body)
    except ValueError:
        return None


def _verify_heads(database: Database, chain: str, heads: list[ChainHead], end: int, report: ChainReport) -> None:
    for head in heads:
        if not head.is_signed():
            report.add(chain, f"the head at {head.seq} is not signed by the chain's key")
        if head.seq <= report.starts[chain]:
            continue
        if head.seq > end:
            report.add(chain, f"rows are missing at the end: {end} is the last, {head.seq} was written")
        elif _hash(database, chain, head.seq) != head.hash:
            report.add(chain, f"row {head.seq} is not the one that the head names")


def _count(database: Database, chain: str, end: int) -> int:
    found = database.execute("SELECT COUNT(*) FROM audit_events WHERE chain = ? AND seq <= ?", (chain, end))
    return int(found[0][0])


def _hash(database: Database, chain: str, seq: int) -> str | None:
    if seq == 0:
        return GENESIS
    found = database.execute("SELECT hash FROM audit_events WHERE chain = ? AND seq = ?", (chain, seq))
    return str(found[0][0]) if found else None


def _row_problems(row: dict[str, Any], previous: str, *, signature: bool) -> Iterator[str]:
    if row_hash(row["chain"], row["seq"], previous, row["body"]) != row["hash"]:
        yield "its content or its predecessor was changed"
    if signature and not ChainHead(row["chain"], row["seq"], row["hash"], row["signature"]).is_signed():
        yield "its signature is not the chain's own"
    try:
        copies = repeated(unseal(row["body"], row["private"]))
        named = digest_in(row["body"])
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        yield "its content cannot be read"
        return
    if row["private"] is not None and (named is None or digest(row["private"]) != named):
        yield "its personal fields were changed"
    if copies != tuple(row[name] for name in ("id", "time_ms", "event_type", "group_path", "target")):
        yield "a column differs from what was signed"


def _rows(database: Database, chain: str, last: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a chain after one, in order, a page at a time."""
    after = last or -_LAST  # a chain begins at 1; whatever is before that must be seen too
    while True:
        rows = database.execute(
            f"SELECT {', '.join(KEPT)} FROM audit_events WHERE chain = ? AND seq > ? ORDER BY seq LIMIT {_PAGE}",
            (chain, after),
        )
        yield from (dict(zip(KEPT, row, strict=True)) for row in rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1][1]

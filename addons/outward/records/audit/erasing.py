"""What leaves the audit: a person's fields, when somebody asks, and the oldest rows, when they are too old.

Each is an audit event itself, which `verify` reads: it names the rows, and never the person. SQL and values only; who
may, and when, is others' affair.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from outward.records.audit.sealed import unseal
from outward.records.audit.values import AuditEvent
from outward.records.database import Database
from outward.records.events.values import Record

ERASED, PRUNED = "audit_erased", "audit_pruned"
BATCH = 5000  # rows that are pruned in one transaction
_OF_CONVERSATION = '%"target_type":"Conversation"%'  # whose target is a person's, and stands in a column too
_OF_ROWS = ("change", "by", "chain", "rows", "rows_until", "hash", "count", "told_by")  # details of the two events here
_PAGE = 1000
_TEXT = 1500  # characters of one event's list of rows


class Person(NamedTuple):
    """Whose fields are meant; one of them is given.

    Attributes:
        subject: as its issuer or certificate names it.
        client: name or address that audit events show as the author's.
        conversation: what was searched in it, and what else was done there.
    """

    subject: str | None = None
    client: str | None = None
    conversation: str | None = None


class Found(NamedTuple):
    """Rows of a person: numbers by chain, and the conversations that they tell of, each with its group.

    Clients choose the names of conversations: that of another group is another's.
    """

    rows: dict[str, list[int]]
    conversations: set[tuple[str, str]]


def find(database: Database, person: Person) -> Found:
    """Return the rows that hold something of a person."""
    wanted = next(value for value in person if value is not None)
    rows: dict[str, list[int]] = {}
    conversations: set[tuple[str, str]] = set()
    after = ("", 0)
    pattern = f"%{_literal(orjson.dumps(wanted).decode()[1:-1])}%"
    while True:
        page = database.execute(
            "SELECT chain, seq, body, private FROM audit_events WHERE (chain, seq) > (?, ?) AND private IS NOT NULL"
            rf" AND private LIKE ? ESCAPE '!' ORDER BY chain, seq LIMIT {_PAGE}",
            (*after, pattern),
        )
        for chain, seq, body, private in page:
            record = unseal(body, private)
            if wanted in _names(person, record):
                rows.setdefault(chain, []).append(seq)
                if record["target_type"] == "Conversation" and record["target_details"]:
                    conversations.add((record["target_details"], record["entity_path"] or ""))
        if len(page) < _PAGE:
            return Found(rows, conversations)
        after = page[-1][:2]


def _names(person: Person, record: Record) -> tuple[str | None, ...]:
    """Return what a record says in the places where such a person would stand."""
    details = record["details"]
    if person.client is not None:
        return record["author_name"], record["ip_address"], details.get("client_name")
    if person.conversation is not None:
        return record["target_details"], details.get("conversation")
    # a credential is `jwt:issuer:subject` or `certificate:subject`, and each part may hold colons
    named = person.subject if str(details.get("credential")).endswith(f":{person.subject}") else None
    return details.get("subject"), named


def erase(database: Database, found: Found) -> int:
    """Drop the private texts of rows, and the receipts of their conversations; return how many receipts these were.

    Within the caller's transaction, which also appends the events of `erased`.
    """
    for chain, numbers in found.rows.items():
        database.insert(
            "UPDATE audit_events SET private = NULL, target = CASE WHEN body LIKE ? THEN NULL ELSE target END"
            " WHERE chain = ? AND seq = ?",
            [(_OF_CONVERSATION, chain, seq) for seq in numbers],
        )
    receipts = 0
    for conversation in sorted(found.conversations):
        gone = database.execute(
            "DELETE FROM receipts WHERE conversation = ? AND group_path = ? RETURNING id", conversation
        )
        receipts += len(gone)
    return receipts


def erased(rows: Mapping[str, Sequence[int]], by: str, author: str) -> list[AuditEvent]:
    """Return the events that tell of an erasure, and which rows it was; `by` is what the person was known by."""
    return [
        AuditEvent(
            event_type=ERASED,
            target=chain,
            target_type="AuditChain",
            author=author,
            author_class="Administrator",
            message=f"personal fields of {len(numbers)} audit events erased",
            details={"change": "audit", "by": by, "chain": chain, "rows": text, "count": len(numbers)},
        )
        for chain, numbers in sorted(rows.items())
        for text in _ranges(numbers)
    ]


class Cut(NamedTuple):
    """Up to which row a chain may be pruned, that row's hash, and how many rows go."""

    seq: int
    hash: str
    rows: int


def prunable(database: Database, chain: str, before_ms: int, *, delivered: bool) -> Cut | None:
    """Return up to which row a chain may be pruned; None if none may go.

    Args:
        database: where the rows are.
        chain: which.
        before_ms: Unix time in milliseconds; rows from then on stay, and those behind them.
        delivered: only what the audit stream has delivered may go.
    """
    first, last = database.execute("SELECT MIN(seq), MAX(seq) FROM audit_events WHERE chain = ?", (chain,))[0]
    if first is None:
        return None
    young = database.execute("SELECT MIN(seq) FROM audit_events WHERE chain = ? AND time_ms >= ?", (chain, before_ms))
    cut = last
    if young[0][0] is not None:
        cut = min(cut, young[0][0] - 1)
    if delivered:
        sent = database.execute("SELECT seq FROM stream_cursors WHERE chain = ?", (chain,))
        cut = min(cut, sent[0][0] if sent else 0)
    cut = min(cut, first + BATCH - 1)
    if cut < first:
        return None
    digest = database.execute("SELECT hash FROM audit_events WHERE chain = ? AND seq = ?", (chain, cut))
    return Cut(cut, digest[0][0], cut - first + 1) if digest else None


def pruned(chain: str, cut: Cut) -> AuditEvent:
    """Return the event that tells from where on a chain goes on."""
    return AuditEvent(
        event_type=PRUNED,
        target=chain,
        target_type="AuditChain",
        author="outward",
        author_class="Proxy",
        message=f"{cut.rows} audit events deleted: they were older than records.audit.retention",
        details={"change": "audit", "chain": chain, "rows_until": cut.seq, "hash": cut.hash, "count": cut.rows},
    )


def still_needed(database: Database, chain: str, cut: int) -> list[AuditEvent]:
    """Return anew the events that go with a cut, and that tell of other chains what their verification needs to know.

    Of its own chain an event tells of rows before it, which go with it.
    """
    prunings: dict[str, AuditEvent] = {}
    erasures = []
    for (body,) in database.execute(
        "SELECT body FROM audit_events WHERE chain = ? AND seq <= ? AND event_type IN (?, ?) ORDER BY seq",
        (chain, cut, ERASED, PRUNED),
    ):
        try:
            event, about, last = _again(orjson.loads(body), chain)
        except (KeyError, TypeError, ValueError):
            continue  # whose row says so itself
        rows = "SELECT 1 FROM audit_events WHERE chain = ? AND seq <= ? LIMIT 1"
        if about != chain and event.event_type == PRUNED:
            prunings[about] = event
        elif about != chain and database.execute(rows, (about, last)):
            erasures.append(event)
    return [*prunings.values(), *erasures]


def _again(record: Record, by: str) -> tuple[AuditEvent, str, int]:
    """Return the event of a record once more, with the chain of which it tells, and its last row there.

    The event names the chain that told it first: who tells it again does not vouch for it.
    """
    details = record["details"]
    event = AuditEvent(
        event_type=record["event_type"],
        target=record["target_details"],
        target_type="AuditChain",
        author=record["author_name"],
        author_class=details["author_class"],
        message=details["custom_message"],
        details={"told_by": by} | {name: details[name] for name in _OF_ROWS if name in details},
    )
    last = details["rows_until"] if event.event_type == PRUNED else max(last for _, last in spans(details["rows"]))
    return event, str(details["chain"]), int(last)


def newest(database: Database, chain: str | None = None) -> float | None:
    """Return the Unix time of the newest audit event, of one chain or of all; None if there is none."""
    last = database.execute(
        "SELECT MAX(time_ms) FROM audit_events" + ("" if chain is None else " WHERE chain = ?"),
        () if chain is None else (chain,),
    )[0][0]
    return None if last is None else float(last) / 1000


def chains(database: Database) -> list[str]:
    """Return the names of all chains."""
    return [row[0] for row in database.execute("SELECT chain FROM chain_heads ORDER BY chain")]


def delete(database: Database, chain: str, cut: int) -> None:
    """Delete the rows of a chain up to one, and its head with the last; where `pruned` is appended, within that."""
    database.execute("DELETE FROM audit_events WHERE chain = ? AND seq <= ?", (chain, cut))
    if not database.execute("SELECT 1 FROM audit_events WHERE chain = ? LIMIT 1", (chain,)):
        for table in ("chain_heads", "stream_cursors"):
            database.execute(f"DELETE FROM {table} WHERE chain = ?", (chain,))


def _ranges(numbers: Iterable[int]) -> list[str]:
    """Return numbers as texts such as `1-5,9`, none of them too long for an event."""
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    texts = [""]
    for first, last in spans:
        text = f"{first}-{last}" if last > first else str(first)
        if len(texts[-1]) + len(text) > _TEXT:
            texts.append("")
        texts[-1] += f"{',' if texts[-1] else ''}{text}"
    return texts


def spans(text: object) -> list[tuple[int, int]]:
    """Return the first and the last number of each range of such a text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or len(text) > 2 * _TEXT:
        raise ValueError("no ranges of rows")
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.append((int(first), int(last or first)))
    return found


def _literal(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")

"""Events, counts and databases for tests of the records."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from outward.core.reasons import Reason
from outward.records.audit.chain import Chain
from outward.records.audit.values import AuditEvent, as_record
from outward.records.database import Database
from outward.records.events.recorder import Recorder
from outward.records.events.values import Event

_CHATS = count()


class Counts:
    """Counts as the metrics do."""

    def __init__(self) -> None:
        self.written = 0
        self.dropped: dict[str, int] = {}
        self.pruned: dict[tuple[str, str], int] = {}

    def records_written(self, count: int) -> None:
        self.written += count

    def records_dropped(self, sink: str, count: int) -> None:
        self.dropped[sink] = self.dropped.get(sink, 0) + count

    def records_pruned(self, why: str, of: str, count: int) -> None:
        self.pruned[why, of] = self.pruned.get((why, of), 0) + count


def unaudited(_database: object) -> None:
    """Stand for the audit row of a change, where a test is about something else."""


def denied(host: str = "blocked.example", **facts: Any) -> Event:
    """Make a denial of a conversation of its own, so that it repeats no other."""
    facts = {"group": "acme/a", "client": "10.0.0.1", "conversation": f"chat-{next(_CHATS)}", **facts}
    return Event(host=host, **{"port": 443, "reason": Reason.NO_RULE, **facts})


def stored(state: Path) -> list[str]:
    """Return the ids in a SQLite store, in the order in which they were written; none where there is no store."""
    path = state / "records.sqlite"
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        return [row[0] for row in connection.execute("SELECT id FROM events ORDER BY rowid")]
    except sqlite3.OperationalError:
        return []  # the schema is not there yet
    finally:
        connection.close()


def audited(state: Path) -> int:
    """Return how many audit events are in a SQLite store."""
    connection = sqlite3.connect(f"{(state / 'records.sqlite').as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        return connection.execute("SELECT COUNT(*) FROM audit_events").fetchone()[0]
    finally:
        connection.close()


MONTH = 30 * 86_400.0


@contextmanager
def recording(state: Path, counts: Counts, **options: object) -> Iterator[Recorder]:
    recorder = Recorder("sqlite", state, counts, **{"retention": MONTH, **options})  # type: ignore[arg-type]
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close(10)


def act(target: str = "chat-1", **facts: object) -> AuditEvent:
    return AuditEvent(event_type="web_search_invoked", group="acme/a", target=target, **facts)  # type: ignore[arg-type]


def append(chain: Chain, database: Database, *events: AuditEvent) -> None:
    with database.transaction():
        head = chain.append(database, [as_record(event) for event in events])
    chain.save(head)

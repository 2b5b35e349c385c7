"""What was blocked, folded by the database: the same from SQLite and from PostgreSQL."""

import time
from pathlib import Path

import pytest

from outward.core.evidence import Evidence
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.records.database import Database, migrate, open_database
from outward.records.events.demands import demands
from outward.records.events.store import write
from outward.records.events.values import Event, as_record


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return open_database(request.getfixturevalue("server").url if request.param == "postgres" else "sqlite", tmp_path)


def test_equal_requests_fold_with_their_evidence(database: Database) -> None:
    """Denied and reported; what rules cannot open, what is old and what other groups asked for is left out."""
    migrate(database)
    now = round(time.time())
    blocked = {"host": "a.example", "port": 443, "method": "CONNECT", "group": "g", "client": "c"}
    reported = blocked | {"verdict": Verdict.ALLOW, "reason": Reason.REPORT_ONLY, "would_deny": True, "client": "d"}
    rows = [
        Event(**blocked, reason=Reason.NO_RULE, time=now - 50, count=3, last_seen=now - 20),
        Event(**blocked, reason=Reason.NO_RULE, time=now - 80),
        Event(**reported, would_reason=Reason.NO_RULE, time=now - 10),
        Event(**reported, would_reason=Reason.DENIED_BY_RULE, time=now - 10),
        Event(**blocked | {"group": "g/below"}, reason=Reason.NO_RULE, time=now),
        Event(**blocked | {"group": "gx"}, reason=Reason.NO_RULE, time=now),
        Event(**blocked, reason=Reason.SNI_MISMATCH, time=now),
        Event(**blocked, reason=Reason.NO_RULE, time=now - 2000),
    ]
    with database.transaction():
        write(database, [as_record(each) for each in rows])
    found = list(demands(database, now - 1000, "g"))
    database.close()
    assert {(each.question.group, each.evidence) for each in found} == {
        ("g", Evidence(4, frozenset({"c"}), now - 80, now - 20)),
        ("g", Evidence(1, frozenset({"d"}), now - 10, now - 10)),
        ("g/below", Evidence(1, frozenset({"c"}), now, now)),
    }

"""What was blocked, or would have been, and rules could open: folded by the database, with its evidence."""

from collections.abc import Iterator

from outward.core.evidence import Demand, Evidence
from outward.core.reasons import Reason
from outward.core.suggest import question_about
from outward.records.database import Database, subtree
from outward.records.events.folds import WINDOW

MOST = 50_000  # kinds of request that are looked at, the most frequent ones
REASONS = (
    Reason.NO_RULE, Reason.PORT_NOT_ALLOWED, Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED, Reason.NOT_TLS,
    Reason.RULE_EXPIRED,
)  # fmt: skip
_WOULD = f"COALESCE(would_reason, '{Reason.NO_RULE}')"  # what an older program did not record
_KEY = "group_path, host, port, method, path, scheme, client"
_SEEN = "SUM(count), MIN(time_ms), MAX(COALESCE(last_ms, time_ms))"


def demands(database: Database, since: float, group: str | None = None, name: str | None = None) -> Iterator[Demand]:
    """Yield what was asked for since a Unix time in seconds, the most frequent first.

    Args:
        database: where the records are.
        since: of the last attempt.
        group: path of a group, with its descendants; None for all.
        name: what the policy calls the client; None for all.
    """
    start = round(since * 1000)
    scope, of_scope = ("1 = 1", []) if group is None else subtree(group)
    named, of_name = ("", []) if name is None else (" AND client_name = ?", [name])
    marks = ", ".join("?" * len(REASONS))
    for denied, reason in (("verdict = 'deny'", "reason"), ("would_deny", _WOULD)):
        rows = database.execute(
            f"SELECT {_KEY}, {_SEEN} FROM events WHERE {denied} AND time_ms >= ?"
            f" AND COALESCE(last_ms, time_ms) >= ? AND {reason} IN ({marks}) AND {scope} AND host IS NOT NULL{named}"
            f" GROUP BY {_KEY} ORDER BY SUM(count) DESC, {_KEY} LIMIT {MOST}",
            (start - round(WINDOW * 1000), start, *map(str, REASONS), *of_scope, *of_name),
        )
        for path, host, port, method, target, scheme, client, count, first, last in rows:
            question = question_about(path, host, port, method=method, path=target, scheme=scheme)
            if question is not None:  # PostgreSQL adds up to a decimal
                clients = frozenset({client} if client else ())
                yield Demand(question, Evidence(int(count), clients, first / 1000, last / 1000))

"""Events: decisions as recorded, with the facts of their connection. Values and their JSON form only."""

import os
import time
from dataclasses import dataclass, field

from outward.core.model import Lane, Mode, Rule, Stage, Verdict
from outward.core.reasons import Reason

SCHEMA_VERSION = 1


def new_id() -> str:
    """Return a decision id: 32 hex digits that sort by time (48 bits of milliseconds, 80 random bits)."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


@dataclass(slots=True, kw_only=True)
class Event:
    """One decision that ended a question. Unknown is None.

    Attributes:
        time: Unix time in seconds when the question was asked.
        path: raw path without query.
        duration_ms: from the question to its end, in milliseconds.
        bytes_up, bytes_down: payload bytes carried, of a tunnel or an inspected exchange.
        status: HTTP status that the client was given.
    """

    id: str = field(default_factory=new_id)
    time: float = field(default_factory=time.time)
    verdict: Verdict = Verdict.DENY
    reason: Reason = Reason.INTERNAL_ERROR
    stage: Stage = Stage.CONNECT
    mode: Mode = Mode.ENFORCE
    would_deny: bool = False
    group: str | None = None
    client: str | None = None
    method: str | None = None
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    sni: str | None = None
    ech: bool | None = None
    address: str | None = None
    lane: Lane | None = None
    rule: Rule | None = None
    generation: str | None = None
    conversation: str | None = None
    user_agent: str | None = None
    duration_ms: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    status: int | None = None
    trace_id: str | None = None

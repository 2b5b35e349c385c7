"""Spans: the stages of a request that is traced, as they are timed. Values only; who sends them is `traces`."""

import time
from contextvars import ContextVar


class Span:
    """A traced request.

    Attributes:
        trace, ident: hexadecimal ids of the trace and of this span in it.
        parent: id of the client's own span; None if it has none.
        began: Unix time in nanoseconds.
        stages: name, begin and end of each, in Unix nanoseconds.
    """

    __slots__ = ("began", "ident", "parent", "stages", "trace")

    def __init__(self, trace: str, ident: str, parent: str | None) -> None:
        self.trace, self.ident, self.parent = trace, ident, parent
        self.began = time.time_ns()
        self.stages: list[tuple[str, int, int]] = []

    @property
    def traceparent(self) -> str:
        """The field by which the next hop knows this span as its parent (W3C Trace Context 3.2)."""
        return f"00-{self.trace}-{self.ident}-01"

    def stage(self, name: str, seconds: float) -> None:
        """Note a stage that ends now and took a number of seconds."""
        end = time.time_ns()
        self.stages.append((name, end - int(seconds * 1e9), end))


TRACED: ContextVar[Span | None] = ContextVar("TRACED", default=None)
"""The span of the request that the running task dials for."""

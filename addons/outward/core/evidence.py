"""What speaks for an entry: requests that were blocked, how often, of whom and when. Values only."""

from dataclasses import dataclass

from outward.core.model import Question


@dataclass(frozen=True, slots=True)
class Evidence:
    """Blocked requests.

    Attributes:
        count: how many.
        clients: names of those who sent them, as recorded.
        first, last: Unix times in seconds; None if they are not known.
    """

    count: int = 0
    clients: frozenset[str] = frozenset()
    first: float | None = None
    last: float | None = None

    def __add__(self, other: "Evidence") -> "Evidence":
        """Return both together."""
        first = [each for each in (self.first, other.first) if each is not None]
        last = [each for each in (self.last, other.last) if each is not None]
        return Evidence(
            self.count + other.count,
            self.clients | other.clients,
            min(first, default=None),
            max(last, default=None),
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """What was asked for and blocked, or would have been."""

    question: Question
    evidence: Evidence

"""What is found in a request to a vendor, and what becomes of it: values only."""

from dataclasses import dataclass
from enum import StrEnum

from outward.core.reasons import Reason
from outward.search.machines import Machine
from outward.search.narrowing import Dropped


class Action(StrEnum):
    """What became of a search in a request."""

    ALLOWED = "allowed"
    NARROWED = "narrowed"
    STRIPPED = "stripped"
    DENIED = "denied"
    OBSERVED = "observed"


@dataclass(frozen=True, slots=True)
class SearchTool:
    """One search capability of a request, and what became of it.

    Attributes:
        tool: the vendor's name of the tool.
        reason: why it was stripped or denied; None if it stays.
        requested: the caller's allow list as sent; None without one.
        effective: the allow list that goes upstream; None if none does.
        blocked: the block list that goes upstream.
        truncated: how many entries the vendor's limit cost.
    """

    tool: str
    action: Action
    reason: Reason | None = None
    requested: tuple[str, ...] | None = None
    effective: tuple[str, ...] | None = None
    blocked: tuple[str, ...] = ()
    truncated: int = 0
    dropped: tuple[Dropped, ...] = ()


class UngovernableError(Exception):
    """The request is denied: the turn does not survive, or may not."""

    def __init__(
        self, reason: Reason, detail: str, tool: str, line: str | None = None, *, machine: Machine | None = None
    ) -> None:
        """Say why; `line` of a policy would let it through, and `machine` is one that another proxy may know."""
        super().__init__(detail)
        self.reason, self.detail, self.tool, self.line, self.machine = reason, detail, tool, line, machine


@dataclass(frozen=True, slots=True)
class Unknown:
    """What no table names, and the policy lets through to be watched."""

    reason: Reason
    what: str

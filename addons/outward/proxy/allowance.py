"""The searches that a day leaves to a group: reserved before a request goes upstream, settled after its answer.

A request that may search is counted before it is sent, or is not sent. If the vendor can be told how many searches it
may make, it is told what was reserved, and the limit holds exactly. Otherwise one is reserved, and what the answer
shows beyond it is counted then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from outward.core.reasons import Reason
from outward.proxy.judge import Judge
from outward.records.database import StoreAwayError
from outward.records.state.search_counts import SearchReservation
from outward.search.evidence import SearchEvidence
from outward.search.govern import Governed, SearchRequest, refused
from outward.threads import Threads

_log = logging.getLogger(__name__)

_AT_ONCE = 20  # searches that one request may reserve if nothing else bounds it: four times `max_searches`
_UNCOUNTED = "the searches of this group are limited and cannot be counted now, and none is made uncounted"


class SearchCounter(Protocol):
    """Where searches are counted; see `records.search_counts`."""

    def reserve(self, group: str, vendor: str, limits: tuple[tuple[str, int], ...], wanted: int) -> SearchReservation:
        """Reserve searches; waits, and raises `StoreAwayError`."""

    def settle(self, grant: SearchReservation, used: int) -> None:
        """Say what was used of them; never waits."""

    def add(self, group: str, vendor: str, searches: int) -> None:
        """Count what was not reserved; never waits."""


type Rejudge = Callable[[SearchRequest], Awaitable[Governed]]


class Allowance:
    """Reserves and settles the searches of requests.

    Args:
        judge: has the metrics.
        counts: where they are counted; None where nowhere, and groups with a limit do not search then.
    """

    def __init__(self, judge: Judge, counts: SearchCounter | None) -> None:
        self._judge, self._counts = judge, counts
        self._threads = Threads("search-counts", 1)

    @staticmethod
    def first(request: SearchRequest) -> SearchRequest:
        """Return a request as it is judged before anything is reserved."""
        limits = request.settings.per_day
        return replace(request, left=min(_AT_ONCE, *(most for _, most in limits))) if limits else request

    async def reserve(
        self, request: SearchRequest, outcome: Governed, rejudge: Rejudge
    ) -> tuple[Governed, SearchReservation | None]:
        """Reserve what a request may search; returns what becomes of it, and what is to be settled.

        Args:
            request: to a vendor, of a group with a limit.
            outcome: its judgement so far.
            rejudge: judges it anew with what is left to it.
        """
        turn = outcome.turn
        if outcome.deny is not None or turn is None or not (turn.audited and turn.searching):
            return outcome, None
        vendor, wanted = outcome.adapter or "", max(1, sum(turn.bounds))
        grant = await self._granted(request, vendor, wanted)
        if grant is None:
            return refused(outcome, Reason.OVERLOADED, _UNCOUNTED), None
        if grant.searches == 0:
            return refused(outcome, Reason.WEB_SEARCH_SPENT, _spent(*grant.limit)), None
        if grant.searches == wanted or not turn.bounds:
            return outcome, grant
        if len(turn.bounds) > 1:  # each would be told the whole of what is left
            self.settle(grant, 0)
            detail = f"this request may search {wanted} times, and the day leaves {grant.searches} to this group"
            return refused(outcome, Reason.WEB_SEARCH_SPENT, detail), None
        return await self._fitted(replace(request, left=grant.searches), grant, rejudge)

    async def _fitted(
        self, request: SearchRequest, grant: SearchReservation, rejudge: Rejudge
    ) -> tuple[Governed, SearchReservation | None]:
        """Judge a request anew with what was reserved for it; what is not sent then costs nothing."""
        try:
            outcome = await rejudge(request)
        except BaseException:  # a hook that takes too long, a client that leaves
            self.settle(grant, 0)
            raise
        if outcome.deny is None:
            return outcome, grant
        self.settle(grant, 0)
        return outcome, None

    async def _granted(self, request: SearchRequest, vendor: str, wanted: int) -> SearchReservation | None:
        """Reserve searches; None where they cannot be counted."""
        group, limits = request.group.path, request.settings.per_day
        if self._counts is None:
            return None
        reserving = asyncio.ensure_future(self._threads.run(self._counts.reserve, group, vendor, limits, wanted))
        try:
            return await asyncio.shield(reserving)
        except StoreAwayError as error:
            self._judge.metrics.internal_error("search_counts")
            _log.warning("a search of %s is refused, since it cannot be counted: %s", group, error)
            return None
        except asyncio.CancelledError:  # the thread goes on
            reserving.add_done_callback(self._give_back)
            raise

    def _give_back(self, reserving: asyncio.Future[SearchReservation]) -> None:
        """Give back what was reserved when nobody waited for it any more."""
        if not reserving.cancelled() and reserving.exception() is None:
            self.settle(reserving.result(), 0)

    def settle(self, grant: SearchReservation | None, used: int) -> None:
        """Give back what a request did not use, or count what it used beyond."""
        if grant is not None and self._counts is not None:
            self._counts.settle(grant, used)

    def answered(self, group: str, vendor: str, grant: SearchReservation | None, seen: SearchEvidence) -> None:
        """Count the searches of an answer; one that was not seen to its end may have made all it was allowed."""
        used = max(seen.searches, seen.billed)
        if used:
            self._judge.metrics.group_searches(group, vendor, used)
        if grant is not None:
            self.settle(grant, max(used, grant.searches) if seen.incomplete else used)
        elif used and self._counts is not None:
            self._counts.add(group, vendor, used)


def _spent(group: str, most: int) -> str:
    return (
        f"the {most} searches that {group} may make on a day are used or reserved, and begin anew at 00:00 UTC; "
        "until then, ask without the search tool"
    )

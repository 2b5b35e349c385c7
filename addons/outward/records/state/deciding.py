"""What a person's decision makes of an access request: its row, and the grant, where its group takes grants."""

from dataclasses import dataclass, replace

from outward.core.decide import decide
from outward.core.grants import LONGEST, USUAL, Grant, granting, takes_grants
from outward.core.model import Question
from outward.core.names import canonical_host
from outward.core.policy import Policy
from outward.core.reasons import MEANINGS, Reason
from outward.core.suggest import suggestion
from outward.records.events.values import new_id
from outward.records.state.requests import APPROVED, DENIED, AccessRequest, words


class UndecidableError(ValueError):
    """The decision cannot be carried out; the message says why."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that can be written.

    Attributes:
        request: as it is from now on.
        grant: what it opens; None if it opens nothing by itself.
        line: the entry of the group's `allow` that makes it lasting; None if none would, or none is needed.
    """

    request: AccessRequest
    grant: Grant | None
    line: str | None


def question_of(kept: AccessRequest) -> Question:
    """Return what a request asks for."""
    return Question(kept.group, canonical_host(kept.host), kept.port, kept.method, kept.path, clear=kept.clear)


def lasting(policy: Policy, kept: AccessRequest) -> str | None:
    """Return the entry of the group's `allow` that would allow a request for good; None if none would."""
    return suggestion(policy, question_of(kept), Reason(kept.reason))


def decided(
    policy: Policy, kept: AccessRequest, *, approve: bool, who: str, note: str, until: float | None, now: float
) -> Decided:
    """Return what a decision makes of a request.

    Args:
        policy: in force.
        kept: the request.
        approve: whether it is approved.
        who: decides.
        note: of who decides, for the client too.
        until: Unix time in seconds at which the grant ends; None for the usual time from now.
        now: Unix time in seconds.

    Raises:
        UndecidableError: the time lies outside the bounds, or a grant would open nothing.
    """
    settled = replace(
        kept, state=APPROVED if approve else DENIED, decided_by=who, decided=round(now * 1000), note=words(note) or None
    )
    if not approve:
        return Decided(settled, None, None)
    line = lasting(policy, kept)
    end = now + USUAL if until is None else until
    if not now < end <= now + LONGEST:
        raise UndecidableError(f"a grant ends after now, and within {LONGEST // 86_400} days")
    if not takes_grants(policy, kept.group):
        return Decided(settled, None, line)
    if decide(policy, question_of(kept)).allowed:
        return Decided(settled, None, line)
    grant = Grant(
        new_id(), kept.group, kept.host, kept.port, kept.method, kept.path, round(now * 1000), round(end * 1000), who,
        settled.note or "",
    )  # fmt: skip
    after = decide(granting(policy, [grant], grant.made), question_of(kept))
    if not after.allowed:
        raise UndecidableError(f"a grant would open nothing: {MEANINGS[after.reason].title} ({after.reason})")
    return Decided(replace(settled, until=grant.until, grant=grant.id), grant, line)

"""Why no line is offered for a host, by what is shipped about hosts: the judgement of `suggest` and `learn`."""

from datetime import UTC, datetime
from functools import cache

from outward.config import known
from outward.core.names import Host
from outward.core.proposal import Known, doubt
from outward.core.suggest import Entry


def doubt_about(entry: Entry) -> str:
    """Return why a person should look before an entry, which names one host, is added; empty if there is nothing."""
    return doubt(Host(str(entry.rule.pattern)), [entry.rule], _shipped())


@cache
def _shipped() -> Known:
    sets = known.named([], {}, datetime.now(UTC).date())
    return Known(sets=sets, exits=known.exits(), writable=known.writable(), telemetry=known.telemetry())

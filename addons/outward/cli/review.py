"""What `check` says beside errors and smells: ways out below wildcards, owners, and rules that nobody uses."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from outward.cli.common import settings_of
from outward.config import known
from outward.config.diagnostics import Finding, Level
from outward.config.load import token_length
from outward.config.loaded import Loaded
from outward.config.settings import Settings
from outward.core.lint import Smell
from outward.core.policy import Policy
from outward.core.review import exits_below, ownerless, unused, used
from outward.records.database import StoreAwayError, open_database
from outward.records.events.traffic import of_store, recorded


def review(loaded: Loaded, policy: Policy) -> Iterator[Finding]:
    """Yield what needs no records."""
    yield from _own(loaded, exits_below(policy, known.exits(), known.writable()))
    yield from _own(loaded, ownerless(policy))


def review_use(loaded: Loaded, policy: Policy, records: Path | None, since: float) -> Iterator[Finding]:
    """Yield the rules that recorded traffic does not use, or uses for few names.

    Args:
        loaded: the configuration that is checked.
        policy: of it.
        records: configuration that names the store; None for the one that is checked.
        since: Unix time in seconds.

    Raises:
        click.ClickException: the store cannot be read, or holds nothing that was allowed.
    """
    settings = settings_of(records, as_json=False) if records is not None else loaded.settings or Settings()
    try:
        database = open_database(settings.records_url, settings.state, read_only=True)
        try:
            first = database.execute("SELECT MIN(time_ms) FROM events")[0][0]
            facts = of_store(database, since)
        finally:
            database.close()
    except StoreAwayError as error:
        raise click.ClickException(f"the records cannot be read: {error}") from error
    if not any(fact.allowed for fact in facts):
        raise click.ClickException("the records hold nothing that was allowed: whether a rule is used is not known")
    traffic, _ = recorded(facts, lambda group: group)
    begins = datetime.fromtimestamp(max(since, first / 1000), UTC).date()
    yield from _own(loaded, unused(policy, used(policy, traffic), begins.isoformat()))


def _own(loaded: Loaded, smells: Iterable[Smell]) -> Iterator[Finding]:
    """Yield the smells of what the user's own files say; shipped lists are not the user's to mend."""
    texts = loaded.texts
    for smell in smells:
        if smell.place.file in texts:
            length = token_length(texts[smell.place.file], smell.place)
            yield Finding(Level.WARNING, smell.ident, smell.message, smell.place, length, smell.help)

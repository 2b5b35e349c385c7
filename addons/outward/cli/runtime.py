"""What the verbs that change run-time state share: the state of a configuration's database, opened for one command."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from outward.cli.common import load_for_operator, require_config
from outward.config.settings import Settings
from outward.core.policy import Policy
from outward.records.audit.chain import Chain, begin
from outward.records.database import Database, StoreAwayError, migrate, open_database
from outward.records.state.live import State

UNREAD = Policy(generation="")  # stands for a policy that does not load


@contextmanager
def runtime(config: Path | None, *, as_json: bool, needs_policy: bool = False) -> Iterator[tuple[State, Database]]:
    """Open the run-time state and the records of a configuration; ends with an error where they do not answer.

    Args:
        config: the configuration file.
        as_json: how to print findings that end the verb.
        needs_policy: whether the verb ends where the policy does not load; else that is `UNREAD`.
    """
    settings, policy = load_for_operator(require_config(config), as_json=as_json, needs_policy=needs_policy)
    try:
        with _opened(settings, policy or UNREAD) as (state, database):
            yield state, database
    except StoreAwayError as error:
        raise click.ClickException(f"the records cannot be used: {error}") from error


@contextmanager
def _opened(settings: Settings, policy: Policy) -> Iterator[tuple[State, Database]]:
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)

    def connect() -> Database:
        return open_database(settings.records_url, settings.state)

    begin(settings.records_url, settings.state)
    database = connect()
    state = State(policy, connect, lambda: Chain(settings.state))
    try:
        migrate(database)
        state.refresh()
        yield state, database
    finally:
        state.close()
        database.close()


def actor() -> str:
    """Return how the user of the command line is named in the audit log."""
    return f"{getpass.getuser()} (command line)"


def known_group(state: State, path: str) -> str:
    """Return a group's path; a usage error where the policy has none of that name, if it could be read."""
    if state.policy is not UNREAD and path not in state.policy.groups:
        raise click.UsageError(f"the configuration has no group `{path}`")
    return path

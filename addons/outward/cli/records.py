"""`outward records`: the shape of the store. Works while proxies write."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from outward.cli.common import load_for_operator, require_config
from outward.cli.options import config_option
from outward.cli.web_search import json_option
from outward.records.database import Database, StoreAwayError, driver_of, migrate, open_database


@click.group()
def records() -> None:
    """Split the events of a PostgreSQL store by day, or join them again."""


@records.command()
@json_option
@config_option
def split(as_json: bool, config: Path | None) -> None:
    """Keep events by day, so that days are dropped as a whole. What is there becomes the first part."""
    _keep(config, as_json=as_json, by_day=True)


@records.command()
@json_option
@config_option
def join(as_json: bool, config: Path | None) -> None:
    """Put events back into one table; old ones move over, the newest first, and are not seen until then."""
    _keep(config, as_json=as_json, by_day=False)


def _keep(config: Path | None, *, as_json: bool, by_day: bool) -> None:
    from outward.records.events import days  # noqa: PLC0415 - with the driver of PostgreSQL alone

    with _opened(config, as_json=as_json) as database:
        (days.split if by_day else days.join)(database)
    if as_json:
        click.echo(json.dumps({"by_day": by_day}))
    else:
        click.echo("events are kept by day" if by_day else "events are in one table")


@contextmanager
def _opened(config: Path | None, *, as_json: bool) -> Iterator[Database]:
    settings, _ = load_for_operator(require_config(config), as_json=as_json)
    try:
        if driver_of(settings.records_url) is None:
            raise click.UsageError("`records.url` names no PostgreSQL: SQLite keeps one table, and is pruned by row")
        database = open_database(settings.records_url, settings.state)
        try:
            migrate(database)
            yield database
        finally:
            database.close()
    except StoreAwayError as error:
        raise click.ClickException(f"the records cannot be used: {error}; call it again to go on") from error

"""`outward secrets`: which secrets there are, whether each has a value here, and who used which. Never a value."""

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from outward.cli.common import records_of
from outward.cli.options import config_option
from outward.cli.table import columns
from outward.cli.web_search import json_option
from outward.cli.when import When
from outward.config.settings import SecretEntry
from outward.proxy.secrets import SecretError, check
from outward.records.database import StoreAwayError, driver_of, open_database, sqlite_path
from outward.records.state.uses import Refusals, SecretUse, UsesQuery, refusals, uses

_MONTH = 30 * 86_400  # seconds


@click.command()
@click.option("--group", "-g", help="Only uses by this group and those below it.")
@click.option("--since", type=When(), help="Uses from this time on: 2h, 7d, or RFC 3339; default: 30 days.")
@json_option
@config_option
def secrets(*, group: str | None, since: float | None, as_json: bool, config: Path | None) -> None:
    """List the secrets of a configuration, and who used which, when, for which host.

    `set` tells whether a secret has a value where this command runs: a proxy that runs elsewhere has its own
    environment. What `run --hide` kept from a command is listed by its uses. MISDIRECTED counts requests that were
    refused because the secret's placeholder stood where it must not.
    """
    settings, _ = records_of(config, as_json=as_json, group=group, administers=True)
    try:
        database = open_database(settings.records_url, settings.state, read_only=True)
        wanted = UsesQuery(scope=group, since=time.time() - _MONTH if since is None else since)
        try:
            used, refused = uses(database, wanted), refusals(database, wanted)
        finally:
            database.close()
    except StoreAwayError as error:
        if driver_of(settings.records_url) is not None or sqlite_path(settings.records_url, settings.state).exists():
            raise click.ClickException(f"the uses of secrets cannot be read: {error}") from error
        used, refused = [], {}  # no proxy has run with this configuration yet
    rows = [_row(entry, used, refused.get(entry.name)) for entry in settings.secrets]
    if as_json:
        click.echo(json.dumps({"secrets": rows, "uses": [use.as_json() for use in used]}, indent=2))
    else:
        click.echo(_entries(rows) + _uses(used), nl=False)


def _row(entry: SecretEntry, used: list[SecretUse], refused: Refusals | None) -> dict[str, Any]:
    problem = None
    try:
        check(entry, os.environ)
    except SecretError as error:
        problem = str(error)
    return {
        "name": entry.name,
        "from": f"env {entry.env}" if entry.file is None else f"file {entry.file}",
        "hosts": [str(each) for each in entry.hosts],
        "groups": list(entry.groups),
        "set": problem is None,
        "problem": problem,
        "last_used": next((use.last for use in used if use.secret == entry.name), None),
        "misdirected": 0 if refused is None else refused.count,
        "misdirected_last": None if refused is None else refused.last,
    }


def _entries(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "the configuration has no secrets\n"
    head = ("SECRET", "FROM", "HERE", "HOSTS", "GROUPS", "LAST USED (UTC)", "MISDIRECTED")
    return columns(
        head,
        [
            (
                *(row["name"], row["from"], "set" if row["set"] else "missing", " ".join(row["hosts"])),
                *(" ".join(row["groups"]) or "all", _moment(row["last_used"]), str(row["misdirected"])),
            )
            for row in rows
        ],
    )


def _uses(used: list[SecretUse]) -> str:
    if not used:
        return "\nnobody has used one\n"
    head = ("SECRET", "GROUP", "CLIENT", "CONVERSATION", "HOST", "FIRST (UTC)", "LAST (UTC)")
    cells = [
        (
            *(use.secret, use.group or "-", use.client or "-", use.conversation or "-", f"{use.host}:{use.port}"),
            *(_moment(use.first), _moment(use.last)),
        )
        for use in used
    ]
    return "\n" + columns(head, cells)


def _moment(time: str | None) -> str:
    return "-" if time is None else time.replace("T", " ")[:19]

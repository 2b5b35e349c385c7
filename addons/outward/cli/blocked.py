"""`outward blocked`: what was blocked, de-duplicated, with the line that would allow it. Reads the store by itself."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from outward.cli.common import load_starter, records_of
from outward.cli.doubts import doubt_about
from outward.cli.one_of import OneOf
from outward.cli.options import config_option
from outward.cli.table import columns
from outward.cli.when import When
from outward.config.discovery import choose, project
from outward.config.places import run_state
from outward.config.settings import Settings
from outward.core.policy import Policy
from outward.core.reasons import MEANINGS, Reason
from outward.ops.views import ignored
from outward.records.database import Database, StoreAwayError, open_database
from outward.records.events import query
from outward.records.events.query import Blocked, Filters
from outward.records.events.values import Record
from outward.records.text import clean

_MANY = 1000  # rows that are counted
_EVERY = 0.5  # seconds between looks, with --follow
_NONE = 4  # exit code
_LONGEST = 512  # characters of a note
_LATE = 30.0  # seconds that an event may be written after its time, when a slow handshake ended in a denial


@click.command()
@config_option
@click.option(
    "--id",
    "ident",
    metavar="ID",
    help="Show one decision whole, whatever else is asked; exits with 4 if there is none.",
)
@click.option("--group", help="Only this group and those below it.")
@click.option("--host", help="Only this host.")
@click.option("--reason", type=OneOf(map(str, Reason)), help="Only this reason code.")
@click.option("--client", help="Only this client: its address, or its name in the policy.")
@click.option("--subject", help="Only this subject of a token or certificate.")
@click.option("--since", type=When(), help="From this time on: 2h, 7d, or RFC 3339.")
@click.option("--until", type=When(), help="Up to this time.")
@click.option("--ignored", "only_ignored", is_flag=True, help="List only what groups `ignore` as noise.")
@click.option("--would-deny", is_flag=True, help="List what report mode let through.")
@click.option("--events", is_flag=True, help="List single events, the newest first.")
@click.option("--follow", "-f", is_flag=True, help="Go on with events as they come.")
@click.option("--search", help="Only hosts with this in their name.")
@click.option("--sort", type=click.Choice(query.SORTS), default="-last_seen", show_default=True, help="Order of rows.")
@click.option("--all", "everywhere", is_flag=True, help="Of what `run` recorded, that of every folder.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most this many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --follow, one object a line.")
def blocked(
    config: Path | None,
    *,
    ident: str | None,
    events: bool,
    follow: bool,
    limit: int,
    sort: str,
    everywhere: bool,
    as_json: bool,
    **wanted: Any,
) -> None:
    """List what was blocked, each group, host, port and reason once; works whether the proxy runs or not.

    Without --config that is what `run` recorded of the commands in this folder or repository.
    """
    filters = Filters(**wanted)
    settings, policy = records_of(config, as_json=as_json, group=filters.group)
    here = None if config or everywhere or filters.client else project(os.environ)
    if here is not None and settings.state == run_state(os.environ):
        filters = replace(filters, client=here)
    if policy is None and choose(config, os.environ).file is None:
        policy = load_starter().policy  # what `run` judged by
    filters = replace(filters, ignored=ignored(policy) if policy else ())
    try:
        database = open_database(settings.records_url, settings.state, read_only=True)
    except StoreAwayError as error:
        raise click.ClickException(_absent(settings, error)) from error
    try:
        if ident is not None:
            sys.exit(_show_one(database, ident, as_json=as_json))
        _show(database, filters, limit, policy, events=events or follow, sort=sort, as_json=as_json, follow=follow)
    except StoreAwayError as error:
        raise click.ClickException(f"the records cannot be read: {error}") from error
    except KeyboardInterrupt:
        pass  # the way to end --follow
    finally:
        database.close()


def _absent(settings: Settings, error: StoreAwayError) -> str:
    cure = "has the proxy run with this configuration yet? Without --config, what `outward run` recorded is shown."
    hint = cure if settings.records_url.startswith("sqlite") else ""
    return f"the records cannot be opened: {error}. {hint}".strip()


def _show_one(database: Database, ident: str, *, as_json: bool) -> int:
    """Print all that is recorded of a decision; return the exit status."""
    record = query.event(database, ident)
    if as_json:
        click.echo(json.dumps(record, indent=2))
    elif record is None:
        click.echo(f"outward: no decision has the id `{clean(ident, _LONGEST)}`", err=True)
    else:
        for name, value in record.items():
            if value is not None:
                said = value if isinstance(value, str) else json.dumps(value)
                click.echo(f"{name}: {clean(said, _LONGEST)}")
    return 0 if record is not None else _NONE


def _show(
    database: Database,
    filters: Filters,
    limit: int,
    policy: Policy | None,
    *,
    events: bool,
    sort: str,
    as_json: bool,
    follow: bool,
) -> None:
    if not events:
        rows = query.summary(database, filters, limit, sort=sort)
        if as_json:
            click.echo(json.dumps([{**asdict(row), **_offer(database, row, policy)} for row in rows], indent=2))
        else:
            click.echo(_text(database, rows, policy), nl=False)
            _tell_of_others(database, filters)
        return
    found = query.blocked(database, filters, limit)
    if as_json and not follow:
        click.echo(json.dumps(found, indent=2))
        return
    shown = reversed(found) if follow else found
    for record in shown:
        click.echo(json.dumps(record) if as_json else _line(record))
    if follow:
        for record in newer(database, filters, {each["id"] for each in found}):
            click.echo(json.dumps(record) if as_json else _line(record))
            sys.stdout.flush()


def _tell_of_others(database: Database, filters: Filters) -> None:
    """Say on standard error that there is more, where only this folder's was listed."""
    if not filters.client or filters.client != project(os.environ):
        return
    mine, all_of_them = (len(query.summary(database, each, _MANY)) for each in (filters, replace(filters, client=None)))
    if mine < all_of_them:
        click.echo(f"outward: this is of {filters.client}; --all shows that of other folders too", err=True)


def newer(database: Database, filters: Filters, seen: set[str]) -> Iterator[Record]:
    """Yield what is recorded from now on, each event once, for ever."""
    started = time.time()
    while True:
        horizon = max(started, time.time() - 2 * _LATE) - _LATE
        since = max(horizon, filters.since or 0.0)
        recent = query.blocked(database, replace(filters, since=since), 10_000)
        yield from (record for record in reversed(recent) if record["id"] not in seen)
        seen = {record["id"] for record in recent} | {ident for ident in seen if ident >= f"{int(since * 1000):012x}"}
        time.sleep(_EVERY)


def _text(database: Database, rows: Sequence[Blocked], policy: Policy | None) -> str:
    """Return the rows as tables: what was decided against, and what failed on the way."""
    if not rows:
        return "nothing was blocked\n"
    failed = [row for row in rows if MEANINGS[Reason(row.reason)].unreached]
    denied = [row for row in rows if row not in failed]
    offers = [_offer(database, row, policy) for row in denied]
    notes = [
        each.get("suggestion") or (f"(left out: {each['left_out']})" if "left_out" in each else "") for each in offers
    ]
    told = _table(denied, "WOULD ALLOW IT", notes) if denied else ""
    if not failed:
        return told
    unreached = _table(failed, "WHAT FAILED", [_failure(database, row) for row in failed])
    return (f"blocked\n{told}\n" if told else "") + f"could not reach\n{unreached}"


def _offer(database: Database, row: Blocked, policy: Policy | None) -> dict[str, str | None]:
    """Return the line that would allow what a row counts, or why `suggest` leaves it out."""
    entry = query.entry_of(query.last(database, row), policy)
    doubt = doubt_about(entry) if entry else ""
    return {"suggestion": None, "left_out": doubt} if doubt else {"suggestion": entry.line if entry else None}


def _failure(database: Database, row: Blocked) -> str:
    """Return which hop failed the last time, and its error."""
    record = query.event(database, row.last_id)
    return (record or {}).get("detail") or MEANINGS[Reason(row.reason)].title


def _table(rows: Sequence[Blocked], title: str, notes: Sequence[str]) -> str:
    """Return a table; where a terminal is too narrow for the notes, each stands below its row."""
    head = ("LAST SEEN (UTC)", "FIRST SEEN", "COUNT", "GROUP", "HOST", "REASON", title)
    cells = [
        (
            row.last.replace("T", " ")[:19],
            row.first.replace("T", " ")[:19],
            str(row.count),
            row.group or "-",
            _target(row.host, row.port),
            row.reason,
            note,
        )
        for row, note in zip(rows, notes, strict=True)
    ]
    wide = columns(head, cells)
    if not sys.stdout.isatty() or max(map(len, wide.splitlines())) <= shutil.get_terminal_size().columns:
        return wide
    short = [(last, count, group, target, reason) for last, _, count, group, target, reason, _ in cells]
    first, *body = columns((head[0], *head[2:6]), short).splitlines()
    below = [f"{line}\n    {clean(note, _LONGEST)}" if note else line for line, note in zip(body, notes, strict=True)]
    return "\n".join([first, *below, ""])


def _target(host: str | None, port: int | None) -> str:
    if host is None:
        return "-"
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"


def _line(record: Record) -> str:
    target = _target(record["host"], record["port"])
    parts = (
        record["time"],
        record["group"] or "-",
        record["client"] or "-",
        target,
        str(query.why(record)),
        record["id"],
    )
    repeated = (f"{record['count']}x",) if record["count"] > 1 else ()
    return "  ".join(clean(str(part), 512) for part in (*parts, *repeated))

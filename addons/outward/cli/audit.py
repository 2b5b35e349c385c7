"""`outward audit`: list, follow, export and verify audit events. Works with the proxy stopped."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outward.cli.common import records_of
from outward.cli.inside import refuse_inside
from outward.cli.one_of import OneOf
from outward.cli.options import config_option
from outward.cli.runtime import actor
from outward.cli.table import columns
from outward.cli.when import When
from outward.records.audit import audit_query
from outward.records.audit.audit_query import AuditFilters
from outward.records.audit.values import EVENT_TYPES
from outward.records.database import Database, StoreAwayError, migrate, open_database
from outward.records.events.values import Record

if TYPE_CHECKING:
    from outward.records.audit.chain import ChainHead

_EVERY = 0.5  # seconds between looks, with --follow
_OVERLAP = 30.0  # seconds that a row may appear after its time


@click.group(invoke_without_command=True)
@config_option
@click.option("--group", help="Only this group and those below it.")
@click.option("--type", "event_type", type=OneOf(EVENT_TYPES), help="Only this event type: web_search_blocked, …")
@click.option("--conversation", "target", help="Only this conversation, or other target.")
@click.option("--since", type=When(), help="From this time on: 2h, 7d, or RFC 3339.")
@click.option("--until", type=When(), help="Up to this time.")
@click.option("--follow", "-f", is_flag=True, help="Go on with events as they come.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most this many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --follow, one object a line.")
@click.pass_context
def audit(
    context: click.Context, /, config: Path | None, *, follow: bool, limit: int, as_json: bool, **wanted: Any
) -> None:
    """List audit events, the newest first."""
    context.obj = config
    if context.invoked_subcommand is not None:
        return
    filters = AuditFilters(**wanted)
    with _opened(config, as_json=as_json, group=wanted.get("group")) as (database, _state):
        found = audit_query.listed(database, filters, limit)
        if not follow:
            click.echo(json.dumps(found, indent=2) + "\n" if as_json else _table(found), nl=False)
            return
        for record in _following(database, filters, found):
            click.echo(json.dumps(record) if as_json else "  ".join(_cells(record)))
            sys.stdout.flush()


@audit.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--anchor",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Heads that were kept outside, of all proxies, one a line. Default: the file of `records.audit.anchor`.",
)
@click.pass_obj
def verify(parent: Path | None, config: Path | None, *, as_json: bool, anchor: Path | None) -> None:
    """Verify the chain of audit events; exit 1 if it is broken."""
    from outward.records.audit.verify import verify as verify_chains  # noqa: PLC0415 - loads cryptography

    with _opened(config or parent, as_json=as_json) as (database, state):
        heads = _anchors(config or parent, anchor, as_json=as_json)
        report = verify_chains(database, state, anchors=heads or (), complete=anchor is not None)
    if as_json:
        result = {"ok": report.ok, "rows": report.rows, "chains": report.chains, "problems": report.problems}
        result |= {"erased": report.erased, "pruned": report.starts, "anchors": None if heads is None else len(heads)}
        click.echo(json.dumps(result, indent=2))
    else:
        for problem in report.problems:
            click.echo(f"broken: {problem}")
        chains = f"{len(report.chains)} chain{'s' if len(report.chains) != 1 else ''}"
        erased = f", personal fields of {report.erased} erased" if report.erased else ""
        held = "" if heads is None else f", held against {len(heads)} anchor{'s' if len(heads) != 1 else ''}"
        click.echo(f"{'ok' if report.ok else 'BROKEN'}: {report.rows} audit events in {chains}{erased}{held}")
    if not report.ok:
        raise SystemExit(1)


@audit.command()
@config_option
@click.option("--since", type=When(), help="From this time on: 2h, 7d, or RFC 3339.")
@click.option("--until", type=When(), help="Up to this time.")
@click.option("--json", "as_json", is_flag=True, help="The same; an export is JSON always.")
@click.pass_obj
def export(
    parent: Path | None, config: Path | None, since: float | None, until: float | None, *, as_json: bool
) -> None:
    """Print audit events as JSON lines, the oldest first, each as GitLab streams them."""
    with _opened(config or parent, as_json=as_json) as (database, _state):
        for record in audit_query.exported(database, since, until):
            click.echo(json.dumps(record))


@audit.command()
@config_option
@click.option("--subject", help="As the person's token or certificate names it.")
@click.option("--client", help="A client's name, or its address.")
@click.option("--conversation", help="What was searched in this conversation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def erase(parent: Path | None, /, config: Path | None, *, as_json: bool, **person: str | None) -> None:
    """Erase a person's fields from audit events, and the receipts of their conversations; the chain still verifies."""
    refuse_inside("audit erase")
    if sum(value is not None for value in person.values()) != 1:
        raise click.UsageError("say who: one of --subject, --client and --conversation")
    from outward.records.audit import erasing  # noqa: PLC0415 - few erase
    from outward.records.audit.chain import Chain  # noqa: PLC0415 - loads cryptography
    from outward.records.audit.values import as_record  # noqa: PLC0415 - as above

    settings, _ = records_of(config or parent, as_json=as_json, administers=True)
    try:
        chain, database = Chain(settings.state), open_database(settings.records_url, settings.state)
        try:
            migrate(database)
            found = erasing.find(database, erasing.Person(**person))
            by = next(name for name, value in person.items() if value is not None)
            with database.transaction():
                receipts = erasing.erase(database, found)
                acts = erasing.erased(found.rows, by, actor())
                head = chain.append(database, [as_record(act) for act in acts]) if acts else None
            if head is not None:
                chain.save(head)
        finally:
            database.close()
    except StoreAwayError as error:
        raise click.ClickException(f"nothing was erased: {error}") from error
    events = sum(len(rows) for rows in found.rows.values())
    if as_json:
        click.echo(json.dumps({"events": events, "receipts": receipts}))
    else:
        click.echo(f"personal fields of {events} audit events erased, and {receipts} receipts")


def _anchors(config: Path | None, given: Path | None, *, as_json: bool) -> "list[ChainHead] | None":
    """Return the heads of a file of anchors; None if there is none."""
    from outward.records.audit.keeper import anchors_in  # noqa: PLC0415 - loads cryptography

    configured = records_of(config, as_json=as_json, administers=True)[0].audit_anchor
    file = given or (configured if isinstance(configured, Path) else None)
    try:
        return None if file is None else anchors_in(file)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the anchors in {file} cannot be read: {error}") from error


@contextmanager
def _opened(config: Path | None, *, as_json: bool, group: str | None = None) -> Iterator[tuple[Database, Path]]:
    settings, _ = records_of(config, as_json=as_json, group=group, administers=True)
    database = None
    try:
        database = open_database(settings.records_url, settings.state, read_only=True)
        yield database, settings.state
    except StoreAwayError as error:
        raise click.ClickException(f"the audit events cannot be read: {error}") from error
    except KeyboardInterrupt:
        pass  # the way to end --follow
    finally:
        if database is not None:
            database.close()


def _following(database: Database, filters: AuditFilters, found: list[Record]) -> Iterator[Record]:
    yield from reversed(found)
    seen = {record["id"] for record in found}
    started = time.time()
    while True:
        recent = audit_query.listed(
            database, filters.since_at_least(max(started, time.time() - _OVERLAP) - _OVERLAP), 10_000
        )
        yield from (record for record in reversed(recent) if record["id"] not in seen)
        seen |= {record["id"] for record in recent}
        time.sleep(_EVERY)


def _cells(record: Record) -> tuple[str, ...]:
    details = record["details"]
    said = details.get("reason") or details.get("action") or details.get("custom_message") or ""
    return (
        record["created_at"].replace("T", " ")[:19],
        record["event_type"],
        record["entity_path"] or "-",
        record["target_details"] or "-",
        record["author_name"] or "-",
        str(said),
    )


def _table(records: list[Record]) -> str:
    if not records:
        return "no audit events\n"
    head = ("TIME (UTC)", "EVENT", "GROUP", "TARGET", "AUTHOR", "WHAT")
    return columns(head, [_cells(record) for record in records])

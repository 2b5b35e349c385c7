"""`outward requests`: list access requests, approve and deny them, revoke grants; whether the proxy runs or not.

Writes to the store, which a running proxy follows. For a person: it refuses behind `outward run`.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from outward.cli.common import load_configuration
from outward.cli.inside import refuse_inside
from outward.cli.options import config_option
from outward.cli.runtime import actor, known_group, runtime
from outward.cli.table import columns
from outward.cli.web_search import json_option
from outward.config.discovery import choose
from outward.core.grants import takes_grants
from outward.ops.ask import end
from outward.ops.asking import granted, shown, yaml_of
from outward.ops.web import Problem
from outward.records.database import Database
from outward.records.events.values import rfc3339
from outward.records.state import requests as stored
from outward.records.state.deciding import Decided, UndecidableError, decided
from outward.records.state.live import State
from outward.records.state.requests import OPEN, STATES, AccessRequest, RequestsQuery, SettledError

_NO_GRANTS = (
    "Nothing is open by this: {group} takes no grants. Set `grants: allowed` there and approve it again, "
    "or add the entry."
)

note_option = click.option("--note", default="", help="For who asked, and for the record.")


@click.group()
def requests() -> None:
    """List access requests, approve and deny them; a running proxy follows at once."""


@requests.command("list")
@click.option("--group", "-g", help="Path of a group, with those below it.")
@click.option("--state", type=click.Choice([*STATES, "all"]), default=OPEN, show_default=True, help="Only these.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="Most of them.")
@json_option
@config_option
def list_(*, group: str | None, state: str, limit: int, as_json: bool, config: Path | None) -> None:
    """List requests, those asked last first."""
    with runtime(config, as_json=as_json) as (found, database):
        if group is not None:
            known_group(found, group)
        wanted = RequestsQuery(group=group, state=None if state == "all" else state)
        rows = [shown(each, found.policy) for each in stored.listed(database, wanted, limit)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(
        columns(
            ("ID", "STATE", "COUNT", "GROUP", "CLIENT", "ASKED FOR", "WHY, IN ITS OWN WORDS"),
            [
                (
                    *(row["id"], row["state"], str(row["count"]), row["group"], row["client"], _target(row)),
                    _first(row["whys"]),
                )
                for row in rows
            ],
        ),
        nl=False,
    )


def _first(whys: list[str]) -> str:
    return f"{whys[0][:60]}{'…' if len(whys[0]) > 60 or len(whys) > 1 else ''}" if whys else "-"


def _target(row: dict[str, Any]) -> str:
    asked = " ".join(filter(None, (row["method"], row["path"])))
    return f"{row['host']}:{row['port']}{f' {asked}' if asked else ''}"


@requests.command()
@click.argument("ident", metavar="ID")
@click.option("--until", help="When the grant ends: 8h, 30d, or a time such as 2026-12-01T10:00:00Z; default: 8h.")
@note_option
@json_option
@config_option
def approve(ident: str, *, until: str | None, note: str, as_json: bool, config: Path | None) -> None:
    """Approve the request with this ID, and print the line that makes it lasting.

    Where the group says `grants: allowed`, what was asked for is open at once, and until its end.
    """
    refuse_inside("requests approve")
    _decide(ident, approve=True, until=until, note=note, as_json=as_json, config=config)


@requests.command()
@click.argument("ident", metavar="ID")
@note_option
@json_option
@config_option
def deny(ident: str, *, note: str, as_json: bool, config: Path | None) -> None:
    """Deny the request with this ID; who asks the same within a day gets the same answer."""
    refuse_inside("requests deny")
    _decide(ident, approve=False, until=None, note=note, as_json=as_json, config=config)


def _decide(ident: str, *, approve: bool, until: str | None, note: str, as_json: bool, config: Path | None) -> None:
    with runtime(config, as_json=as_json, needs_policy=True) as (state, database):
        outcome = _settled(state, _found(database, ident), approve=approve, until=until, note=note)
        patch = _patch(outcome, config)
        row = {**shown(outcome.request, state.policy), "yaml": yaml_of(outcome), "patch": patch}
        taken = takes_grants(state.policy, outcome.request.group)
    click.echo(json.dumps(row, indent=2) if as_json else _told(outcome, row, grants_taken=taken))


def _patch(outcome: Decided, config: Path | None) -> str | None:
    """Return the change of the policy file that makes a decision lasting, as a diff; None if none can be made."""
    if outcome.line is None:
        return None
    from outward.cli.suggestions import as_diff  # noqa: PLC0415 - only approvals need it
    from outward.cli.write import Draft, Drafts  # noqa: PLC0415 - as above
    from outward.config.edit import Addition, EditError, added  # noqa: PLC0415 - as above

    loaded = load_configuration(choose(config, os.environ))
    texts = loaded.texts
    drafts = Drafts(Draft(path, texts[str(path)]) for path in loaded.files if str(path) in texts)
    draft = drafts.of(outcome.request.group)
    if draft is None:
        return None
    try:
        text = added(draft.text, [Addition(outcome.request.group, (outcome.line.removeprefix("- "),))])
    except EditError:
        return None
    return as_diff([(draft, text)])


def _settled(state: State, kept: AccessRequest, *, approve: bool, until: str | None, note: str) -> Decided:
    now = time.time()
    try:
        ending = None if until is None else end(until, now)
        outcome = decided(state.policy, kept, approve=approve, who=actor(), note=note, until=ending, now=now)
        state.access.settle(outcome.request, outcome.grant)
    except Problem as error:
        raise click.UsageError(error.detail) from error
    except UndecidableError as error:
        raise click.ClickException(str(error)) from error
    except SettledError as error:
        raise click.ClickException("it has been approved already; `outward requests grants` lists its grant") from error
    return outcome


def _found(database: Database, ident: str) -> AccessRequest:
    kept = stored.find(database, ident)
    if kept is None:
        raise click.ClickException(f"there is no request with the id `{ident}`; `outward requests list` shows them")
    return kept


def _told(outcome: Decided, row: dict[str, Any], *, grants_taken: bool) -> str:
    kept, grant = outcome.request, outcome.grant
    lines = [f"{kept.state}: {_target(row)} for {kept.group}"]
    if grant is not None:
        lines.append(
            f"It is open until {rfc3339(grant.until / 1000)}; `outward requests revoke {grant.id}` ends it before."
        )
    elif kept.state == stored.APPROVED:
        lines.append(_NO_GRANTS.format(group=kept.group) if not grants_taken else "The policy allows it already.")
    if row["yaml"]:
        lines += ["This makes it lasting:", (row["patch"] or row["yaml"]).rstrip()]
    return "\n".join(lines)


@requests.command()
@json_option
@config_option
def grants(*, as_json: bool, config: Path | None) -> None:
    """List the grants in force, those that end first first."""
    with runtime(config, as_json=as_json) as (state, _):
        found = [each for each in state.access.grants.values() if each.until > time.time() * 1000]
    rows = [granted(each) for each in sorted(found, key=lambda each: each.until)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    lines = [(row["id"], row["group"], _target(row), row["until"], row["who"]) for row in rows]
    click.echo(columns(("ID", "GROUP", "OPEN", "UNTIL", "BY"), lines), nl=False)


@requests.command()
@click.argument("ident", metavar="ID")
@json_option
@config_option
def revoke(ident: str, *, as_json: bool, config: Path | None) -> None:
    """End the grant with this ID, and the connections that stand by it."""
    refuse_inside("requests revoke")
    with runtime(config, as_json=as_json) as (state, _):
        if not state.access.revoke(ident, actor()):
            raise click.ClickException(f"there is no grant in force with the id `{ident}`")
    click.echo(json.dumps({"id": ident, "state": "revoked"}) if as_json else f"{ident} is revoked")

"""`outward conversation`: opt conversations in and out, and show what their searches did."""

import json
import time
from pathlib import Path

import click

from outward.cli.options import config_option
from outward.cli.runtime import actor, known_group, runtime
from outward.cli.web_search import json_option
from outward.records.state import receipts
from outward.records.state.runtime_settings import OptInChange
from outward.search.receipts import Receipt

group_option = click.option("--group", "-g", required=True, help="Path of the group whose clients it counts for.")


@click.group()
def conversation() -> None:
    """Opt conversations in to web search and out of it, and show their receipts."""


@conversation.command("opt-in")
@click.argument("name")
@group_option
@json_option
@config_option
def opt_in(name: str, group: str, as_json: bool, config: Path | None) -> None:
    """Let conversation NAME search, where its group may."""
    _set(name, group, active=True, as_json=as_json, config=config)


@conversation.command("opt-out")
@click.argument("name")
@group_option
@json_option
@config_option
def opt_out(name: str, group: str, as_json: bool, config: Path | None) -> None:
    """Withdraw the opt-in of conversation NAME."""
    _set(name, group, active=False, as_json=as_json, config=config)


def _set(name: str, group: str, *, active: bool, as_json: bool, config: Path | None) -> None:
    with runtime(config, as_json=as_json, needs_policy=active) as (state, _):
        changed = state.set_opt_in(OptInChange(name, known_group(state, group), active, None, actor(), time.time()))
    if as_json:
        facts = {"conversation": name, "group": group, "opted_in": active, "changed": changed}
        click.echo(json.dumps(facts, indent=2))
    else:
        what = "has opted in to web search" if active else "has not opted in to web search"
        click.echo(f"{name} {what} for {group}{'' if changed else ', as before'}")


@conversation.command()
@click.argument("name")
@click.option("--group", "-g", help="Where several groups have a conversation of this name.")
@json_option
@config_option
def receipt(name: str, group: str | None, as_json: bool, config: Path | None) -> None:
    """Show what the searches of conversation NAME did, as Markdown; exits with 1 where there were none."""
    with runtime(config, as_json=as_json) as (_, database):
        rows = [Receipt.from_json(row) for row in receipts.read(database, name, group)]
    if not rows:
        raise click.ClickException(f"{name} has no receipt")
    latest = rows[-1].group
    first, *others = (row for row in rows if row.group == latest)
    for other in others:
        first = first.merged(other)
    click.echo(json.dumps(first.as_json(), indent=2) if as_json else first.as_markdown(), nl=as_json)

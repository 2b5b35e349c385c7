"""`outward web-search`: show and set the toggle of groups. Works whether the proxy runs or not."""

import json
import time
from pathlib import Path
from typing import Any

import click

from outward.cli.options import config_option
from outward.cli.runtime import UNREAD, actor, known_group, runtime
from outward.cli.table import columns
from outward.core.toggles import Toggle
from outward.ops.views import web_search as view
from outward.records.state.live import LockedError, State

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("web-search")
def web_search() -> None:
    """Show and set whether groups may search the web; a running proxy follows within a second."""


@web_search.command()
@click.argument("group", required=False)
@json_option
@config_option
def show(group: str | None, as_json: bool, config: Path | None) -> None:
    """Show the settings in force, of GROUP or of every group."""
    with runtime(config, as_json=as_json, needs_policy=True) as (state, _):
        paths = sorted(state.policy.groups) if group is None else [known_group(state, group)]
        rows = [_row(state, path) for path in paths]
    if as_json:
        click.echo(json.dumps(rows if group is None else rows[0], indent=2))
        return
    lines = [(row["group"], "on" if row["enabled"] else "off", _why(row), row["opt_in"]) for row in rows]
    click.echo(columns(("GROUP", "SEARCH", "DECIDED BY", "OPT-IN"), lines), nl=False)


def _row(state: State, path: str) -> dict[str, Any]:
    return {"group": path, **view(state.policy.groups[path], state.web_search(path), state.toggles)}


def _why(row: dict[str, Any]) -> str:
    if row["locked_by"]:
        return f"{row['locked_by']}, locked"
    if row["decided_by"] is None:
        return "nobody"
    who = f", at run time by {row['changed_by']}" if row["origin"] == "runtime" else ", in the file"
    return f"{row['decided_by']}{who}"


@web_search.command()
@click.argument("group")
@json_option
@config_option
def enable(group: str, as_json: bool, config: Path | None) -> None:
    """Turn web search on for GROUP and those below it that do not say otherwise."""
    _set(group, enabled=True, as_json=as_json, config=config)


@web_search.command()
@click.argument("group")
@json_option
@config_option
def disable(group: str, as_json: bool, config: Path | None) -> None:
    """Turn web search off for GROUP and those below it that do not say otherwise."""
    _set(group, enabled=False, as_json=as_json, config=config)


def _set(group: str, *, enabled: bool, as_json: bool, config: Path | None) -> None:
    with runtime(config, as_json=as_json, needs_policy=enabled) as (state, _):
        if state.policy is UNREAD:
            _switch_off_unread(state, group, as_json=as_json)
            return
        try:
            changed = state.set_web_search(known_group(state, group), Toggle(enabled, actor(), time.time()))
        except LockedError as error:
            raise click.ClickException(str(error)) from error
        row = {**_row(state, group), "changed": changed}
    if as_json:
        click.echo(json.dumps(row, indent=2))
    else:
        click.echo(f"web search is {'on' if enabled else 'off'} for {group}{'' if changed else ' already'}")


def _switch_off_unread(state: State, group: str, *, as_json: bool) -> None:
    """Turn search off while the policy does not load: what must stop cannot wait for a typo to be mended."""
    changed = state.switch_off(group, actor(), time.time())
    if as_json:
        click.echo(json.dumps({"group": group, "enabled": False, "changed": changed, "checked": False}, indent=2))
    else:
        unchecked = "if the policy in force has this group and does not lock it"
        click.echo(f"web search is off for {group}{'' if changed else ' already'}, {unchecked}")

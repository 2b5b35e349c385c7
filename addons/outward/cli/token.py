"""`outward token`: make, list and revoke tokens of the admin API. A secret is shown once and kept as a digest."""

import json
import re
import secrets
import time
from pathlib import Path

import click

from outward.cli.inside import refuse_inside
from outward.cli.options import config_option
from outward.cli.runtime import actor, known_group, runtime
from outward.cli.table import columns
from outward.cli.web_search import json_option
from outward.ops.principals import ALL, ROLES, digest, new_secret
from outward.records.events.values import rfc3339
from outward.records.state import runtime_settings
from outward.records.state.runtime_settings import StoredToken

_SPAN = re.compile(r"([0-9]{1,5})(m|h|d|w)")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@click.group()
def token() -> None:
    """Make, list and revoke tokens of the admin API and page."""


def _expiry(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = _SPAN.fullmatch(value)
    if match is None:
        raise click.BadParameter("write a span such as 12h, 30d or 8w")
    return time.time() + int(match[1]) * _SECONDS[match[2]]


@token.command()
@click.option("--scope", required=True, help="Path of a group, for it and those below it; or `all`.")
@click.option("--name", default="", help="What it is for.")
@click.option("--expires", callback=_expiry, help="How long it counts: 12h, 30d, 8w. Default: until it is revoked.")
@click.option("--role", type=click.Choice(ROLES), default="admin", show_default=True, help="What it may do.")
@json_option
@config_option
def create(*, scope: str, name: str, expires: float | None, role: str, as_json: bool, config: Path | None) -> None:
    """Make a token and print it; it cannot be shown again."""
    refuse_inside("token create")
    secret = new_secret()
    with runtime(config, as_json=as_json, needs_policy=scope != ALL) as (state, _):
        if scope != ALL:
            known_group(state, scope)
        kept = StoredToken(
            secrets.token_hex(6),
            digest(secret),
            scope,
            name,
            time.time(),
            expires,
            revoked=False,
            role=role,
            author=actor(),
        )
        state.add_token(kept, actor())
    until = None if expires is None else rfc3339(expires)
    if as_json:
        click.echo(
            json.dumps(
                {"id": kept.id, "scope": scope, "role": role, "name": name, "expires": until, "token": secret}, indent=2
            )
        )
    else:
        click.echo(secret)


@token.command("list")
@json_option
@config_option
def list_(as_json: bool, config: Path | None) -> None:
    """List tokens and people who are signed in, without secrets."""
    with runtime(config, as_json=as_json) as (_, database):
        kept = [each for each in runtime_settings.tokens(database) if each.held is None or _state(each) == "valid"]
    rows = [
        {
            "id": each.id,
            "kind": "token" if each.held is None else "session",
            "scope": each.scope,
            "role": each.role,
            "name": each.name,
            "author": each.author,
            "last_used": None if each.used is None else rfc3339(each.used),
            "created": rfc3339(each.created),
            "expires": None if each.expires is None else rfc3339(each.expires),
            "state": _state(each),
        }
        for each in kept
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    lines = [tuple(str(value or "-") for value in row.values()) for row in rows]
    click.echo(
        columns(("ID", "KIND", "SCOPE", "ROLE", "NAME", "AUTHOR", "LAST USED", "CREATED", "EXPIRES", "STATE"), lines),
        nl=False,
    )


def _state(kept: StoredToken) -> str:
    if kept.revoked:
        return "revoked"
    return "expired" if kept.expires is not None and kept.expires <= time.time() else "valid"


@token.command()
@click.argument("ident", metavar="ID")
@json_option
@config_option
def revoke(ident: str, as_json: bool, config: Path | None) -> None:
    """Take the token with this ID back; a running proxy follows within a second."""
    with runtime(config, as_json=as_json) as (state, _):
        if not state.revoke_token(ident, actor()):
            raise click.ClickException(f"there is no token in force with the id `{ident}`")
    click.echo(json.dumps({"id": ident, "state": "revoked"}) if as_json else f"{ident} is revoked")

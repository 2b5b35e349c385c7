"""`outward trust`: a person says that the policy that a working tree brings may be used, as it is now."""

import json
import os
from pathlib import Path

import click

from outward.cli.common import load_or_exit
from outward.cli.inside import refuse_inside
from outward.cli.trusting import tell
from outward.config import trust as trusted
from outward.config.discovery import Choice, FoundPolicy, choose, describe


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the file, and the SHA-256 that is trusted.")
def trust(file: Path | None, *, as_json: bool) -> None:
    """Trust FILE, by default the outward.yaml of the working tree, as it is now, with all that it includes.

    Verbs without --config look for outward.yaml from the working folder upwards, to the repository's root or the home
    folder. What they find is laid over your own ~/.config/outward/outward.yaml, else over /etc/outward/outward.yaml,
    whose denies, ceilings, locks and settings hold; it may hold groups, sets, tests, and clients that are anyone or
    have a token. `run`, `serve` and `env` use it once you trust it; a change needs your word again. A file that is
    named with --config is trusted as a whole.
    """
    refuse_inside("trust")
    choice = choose(None, os.environ)
    if file is not None:
        choice = Choice(choice.base, FoundPolicy(file.parent.resolve() / file.name))
    if choice.found is None:
        raise click.UsageError(describe(choice) or "this working tree brings no outward.yaml; nothing needs your trust")
    found = load_or_exit(choice, as_json=as_json).brought
    if found is None:
        raise click.ClickException(f"{choice.found.path} cannot be read")
    try:
        trusted.trust(found, os.environ)
    except OSError as error:
        raise click.ClickException(f"that cannot be remembered: {error.filename}: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps({"file": str(found.path), "sha256": found.digest, "allows": found.allows}, indent=2))
        return
    tell(found)
    click.echo(f"outward: {found.path} is trusted as it is now", err=True)

"""`outward ca`: prints the certificate that clients of the inspect lane must trust. Never prints a key."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from outward.cli.authority import authority_of
from outward.cli.common import records_of
from outward.cli.options import config_option


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the path, the PEM text and the expiry.")
def ca(config: Path | None, *, as_json: bool) -> None:
    """Print the CA certificates to trust (PEM): all, while one CA takes over from another.

    Where no file is named, those of `run`; a CA is made on first use.
    """
    authority = authority_of(records_of(config, as_json=as_json)[0])
    pem = authority.pem.read_text()
    if as_json:
        expires = datetime.fromtimestamp(authority.expires, UTC).isoformat()
        click.echo(json.dumps({"path": str(authority.pem), "pem": pem, "expires": expires}))
    else:
        click.echo(pem, nl=False)
